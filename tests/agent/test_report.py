"""What is told of a job's grants, and that what strangers wrote stays text in it."""

from functools import partial
from typing import Any

import pytest

from ci_identity.agent.report import Report, lines, plain, summary
from ci_identity.agent.story import wrong
from ci_identity.errors import CiIdentityError, LedgerError, RevocationError


def story(**told: Any) -> dict[str, Any]:
    return {
        "grant": "deploy-web",
        "lease": "3f1c0f2f5e0a4b8d",
        "target": "arn:aws:iam::123456789012:role/deploy-web",
        "for": {"repository": "acme/shop", "run": "9001/1", "job": None},
        "steps": "the step deploy",
        "delivery": "endpoint",
        "expires_at": "2026-01-01T00:00:00+00:00",
        "served": [],
        "refused": [],
        "outcome": "revoked",
        "end": "deploy-web: revoked; the server confirmed it",
    } | told


def test_lines_for_a_log() -> None:
    """One line for the end, one for each step that was served, one for each who was refused."""
    told = story(
        served=[{"step": "deploy", "programs": ["aws", "terraform"]}],
        refused=[{"who": "pid 7 sh of the step build", "why": "it is another", "times": 3}],
    )
    assert lines([told]) == [
        "deploy-web: revoked; the server confirmed it",
        "deploy-web: served the step deploy: aws, terraform",
        "deploy-web: refused pid 7 sh of the step build: it is another (3 times)",
    ]


def test_a_summary_is_one_row_for_each_grant() -> None:
    """Its cells are as many as its columns."""
    rows = [line for line in summary([story(), story()]).split("\n") if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1


def test_a_summary_of_a_failure_says_so() -> None:
    """Whoever reads the job's page sees that something may be alive."""
    assert "may still be alive" in summary([story(outcome="failed")])
    assert summary([]) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "<script>alert(1)</script>",
        "[click](https://evil.example)",
        "**bold** _it_ `code` ~~x~~",
        "![x](http://evil.example/x.png)",
        "line\n| another | row |",
        "@everyone <!-- --> \\| &lt;",
        "\x1b[31mred \u202e",
        "&#124; &amp;",
        "www.evil.example WWW.evil.example",
    ],
)
def test_what_others_wrote_stays_text(text: str) -> None:
    """Nothing that Markdown or HTML would heed is left, and the text is still there to be read."""
    cell = plain(text)
    assert not set(cell) & set("|<>[]()*_`~!@:\\\n\x1b\u202e")
    assert "www." not in cell.lower()
    assert "&#124" not in plain("&#124;").replace("&amp;#124", "")
    rows = [line for line in summary([story(grant=text)]).split("\n") if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 3


def test_what_may_be_alive_counts_most() -> None:
    """A lost record matters less than a credential that nobody ended."""
    lost, alive = LedgerError("full"), RevocationError("alive")
    assert Report.of([story()]).exit_code == 0
    assert Report.of([story()], [lost]).exit_code == 8
    assert Report.of([story()], [lost, alive]).exit_code == 9


def test_a_report_has_every_problem() -> None:
    """Each check that fails is told, and none keeps another from being made."""

    def fails(error: CiIdentityError) -> None:
        raise error

    problems = [LedgerError("full"), RevocationError("alive")]
    told = Report.of([story()], wrong([partial(fails, error) for error in problems]))
    assert told.exit_code == 9
    assert told.said[-2:] == ["error[ledger]: full", "error[revocation]: alive"]


def test_nothing_in_a_report_commands_the_runner() -> None:
    """Whoever prints it, prints it as it is."""
    log = "ci-identity: fine\n::add-path::/evil\n##[error]x\x1b[2J"
    told = Report.of([story(grant="a\n::stop-commands::x")], log=log)
    assert told.said[:2] == ["ci-identity: fine", ": :add-path::/evil"]
    assert not any("\n" in line or "\x1b" in line or "##[" in line for line in told.said)


def test_an_empty_report_says_so() -> None:
    """Whoever reads the log need not guess."""
    assert Report.of(()) == Report(said=["there was nothing left to end"])
