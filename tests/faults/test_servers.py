"""Each server of a run fails in each way, at each request that it is sent."""

import pytest

from tests.faults.between import BROKEN, latency
from tests.faults.stage import IS_THOROUGH, Faulty

PHASES = {
    "mint": "/github/token",
    "login": "auth/jwt/login",
    "shorten": "auth/token/renew-self",
    "rights": "sys/capabilities-self",
    "child": "auth/token/create",
    "read": "secret/data/shop",
    "revoke": "auth/token/revoke-self",
}
"""By what it is for, a piece of each request's line."""

EVERYWHERE = ("reset", "half a body", "503", "page")
CASES = [
    (phase, fault)
    for number, fault in enumerate(BROKEN)
    for at, phase in enumerate(PHASES)
    if IS_THOROUGH or fault in EVERYWHERE or number % len(PHASES) == at
    if (phase, fault) != ("revoke", "no content")  # which is how the server confirms it
]


def break_at(faulty: Faulty, phase: str, fault: str, times: float = float("inf")) -> None:
    """Have a fault happen at one request of a run."""
    between = faulty.tokens if phase == "mint" else faulty.vault
    between.where, between.fault, between.times = PHASES[phase], BROKEN[fault], times


@pytest.mark.parametrize(("phase", "fault"), CASES)
def test_a_server_that_fails_for_good(faulty: Faulty, phase: str, fault: str) -> None:
    """One clear error, nothing of the server's words, and what was issued ends or is named."""
    break_at(faulty, phase, fault)
    ended = faulty.exec()
    faulty.assert_sound(ended)
    if phase != "shorten":  # whose refusal is a warning: the step's own token is short
        assert ended.code == 125
        assert faulty.has_run == (phase == "revoke")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", ["reset", "503", "half a header", "429"])
def test_a_server_that_fails_once(faulty: Faulty, phase: str, fault: str) -> None:
    """What may pass is asked again; the step never knows of it."""
    break_at(faulty, phase, fault, times=1)
    ended = faulty.exec()
    faulty.assert_sound(ended)
    assert faulty.has_run
    if (phase, fault) == ("revoke", "half a header"):  # done, and nobody was told: that is said
        assert (ended.code, "NOT revoked" in ended.stderr) == (125, True)
    else:
        assert ended.code == 0


@pytest.mark.parametrize("phase", PHASES)
def test_a_server_that_is_slow(faulty: Faulty, phase: str) -> None:
    """A long way is no fault."""
    between = faulty.tokens if phase == "mint" else faulty.vault
    between.where, between.fault = PHASES[phase], latency
    ended = faulty.exec()
    faulty.assert_sound(ended)
    assert ended.code == 0


@pytest.mark.parametrize("phase", ["mint", "login"])
def test_nobody_listens(faulty: Faulty, phase: str) -> None:
    """A server that is away from the start: the error says so, and nothing was issued."""
    (faulty.tokens if phase == "mint" else faulty.vault).go_away()
    ended = faulty.exec()
    faulty.assert_sound(ended)
    assert ended.code == 125
    assert faulty.watch.logins == 0
    assert not faulty.has_run
