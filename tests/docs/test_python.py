"""docs/reference/python.md: the examples run, and the names and signatures are the real ones.

The example of the README runs too.
"""

import inspect
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import ci_identity
from ci_identity.errors import CiIdentityError
from ci_identity.sandbox.world import World
from tests.docs.pages import ROOT, blocks, page

PAGE = page("reference/python.md")


@pytest.fixture
def job(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a job of the world, with a `make` that fails without the secret."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\ntest -n "$DB_PASSWORD"\n')
    make.chmod(0o700)
    for name, value in world.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("job")
def test_every_example_runs(capfd: pytest.CaptureFixture[str]) -> None:
    """The page's examples run one after the other, and end as the page says."""
    names: dict[str, object] = {}
    for example in blocks(PAGE, "python"):
        exec(compile(example, "python.md", "exec"), names)  # noqa: S102  # our own page
    session = names["session"]
    assert isinstance(session, ci_identity.Session)
    assert session.outcome is ci_identity.Outcome.REVOKED
    assert names["code"] == 0
    assert set(names["secret"]) == {"username", "password", "licence"}  # type: ignore[call-overload]  # what exec made
    assert "error[" not in capfd.readouterr().out


@pytest.mark.usefixtures("job")
def test_the_example_of_the_readme_runs() -> None:
    """It needs nothing that it does not import."""
    names: dict[str, object] = {}
    (example,) = blocks((ROOT / "README.md").read_text(), "python")
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102  # our own page
    session = names["session"]
    assert isinstance(session, ci_identity.Session)
    assert session.outcome is ci_identity.Outcome.REVOKED


@pytest.mark.parametrize("line", [line.strip() for line in blocks(PAGE, "text")])
def test_a_signature_is_the_real_one(line: str) -> None:
    """Parameters, order and defaults are those of the function."""
    name = line.partition("(")[0]
    signature = inspect.signature(getattr(ci_identity, name))
    bare = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    shown = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    assert line == f"{name}{shown}"


@pytest.mark.parametrize("name", dir(ci_identity))
def test_every_public_name_is_there(name: str) -> None:
    """Each public name stands in a heading or, if it is an error, in the table of errors."""
    headings = "".join(re.findall(r"^## .*$|^\| `.*$", PAGE, re.MULTILINE))
    kind = getattr(ci_identity, name)
    assert f"`{name}`" in (PAGE if kind is CiIdentityError else headings)


@pytest.mark.parametrize("name", sorted(ci_identity.JobIdentity.__slots__))
def test_every_field_of_an_identity_is_there(name: str) -> None:
    """The list of fields is complete."""
    assert f"`{name}`" in PAGE


def test_every_attribute_of_a_session_is_there() -> None:
    """Whatever of a session is public is in its table, but for what others of ours need."""
    found = {name for name in dir(ci_identity.Session) if not name.startswith("_")}
    table = PAGE.partition("| of a `Session` |")[2].partition("\n\n")[0]
    assert {name for name in found if f"`{name}" not in table} == {
        *("private_folder", "recorder", "vault_client")
    }
