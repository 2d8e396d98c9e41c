"""When something is renewed, what comes of a failure, and that it stops."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.errors import (
    CiIdentityError,
    ExchangeError,
    LedgerError,
    ProviderAnswerError,
    ProviderUnavailableError,
)
from ci_identity.renewal import LEAD, Renewal, due

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("life", "lead"),
    [(15 * MINUTE, 5 * MINUTE), (60 * MINUTE, LEAD), (720 * MINUTE, LEAD), (MINUTE, MINUTE / 3)],
)
def test_renewed_after_two_thirds_or_shortly_before_the_end(
    life: timedelta, lead: timedelta
) -> None:
    """A third of its life before its end, and 20 minutes where that is less."""
    assert due(NOW, NOW + life) == NOW + life - lead


class _Provider:
    """Renews, or fails, as it is told; `calls` counts, `enough` is set at the wanted number."""

    def __init__(self, *answers: timedelta | Exception, enough: int) -> None:
        self.answers = list(answers)
        self.calls = 0
        self.failures: list[tuple[CiIdentityError, bool]] = []
        self._wanted = enough
        self.enough = threading.Event()

    def renew(self, pause: Callable[[float], None]) -> datetime:
        pause(0.0)
        self.calls += 1
        if self.calls >= self._wanted:
            self.enough.set()
        answer = self.answers.pop(0) if self.answers else timedelta(hours=1)
        if isinstance(answer, Exception):
            raise answer
        return datetime.now(UTC) + answer

    def failed(self, error: CiIdentityError, *, is_final: bool) -> None:
        self.failures.append((error, is_final))

    def run(self, *, first: timedelta, until: timedelta = timedelta(hours=1)) -> Renewal:
        now = datetime.now(UTC)
        renewal = Renewal(now + first, now + until, renew=self.renew, failed=self.failed)
        renewal.start()
        return renewal


SOON = timedelta(seconds=0.15)


def test_renewed_again_and_again() -> None:
    """Each new credential is renewed in its turn."""
    provider = _Provider(SOON, SOON, enough=3)
    renewal = provider.run(first=SOON)
    assert provider.enough.wait(10)
    renewal.stop(5)
    assert provider.calls == 3


def test_renewed_no_longer_than_the_grant_allows() -> None:
    """What lives until the cap is not renewed."""
    provider = _Provider(enough=1)
    renewal = provider.run(first=SOON, until=SOON)
    renewal._thread.join(10)
    assert not renewal._thread.is_alive()
    assert provider.calls == 0


def test_permanent_failure_ends_renewing() -> None:
    """A provider that says no is not asked again."""
    provider = _Provider(ExchangeError("no"), enough=2)
    renewal = provider.run(first=SOON)
    renewal._thread.join(10)
    assert not renewal._thread.is_alive()
    assert provider.calls == 1
    assert [(error.code, final) for error, final in provider.failures] == [
        ("exchange-refused", True)
    ]


def test_passing_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider out of reach is asked again, after the end too."""
    monkeypatch.setattr("ci_identity.renewal._SOON", timedelta(seconds=0.01))
    away = ProviderUnavailableError("away", retry_after=0.0)
    provider = _Provider(away, away, away, enough=4)
    renewal = provider.run(first=SOON)
    assert provider.enough.wait(10)
    renewal.stop(5)
    assert provider.failures == [(away, False)] * 3


def test_stop_ends_a_pause() -> None:
    """A renewal that waits for its next try is not waited for."""
    at_pause = threading.Event()

    def renew(pause: Callable[[float], None]) -> datetime:
        at_pause.set()
        pause(3600)
        raise AssertionError

    now = datetime.now(UTC)
    provider = _Provider(enough=1)
    renewal = Renewal(now, now + timedelta(hours=1), renew=renew, failed=provider.failed)
    renewal.start()
    assert at_pause.wait(10)
    renewal.stop(10)
    assert not renewal._thread.is_alive()
    assert provider.failures == []


def test_what_fails_after_the_stop_is_not_told() -> None:
    """The session has ended, and with it what the request under way was about."""
    asked, ended = threading.Event(), threading.Event()

    def renew(_: Callable[[float], None]) -> datetime:
        asked.set()
        assert ended.wait(10)
        message = "what it was bound to is gone"
        raise ExchangeError(message)

    now = datetime.now(UTC)
    provider = _Provider(enough=1)
    renewal = Renewal(now, now + timedelta(hours=1), renew=renew, failed=provider.failed)
    renewal.start()
    assert asked.wait(10)
    renewal.stop(0.0)
    ended.set()
    renewal._thread.join(10)
    assert not renewal._thread.is_alive()
    assert provider.failures == []


@pytest.mark.parametrize(
    "error",
    [
        LedgerError("locked"),
        ProviderAnswerError("a page of a captive portal"),
        OSError("the CA file has gone"),
        LookupError("no such encoding: the-secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked ledger, an answer that is none, an error of a library: none ends renewing."""
    monkeypatch.setattr("ci_identity.renewal._SOON", timedelta(seconds=0.01))
    provider = _Provider(error, error, enough=3)
    renewal = provider.run(first=SOON)
    assert provider.enough.wait(10)
    renewal.stop(5)
    assert [final for _, final in provider.failures] == [False, False]
    assert "the-secret" not in str(provider.failures)


def test_credential_that_is_over_at_once_is_no_reason_to_hurry() -> None:
    """A provider whose credentials have ended when they come is asked once a second at most."""
    provider = _Provider(*[timedelta(seconds=-300)] * 50, enough=2)
    renewal = provider.run(first=SOON)
    assert provider.enough.wait(10)
    renewal.stop(5)
    assert provider.calls == 2


def test_nothing_is_renewed_after_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that comes back after the grant's `max` is not asked any more."""
    monkeypatch.setattr("ci_identity.renewal._SOON", timedelta(seconds=0.2))
    away = ProviderUnavailableError("away", retry_after=0.0)
    provider = _Provider(away, away, away, away, away, enough=99)
    renewal = provider.run(first=SOON, until=timedelta(seconds=0.5))
    renewal._thread.join(10)
    assert not renewal._thread.is_alive()
    assert 1 <= provider.calls <= 3
