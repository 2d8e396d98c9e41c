"""What is still alive is told from the ledger alone, and nothing in it is believed unread."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity._record import replace
from ci_identity.ledger.entry import Event
from ci_identity.ledger.live import leases as leases_of
from ci_identity.model import AwsTarget
from ci_identity.reaping.aws import LONGEST, AwsReaper, LiveSession, Role
from ci_identity.reaping.denial import covers, document, name, until
from ci_identity.reaping.plan import CLOCKS, DEAD_AFTER, Asked, Left, Verdict, plan
from ci_identity.recording import BEAT
from tests.reaping.stories import (
    CUTTER,
    LEASE,
    LIFE,
    NOW,
    ROLE,
    USER,
    grant,
    is_planned,
    leases,
    lefts,
    tell,
)

ISSUED = (Event.REQUESTED, Event.ISSUED, Event.DELIVERED)
ENDED = (*ISSUED, Event.EXPIRES)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


# ── what is alive ────────────────────────────────────────────────────────────────────────────


def test_a_step_that_is_over_leaves_its_session(ledger: Path) -> None:
    """AWS ends nothing before its time, so after the end there is what has to be cut."""
    (lease,) = leases(tell(ledger, *ENDED))
    assert lease == LiveSession(
        id=LEASE,
        role=Role(arn=ROLE, account="123456789012", name="deploy-web"),
        user=USER,
        until=NOW + LIFE,
    )
    assert lefts(ledger)[0].lease.has_ended


@pytest.mark.parametrize("event", [Event.EXPIRES, Event.REVOKED, Event.REAPED, Event.FAILED])
def test_whatever_the_end_is_called_the_session_lives(ledger: Path, event: Event) -> None:
    """A ledger that says `revoked` of an AWS session is wrong, or was made to say so."""
    assert leases(tell(ledger, *ISSUED, event))
    assert verdicts(ledger) == {LEASE: Verdict.END}


def test_a_killed_job_may_have_renewed_once_more(ledger: Path) -> None:
    """The intent to renew is on record before AWS is asked: its time counts, answered or not."""
    tell(ledger, *ISSUED)
    (lease,) = leases(tell(ledger, Event.REQUESTED, at=NOW + LIFE, expires_at=NOW + 2 * LIFE))
    assert lease.until == NOW + 2 * LIFE


def test_the_last_renewal_counts(ledger: Path) -> None:
    """Of several times the latest is when the session is over."""
    tell(ledger, *ISSUED)
    tell(ledger, Event.REFRESHED, expires_at=NOW + 3 * LIFE)
    (lease,) = leases(tell(ledger, Event.EXPIRES))
    assert lease.until == NOW + 3 * LIFE


def test_killed_between_intent_and_answer(ledger: Path) -> None:
    """Whether AWS issued anything is not known: the lease counts as alive, by its id."""
    (lease,) = leases(tell(ledger, Event.REQUESTED))
    assert lease.user is None
    assert not lefts(ledger)[0].lease.has_ended
    assert '"StringLike":{"aws:userid":"*:*-0123456789abcdef"}' in document(lease)


@pytest.mark.parametrize("reason", ["provider-unanswered", "provider-answer", "interrupted"])
def test_a_lost_answer_may_have_issued_something(ledger: Path, reason: str) -> None:
    """The request went out and failed for us; AWS may have carried it out."""
    tell(ledger, Event.REQUESTED)
    (lease,) = leases(tell(ledger, Event.FAILED, reason=reason))
    assert lease.user is None
    assert lefts(ledger)[0].lease.has_ended


@pytest.mark.parametrize("reason", ["aws-denied", "identity", "provider-unavailable", None])
def test_a_refused_exchange_leaves_nothing(ledger: Path, reason: str | None) -> None:
    """AWS said no: a denial for it would only fill the role."""
    tell(ledger, Event.REQUESTED)
    assert leases(tell(ledger, Event.FAILED, reason=reason)) == []


def test_what_was_never_asked_for_leaves_nothing(ledger: Path) -> None:
    """A denied job has no session."""
    assert leases(tell(ledger, Event.DENIED)) == []


def test_a_session_is_over_when_its_time_and_the_clocks_are(ledger: Path) -> None:
    """A few minutes are given for clocks that differ."""
    tell(ledger, *ENDED)
    assert leases(ledger, NOW + LIFE + CLOCKS - timedelta(seconds=1))
    assert leases(ledger, NOW + LIFE + CLOCKS) == []


def test_other_targets_are_not_planned(ledger: Path) -> None:
    """A Vault lease is ended in another way."""
    assert leases(tell(ledger, *ENDED, target="https://vault.example/v1/auth/jwt/role/a")) == []


def test_a_cut_makes_no_lease_live_longer(ledger: Path) -> None:
    """Its time is that of the cut, which is no renewal."""
    tell(ledger, *ISSUED)
    (lease,) = leases(tell(ledger, Event.CUT, expires_at=NOW + 3 * LIFE))
    assert lease.until == NOW + LIFE


# ── what a stranger may have written ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "handle",
    [
        f"session:AROAQ3EGXAMPLE7777777:*-{LEASE}",
        f"session:AROAQ3EGXAMPLE7777777:?-{LEASE}",
        f"session:*:a-{LEASE}",
        f"session:AROA*:a-{LEASE}",
        f"session:AROAQ3EGXAMPLE7777777:${{aws:userid}}-{LEASE}",
        f"session:AROAQ3EGXAMPLE7777777:a-{LEASE}\n",
        f"session:AROAQ3EGXAMPLE7777777:{'a' * 48}-{LEASE}",
        f"session:AIDAQ3EGXAMPLE7777777:a-{LEASE}",
        "session:AROAQ3EGXAMPLE7777777:a-fedcba9876543210",
        f"accessor:AROAQ3EGXAMPLE7777777:a-{LEASE}",
        f"session:AROAQ3EGXAMPLE7777777:a\u0660-{LEASE}",
        "",
    ],
)
def test_a_handle_that_is_none_is_not_used(ledger: Path, handle: str) -> None:
    """No wildcard, no variable, no other lease's session: the id of the lease has to do."""
    (lease,) = leases(tell(ledger, *ENDED, handle=handle))
    assert lease.user is None


