"""Clocks that differ: AWS keeps a session's end by its own, we tell it by this machine's."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.errors import AwsClockError
from ci_identity.exchangers.aws.clocks import ahead, matters
from tests.exchangers.aws.stage import Stage, Sts, answer, say, says, subject_token, target

TTL = timedelta(seconds=20)
NEAR = timedelta(seconds=4)
"""AWS's ends are in whole seconds, and an answer takes a moment."""

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
LIFE = timedelta(minutes=15)
FAR = timedelta(hours=12)


@pytest.fixture
def sts() -> Iterator[Sts]:
    """An STS that gives a session to everybody."""
    with Sts() as sts:
        yield sts


@pytest.fixture
def stage(sts: Sts) -> Stage:
    """An exchange at that STS of a session that its policy ends."""
    return Stage(target=target(endpoint=sts.address), ttl=TTL)


def deadlines(sts: Sts) -> list[datetime]:
    """Return when the sessions that were asked for end, by AWS's clock."""
    ends = [json.loads(form["Policy"])["Statement"][-1]["Condition"] for *_, form in sts.asked]
    return [datetime.fromisoformat(end["DateGreaterThan"]["aws:CurrentTime"]) for end in ends]


def aws_now(sts: Sts) -> datetime:
    """Return what AWS's clock shows."""
    return datetime.now(UTC) + timedelta(seconds=sts.ahead)


# ── what is told ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("skew", [-1200, -300, 300, 1200])
def test_end_is_told_by_this_machines_clock(stage: Stage, sts: Sts, skew: float) -> None:
    """Whatever AWS's clock shows: what lives for 15 minutes is said to end in 15 minutes."""
    sts.ahead, stage.ttl = skew, LIFE
    credential = stage.exchange()
    assert credential.served is not None
    told = {credential.expires_at, credential.served.expires_at, stage.handles[0].expires_at}
    (end,) = told
    assert end is not None
    assert abs(end - datetime.now(UTC) - LIFE) < NEAR
    assert len(sts.asked) == 1
    side = "behind" if skew > 0 else "ahead of"
    (warning,) = stage.warnings
    said, _, rest = warning.partition(f" s {side} AWS's; ")
    assert abs(float(said.removeprefix("deploy-web: this machine's clock is ")) - abs(skew)) <= 4
    assert rest == "AWS keeps ends by its own clock, they are told by this machine's"


@pytest.mark.parametrize(("skew", "warned"), [(50, False), (-50, False), (70, True), (-70, True)])
def test_small_difference_is_no_news(stage: Stage, sts: Sts, skew: float, *, warned: bool) -> None:
    """Under a minute and a tenth of the ttl nothing is said of it, and it is reckoned with."""
    sts.ahead, stage.ttl = skew, LIFE
    end = stage.exchange().expires_at
    assert abs(end - datetime.now(UTC) - LIFE) < NEAR
    assert bool(stage.warnings) == warned


# ── the deadline ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("skew", [-650, -50, 5, 50, 650])
def test_deadline_is_by_the_clock_that_keeps_it(stage: Stage, sts: Sts, skew: float) -> None:
    """The first answer tells AWS's clock; a second session then ends when it was asked to."""
    sts.ahead = skew
    credential = stage.exchange()
    assert len(sts.asked) == 2
    assert sts.connections == 1
    wrong, right = deadlines(sts)
    assert abs(wrong - datetime.now(UTC) - TTL) < NEAR
    assert abs(right - aws_now(sts) - TTL) < NEAR
    assert abs(credential.expires_at - datetime.now(UTC) - TTL) < NEAR
    assert len(stage.warnings) == 1
    assert stage.events == ["hold", "record", "record"]  # AWS gave both
    assert stage.handles[-1].expires_at == credential.expires_at


def test_clocks_that_agree_need_one_call(stage: Stage, sts: Sts) -> None:
    """A second one is for clocks that differ by enough to be noticed."""
    stage.exchange()
    assert (len(sts.asked), stage.warnings, stage.events) == (1, [], ["hold", "record"])


