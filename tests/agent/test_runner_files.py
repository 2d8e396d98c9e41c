"""What is written for the runner is read back as it was meant, whatever the values hold."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.agent.runner_files import ENV, SUMMARY, append, tell_runner
from ci_identity.errors import DeliveryError


def read(text: str) -> dict[str, str]:
    """Read as `FileCommandManager.cs` does: to the first line that is the delimiter."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        heredoc = re.fullmatch(r"([^=<]+)<<(.+)", line)
        assert heredoc, line
        value: list[str] = []
        while (one := next(lines)) != heredoc[2]:
            value.append(one)
        found[heredoc[1]] = "\n".join(value)
    return found


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_no_value_becomes_another(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """Lines that look like an end, or like another variable, stay part of the value."""
    file = tmp_path_factory.mktemp("runner") / "env"
    value += "\nci_identity_0123\nPATH=/tmp/evil\nX<<EOF\nEOF"
    assert tell_runner(ENV, {"A": value, "B": "b"}, {ENV: str(file)})
    assert read(file.read_text()) == {"A": value, "B": "b"}


def test_a_line_that_somebody_left_unfinished(tmp_path: Path) -> None:
    """Ours begin at the start of a line."""
    file = tmp_path / "env"
    file.write_text("A<<X\na\nX")
    tell_runner(ENV, {"B": "b"}, {ENV: str(file)})
    tell_runner(ENV, {"C": "c"}, {ENV: str(file)})
    assert read(file.read_text()) == {"A": "a", "B": "b", "C": "c"}


@pytest.mark.parametrize("name", ["A\nPATH", "A=B", "", "A<<B"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    """A name can hold nothing that the runner would read as more than a name."""
    with pytest.raises(DeliveryError):
        tell_runner(ENV, {name: "x"}, {ENV: str(tmp_path / "env")})
    assert not (tmp_path / "env").exists()


def test_without_a_runner() -> None:
    """Where no file is named nobody is told."""
    assert not append(SUMMARY, "text", {})


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """That is an error of the delivery."""
    with pytest.raises(DeliveryError, match="GITHUB_ENV"):
        append(ENV, "text", {ENV: str(tmp_path)})