@pytest.mark.parametrize(
    "target",
    [
        "arn:aws:iam::123456789012:role/*",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role/a\nb",
        "arn:aws:iam::12345678901:role/a",
        "arn:aws:iam::123456789012:user/a",
        "arn:aws:sts::123456789012:assumed-role/a/b",
        f"arn:aws:iam::123456789012:role/{'a' * 65}",
        "arn:aws:iam::\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661:role/a",
    ],
)
def test_a_target_that_is_no_role_is_not_touched(ledger: Path, target: str) -> None:
    """What goes to IAM is a role's name and nothing else."""
    assert leases(tell(ledger, *ENDED, target=target)) == []


@pytest.mark.parametrize("lease", ["0123456789ABCDEF", "*", "0123456789abcde", "", f"{LEASE}0"])
def test_a_lease_id_that_is_none_is_not_used(ledger: Path, lease: str) -> None:
    """It would stand in the name of a policy, and in a pattern."""
    assert leases(tell(ledger, *ENDED, lease=lease)) == []


def test_a_time_far_ahead_is_cut_to_the_longest_session(ledger: Path) -> None:
    """Else one line could keep a policy on a role for ever."""
    (lease,) = leases(tell(ledger, *ENDED, expires_at=datetime.max.replace(tzinfo=UTC)))
    assert lease.until == NOW + LONGEST


def test_an_entry_for_another_role_is_another_story(ledger: Path) -> None:
    """A line slipped in says nothing about the lease of the lines before it."""
    other = f"{ROLE}-2"
    tell(ledger, *ENDED)
    late = NOW + 2 * LIFE
    first, second = leases(tell(ledger, Event.EXPIRES, target=other, expires_at=late))
    assert (first.role.arn, first.until) == (ROLE, NOW + LIFE)
    assert (second.role.arn, second.until) == (other, late)


NAMES = ["lease", "target", "event", "expires_at", "at", "handle", "reason", "grant"]
VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.lists(st.text(), max_size=2),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.sampled_from([*Event, LEASE, ROLE, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23"]),
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(NAMES), VALUES).map(
            lambda entry: {"lease": LEASE, "target": ROLE} | entry
        ),
        max_size=6,
    )
)
def test_whatever_a_ledger_says_nothing_breaks(entries: list[dict[str, Any]]) -> None:
    """Any JSON gives leases within bounds, whose policies are named as ours are."""
    for one in leases_of(entries):
        left = Left(lease=one, ledger=Path("x"))
        if is_planned(left, NOW) and (lease := LiveSession.of(left, NOW)):
            assert NOW - CLOCKS <= lease.until <= NOW + LONGEST
            assert until(name(lease)) == lease.until.replace(microsecond=0)
            assert len(name(lease)) <= 128


# ── what to do about it ──────────────────────────────────────────────────────────────────────


def verdicts(ledger: Path, now: datetime = NOW, **asked: Any) -> dict[str, Verdict]:
    planned = plan(lefts(ledger), [CUTTER], Asked(**asked), now, otherwise=lambda _: "")
    return {one.left.id: one.verdict for one in planned}


def test_only_what_is_over_is_ended_unless_asked_for(ledger: Path) -> None:
    """A running job keeps its session; whoever knows that it does not run can say so."""
    killed = "fedcba9876543210"
    tell(ledger, *ENDED)
    tell(ledger, *ISSUED, lease=killed)
    assert verdicts(ledger) == {LEASE: Verdict.END, killed: Verdict.LEAVE}
    assert verdicts(ledger, is_all=True) == {LEASE: Verdict.END, killed: Verdict.END}
    assert verdicts(ledger, named=frozenset({killed})) == {killed: Verdict.END}


