"""docs/troubleshooting.md has one section for each error there is, and shows what is printed."""

import importlib
import logging
import pkgutil
import re
from collections.abc import Iterator

import pytest

import ci_identity
from ci_identity.cli.terminal import print_error
from ci_identity.errors import CiIdentityError
from tests.docs.pages import page
from tests.docs.refusals import REFUSALS, Stage

PAGE = page("troubleshooting.md")
SECTIONS = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SHOWN_ONLY = {
    "internal",
    "dependency-missing",
    "identity",
    "identity-issuer",
    "provider-tls",
    "platform",
    "interrupted",
    "provider-unanswered",  # tests/exchangers/vault/test_faults.py; it would take the whole budget
    "delivery-not-renewed",  # tests/test_session_aws.py
    "not-cut",  # tests/cli/test_reap.py
    "unsendable",  # tests/test_http.py
    "vault-narrowing",  # tests/exchangers/vault/test_exchange.py
}
"""Errors that no test here brings about: they need another machine, or nothing raises them."""


def errors() -> Iterator[type[CiIdentityError]]:
    for module in pkgutil.walk_packages(ci_identity.__path__, "ci_identity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [CiIdentityError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


CODES = {
    kind.code: kind.exit_code for kind in errors() if kind.__module__.startswith("ci_identity")
}


def test_each_error_has_a_section_and_each_section_an_error() -> None:
    """The address that an error prints leads to a heading, and no heading is for nothing."""
    assert set(SECTIONS) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_section_is_a_line_of_output_why_and_what_to_do(code: str) -> None:
    """Each section begins with the line that is printed, and goes on with at least two texts."""
    shown, *texts = SECTIONS[code].strip("\n").split("\n\n")
    assert shown.startswith(f"    error[{code}]: ")
    assert len([text for text in texts if not text.startswith("    ")]) >= 2


def test_the_line_that_an_error_prints_names_its_section(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """`more:` is the page and the heading."""
    print_error(CiIdentityError("x"))
    assert "docs/troubleshooting.md#internal" in capfd.readouterr().err


def test_every_exit_code_is_in_the_table() -> None:
    """The table at the top has the exit code of every error."""
    table = PAGE.partition("## Exit codes")[2].partition("## First")[0]
    assert set(CODES.values()) <= {
        int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)
    }


def test_every_error_is_brought_about_or_known_not_to_be() -> None:
    """A new error is shown as it is printed, or the reason why not is written down."""
    assert set(REFUSALS) | SHOWN_ONLY == set(CODES)


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_the_line_shown_is_the_line_printed(stage: Stage, code: str) -> None:
    """What the page shows for a code is what this version prints."""
    with pytest.raises(CiIdentityError) as caught:
        REFUSALS[code](stage)
    assert caught.value.code == code
    assert stage.printed(caught.value) in SECTIONS[code]


def test_what_is_said_of_a_batch_token_is_what_the_page_says(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The line before error[vault-token-kind] says when the token ends, in the page's words."""
    with caplog.at_level(logging.INFO, "ci_identity"), pytest.raises(CiIdentityError):
        REFUSALS["vault-token-kind"](stage)
    (line,) = (text for text in caplog.messages if "expires at" in text)
    shown = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", line)
    assert shown.removeprefix("migrate-db: ") in SECTIONS["vault-token-kind"]
