"""What is said while we work: to a program's `logging`, or to the command that listens."""

import logging

import pytest

from ci_identity import _log


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """What a command that listens is told."""
    told: list[tuple[str, str, str | None]] = []

    def listener(level: str, text: str, outcome: str | None) -> None:
        told.append((level, text, outcome))

    monkeypatch.setattr(_log, "_listeners", [])
    _log.listen(listener)
    return told


def test_a_program_has_it_by_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Under our name, by level, and with how a lease ended: what a library owes its users."""
    caplog.set_level("INFO", logger="ci_identity")
    _log.info("%s: revoked", "migrate-db", outcome="revoked")
    _log.warning("100 % of it")
    _log.error("gone")
    assert [(one.name, one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ci_identity", "INFO", "migrate-db: revoked"),
        ("ci_identity", "WARNING", "100 % of it"),
        ("ci_identity", "ERROR", "gone"),
    ]
    first = caplog.records[0]
    assert vars(first)["outcome"] == "revoked"
    assert first.filename == "test_log.py"


def test_what_a_program_does_not_listen_to_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    """Its levels hold."""
    caplog.set_level(logging.ERROR, logger="ci_identity")
    _log.info("x")
    assert caplog.records == []


def test_a_command_is_told_instead(
    heard: list[tuple[str, str, str | None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Then nothing goes to `logging`."""
    caplog.set_level("INFO")
    _log.info("%s: revoked", "migrate-db", outcome="revoked")
    _log.error("100 %")
    assert heard == [("info", "migrate-db: revoked", "revoked"), ("error", "100 %", None)]
    assert caplog.records == []
