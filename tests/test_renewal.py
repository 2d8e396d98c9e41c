"""When something is renewed, what comes of a failure, and that it stops."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.errors import CiIdentityError, ExchangeError, ProviderUnavailableError
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

    def __init__(self, *answers: timedelta | CiIdentityError, enough: int) -> None:
        self.answers = list(answers)
        self.calls = 0
        self.failures: list[CiIdentityError] = []
        self._wanted = enough
        self.enough = threading.Event()

    def renew(self, pause: Callable[[float], None]) -> datetime:
        pause(0.0)
        self.calls += 1
        if self.calls >= self._wanted:
            self.enough.set()
        answer = self.answers.pop(0) if self.answers else timedelta(hours=1)
        if isinstance(answer, CiIdentityError):
            raise answer
        return datetime.now(UTC) + answer

    def run(self, *, first: timedelta, until: timedelta = timedelta(hours=1)) -> Renewal:
        now = datetime.now(UTC)
        renewal = Renewal(now + first, now + until, renew=self.renew, failed=self.failures.append)
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
    assert [error.code for error in provider.failures] == ["exchange-refused"]


def test_passing_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider out of reach is asked again, after the end too."""
    monkeypatch.setattr("ci_identity.renewal._SOON", timedelta(seconds=0.05))
    away = ProviderUnavailableError("away", retry_after=0.0)
    provider = _Provider(away, away, away, enough=4)
    renewal = provider.run(first=SOON)
    assert provider.enough.wait(10)
    renewal.stop(5)
    assert provider.failures == [away, away, away]


def test_stop_ends_a_pause() -> None:
    """A renewal that waits for its next try is not waited for."""
    at_pause = threading.Event()

    def renew(pause: Callable[[float], None]) -> datetime:
        at_pause.set()
        pause(3600)
        raise AssertionError

    now = datetime.now(UTC)
    failures: list[CiIdentityError] = []
    renewal = Renewal(now, now + timedelta(hours=1), renew=renew, failed=failures.append)
    renewal.start()
    assert at_pause.wait(10)
    renewal.stop(10)
    assert not renewal._thread.is_alive()
    assert failures == []