def test_difference_is_remembered(stage: Stage, sts: Sts) -> None:
    """A renewal sets its deadline right at once, and nothing is said again."""
    sts.ahead = 650
    exchanger = stage.exchanger()
    exchanger.exchange(stage.request)
    sts.asked.clear()
    end = exchanger.exchange(stage.request).expires_at
    (deadline,) = deadlines(sts)
    assert abs(deadline - aws_now(sts) - TTL) < NEAR
    assert abs(end - datetime.now(UTC) - TTL) < NEAR
    assert len(stage.warnings) == 1


def test_clock_that_was_set_right_between(stage: Stage, sts: Sts) -> None:
    """What was remembered is wrong then: it is measured anew, and said."""
    sts.ahead = 650
    exchanger = stage.exchanger()
    exchanger.exchange(stage.request)
    sts.ahead = 0
    end = exchanger.exchange(stage.request).expires_at
    assert abs(deadlines(sts)[-1] - datetime.now(UTC) - TTL) < NEAR
    assert abs(end - datetime.now(UTC) - TTL) < NEAR


def test_each_try_has_its_own_deadline(stage: Stage, sts: Sts) -> None:
    """A life that counts from the first of many tries would be half over when it begins."""
    begun = datetime.now(UTC)
    stage.now = lambda: begun + timedelta(seconds=10 * len(sts.asked))
    stage.token = subject_token(exp=int(begun.timestamp()) + 900)
    sts.faults = [says(503, "")] * 2
    stage.exchange()
    first, second, third = deadlines(sts)[:3]
    assert second - first == third - second == timedelta(seconds=10)


def test_session_that_is_over_twice(stage: Stage, sts: Sts) -> None:
    """A clock that runs away: the second session is the last, and the error names the distance."""

    sts.faults = [lambda request: say(request, 200, answer(sts.form, ahead=100))]
    sts.faults += [lambda request: say(request, 200, answer(sts.form, ahead=1000))]
    error = stage.refuse()
    assert type(error) is AwsClockError
    assert "by AWS's clock the session was over when it was given" in str(error)
    assert re.search(r"this machine's clock is (999|1000) s behind AWS's$", str(error))
    assert len(sts.asked) == 2
    assert error.retry_after is None
    assert stage.events == ["hold", "record", "record"]


def test_no_time_for_a_second_session(
    stage: Stage, sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is over is refused then; one that lives is taken, and its end told as it is."""
    monkeypatch.setattr("ci_identity.exchangers.aws.exchange.RETRY_BUDGET", 0.0)
    sts.ahead = 50
    assert type(stage.refuse()) is AwsClockError
    sts.ahead = -50
    end = stage.exchange().expires_at
    assert abs(end - datetime.now(UTC) - TTL - timedelta(seconds=50)) < NEAR
    assert len(sts.asked) == 2


# ── the measure ──────────────────────────────────────────────────────────────────────────────

seconds = st.floats(0, 15).map(lambda number: timedelta(seconds=number))


@given(skew=st.timedeltas(-FAR, FAR), there=seconds, back=seconds)
def test_measure_of_one_answer(skew: timedelta, there: timedelta, back: timedelta) -> None:
    """Nothing that the way of the answer explains; else too much by the way back and a second."""
    begun = (AT + there - skew).replace(microsecond=0)
    found = ahead(begun + LIFE, life=LIFE, asked_at=AT, answered_at=AT + there + back)
    if found:
        assert timedelta() <= found - skew <= back + timedelta(seconds=1)
    else:
        assert abs(skew) <= there + back + timedelta(seconds=1)


@given(there=seconds, back=seconds)
def test_clocks_that_agree_however_long_it_takes(there: timedelta, back: timedelta) -> None:
    """A slow answer is no wrong clock."""
    begun = (AT + there).replace(microsecond=0)
    assert not ahead(begun + LIFE, life=LIFE, asked_at=AT, answered_at=AT + there + back)


@pytest.mark.parametrize(
    ("ttl", "most"), [(1, 2), (20, 2), (60, 6), (600, 60), (899, 60), (43_200, 60)]
)
def test_what_matters(ttl: int, most: int) -> None:
    """A tenth of the ttl, but no more than a minute, and no less than can be measured."""
    for sign in (-1, 1):
        limit = timedelta(seconds=most * sign)
        assert not matters(limit, ttl=timedelta(seconds=ttl))
        assert matters(limit * 1.01, ttl=timedelta(seconds=ttl))
