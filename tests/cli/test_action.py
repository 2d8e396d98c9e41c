"""`ci-identity action`: two words, which only the action's own JavaScript gives."""

import pytest

from ci_identity.cli import COMMANDS, main


@pytest.mark.parametrize("words", [(), ("folder",), ("folder", "x"), ("folder", "1", "2")])
def test_people_are_led_to_what_is_for_them(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """By hand it is a slip, and the help does not list it."""
    assert main(["action", *words]) == 2
    assert "error[usage]: action is for the GitHub action" in capfd.readouterr().err
    assert "action" not in COMMANDS