@pytest.mark.parametrize("beats", [0, 1, 30])
def test_a_job_is_dead_when_its_heart_has_stopped(ledger: Path, beats: int) -> None:
    """From its last sign of life on a while must pass, which clocks that differ cannot explain."""
    last = NOW + beats * timedelta(seconds=BEAT)
    tell(ledger, *ISSUED, expires_at=NOW + timedelta(hours=6))
    for n in range(beats):
        tell(ledger, Event.ALIVE, at=NOW + (n + 1) * timedelta(seconds=BEAT), expires_at=None)
    assert verdicts(ledger, last + DEAD_AFTER) == {LEASE: Verdict.LEAVE}
    second = timedelta(seconds=1)
    assert verdicts(ledger, last + DEAD_AFTER + second) == {LEASE: Verdict.END}
    soon = {"dead_after": timedelta(minutes=5)}
    assert verdicts(ledger, last + timedelta(minutes=5), **soon) == {LEASE: Verdict.LEAVE}
    assert verdicts(ledger, last + timedelta(minutes=5, seconds=1), **soon) == {LEASE: Verdict.END}


def test_a_job_whose_clock_is_ten_minutes_behind_is_not_dead(ledger: Path) -> None:
    """What it told a moment ago looks that old."""
    tell(ledger, *ISSUED, at=NOW - timedelta(minutes=10))
    assert verdicts(ledger) == {LEASE: Verdict.LEAVE}


@pytest.mark.parametrize("asked", [{}, {"is_all": True}, {"named": frozenset({LEASE})}])
def test_a_ledger_that_says_cut_saves_no_session(ledger: Path, asked: dict[str, Any]) -> None:
    """A job can write such a line, in a chain that holds; only IAM knows what is in place."""
    tell(ledger, *ENDED)
    tell(ledger, Event.CUT, expires_at=NOW + LONGEST)
    assert verdicts(ledger, **asked) == {LEASE: Verdict.END}


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("arn:aws:iam::210987654321:role/deploy-web", Verdict.FAIL),
        ("arn:aws:iam::210987654321:role/reap", Verdict.FAIL),
        ("arn:aws:iam::123456789012:role/reap", Verdict.LEAVE),
        ("deployer@acme.iam.gserviceaccount.com", Verdict.LEAVE),
    ],
)
def test_what_the_cutter_cannot_cut(ledger: Path, target: str, verdict: Verdict) -> None:
    """Roles of other accounts, its own, and other providers: it has no right there."""
    assert verdicts(tell(ledger, *ENDED, target=target)) == {LEASE: verdict}


def test_the_reaper_that_can_is_taken(ledger: Path) -> None:
    """Of two accounts' reapers each has its own; whichever is named first."""
    other = AwsReaper(
        grant("b", AwsTarget(role="arn:aws:iam::210987654321:role/reap", region="eu-west-1"))
    )
    tell(ledger, *ENDED, target="arn:aws:iam::210987654321:role/deploy-web")
    for reapers in ([CUTTER, other], [other, CUTTER]):
        (one,) = plan(lefts(ledger), reapers, Asked(), NOW, otherwise=lambda _: "")
        assert (one.reaper, one.verdict) == (other, Verdict.END)


# ── the policy ───────────────────────────────────────────────────────────────────────────────


def test_the_policy_denies_one_session_everything(ledger: Path) -> None:
    """To the letter: what is on the role, and until when."""
    (lease,) = leases(tell(ledger, *ENDED))
    digest = hashlib.sha256(document(lease).encode()).hexdigest()[:16]
    assert name(lease) == f"ci-identity-cut-20260901T121500Z-{LEASE}-{digest}"
    assert document(lease) == (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*",'
        f'"Condition":{{"StringEquals":{{"aws:userid":"{USER}"}}}}}}]}}'
    )


@pytest.mark.parametrize(
    "name",
    [
        "base",
        f"ci-identity-cut-20260901T121500Z-{LEASE}",
        f"ci-identity-cut-20260901T121500Z-{LEASE}-{LEASE}0",
        f"ci-identity-cut-20261399T121500Z-{LEASE}-{LEASE}",
        f"x-ci-identity-cut-20260901T121500Z-{LEASE}-{LEASE}",
        "ci-identity-cut-policies",
    ],
)
def test_a_policy_of_somebody_else_is_not_ours(name: str) -> None:
    """Only what has our name, in full, is ever removed."""
    assert until(name) is None


@pytest.mark.parametrize(
    ("other", "is_covered"),
    [
        ({}, True),
        ({"until": NOW}, True),
        ({"until": NOW + LIFE + timedelta(seconds=1)}, False),
        ({"until": NOW + LIFE + timedelta(milliseconds=1)}, True),
        ({"id": "fedcba9876543210"}, False),
        ({"user": None}, False),
        ({"user": f"AROAQ3EGXAMPLE8888888:gh-acme.shop-{LEASE}"}, False),
    ],
    ids=["same", "shorter", "longer", "same-second", "lease", "unknown-user", "other-user"],
)
def test_a_policy_covers_its_own_session_until_its_end(
    ledger: Path,
    other: dict[str, Any],
    is_covered: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """One of another document is another denial, though it is for a lease of that id."""
    (lease,) = leases(tell(ledger, *ENDED))
    assert covers(name(lease), replace(lease, **other)) is is_covered
    assert not covers("base", lease)
