"""A cut stops one session and not its neighbour, is safe to repeat, and says why it failed."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from ci_identity._record import replace
from ci_identity.errors import LedgerError
from ci_identity.reaping.aws import LiveSession, Role
from ci_identity.reaping.denial import name
from ci_identity.reaping.iam import Cutter, cut, prune
from ci_identity.reaping.plan import CLOCKS, Result
from ci_identity.sandbox.issuer import Issuer
from tests.aws.policies import allow
from tests.aws.world import AwsWorld, Keys

LEASES = ("0123456789abcdef", "fedcba9876543210")
HOUR = timedelta(hours=1)


def lease_of(role: str, lease: str = LEASES[0], *, user: str | None = None) -> LiveSession:
    found = Role.from_arn(role)
    assert found
    return LiveSession(
        id=lease,
        role=found,
        user=user,
        until=datetime.now(UTC) + HOUR,
    )


def step(aws: AwsWorld, issuer: Issuer, role: str, lease: str) -> Keys:
    """Open a session as the exchanger does: its name ends with the lease's id."""
    token = issuer.github_token("sts.amazonaws.com")
    return aws.assume(role, token, name=f"gh-acme.shop-1-deploy-{lease}")


def user_of(aws: AwsWorld, keys: Keys) -> str:
    return aws.client("sts", keys).get_caller_identity()["UserId"]


def can_write(aws: AwsWorld, keys: Keys) -> bool:
    try:
        aws.client("s3", keys).put_object(Bucket="shop-web", Key="x", Body=b"")
    except ClientError as error:
        return error.response["Error"]["Code"] != "AccessDenied"
    return True


def policies(aws: AwsWorld, role: str = "deploy") -> list[str]:
    return aws.client("iam").list_role_policies(RoleName=role)["PolicyNames"]


def do(aws: AwsWorld, *leases: LiveSession) -> list[Result]:
    return list(cut(leases, cutter(aws), lambda _: None))


def cutter(aws: AwsWorld) -> Cutter:
    return Cutter(aws.client("iam"), pause=lambda _: None)


# ── AWS decides ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_known", [True, False], ids=["userid", "lease-id"])
def test_a_cut_stops_one_session_and_not_its_neighbour(
    aws: AwsWorld,
    issuer: Issuer,
    is_known: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """Of two sessions of one role, with the handle on record or only the lease's id."""
    aws.bucket("shop-web")
    role = aws.role("deploy")
    first, second = (step(aws, issuer, role, lease) for lease in LEASES)
    assert can_write(aws, first)
    user = user_of(aws, first) if is_known else None
    (result,) = do(aws, lease_of(role, user=user))
    assert result.is_done
    assert not can_write(aws, first)
    assert can_write(aws, second)


def test_a_cut_lasts_over_a_renewal(aws: AwsWorld, issuer: Issuer) -> None:
    """A renewed session has the name of the first, and so its `aws:userid`."""
    aws.bucket("shop-web")
    role = aws.role("deploy")
    first = step(aws, issuer, role, LEASES[0])
    do(aws, lease_of(role, user=user_of(aws, first)))
    assert not can_write(aws, step(aws, issuer, role, LEASES[0]))


# ── again, and at once ───────────────────────────────────────────────────────────────────────


def test_a_cut_done_again_changes_nothing(aws: AwsWorld) -> None:
    """One policy for a session, put once and recorded once, however often."""
    lease, recorded = lease_of(aws.role("deploy")), list[LiveSession]()
    sessions = [lease] * 2
    results = [*cut(sessions, cutter(aws), recorded.append)]
    results += cut(sessions, cutter(aws), recorded.append)
    assert [(r.is_done, r.was_done) for r in results] == [(True, False), *[(True, True)] * 3]
    assert recorded == [lease]
    assert sorted(policies(aws)) == ["base", name(lease)]


def test_a_cut_that_lasts_too_short_is_not_enough(aws: AwsWorld) -> None:
    """A session that was renewed after its cut is cut until its new end."""
    lease = lease_of(aws.role("deploy"))
    longer = replace(lease, until=lease.until + HOUR)
    assert [r.was_done for r in do(aws, lease, longer, lease)] == [False, False, True]
    assert sorted(policies(aws)) == sorted(["base", name(lease), name(longer)])


def test_a_denial_of_a_session_that_is_none_saves_no_other(aws: AwsWorld, issuer: Issuer) -> None:
    """A second ledger tells of the same lease with another `aws:userid`; both are denied."""
    aws.bucket("shop-web")
    role = aws.role("deploy")
    stolen = step(aws, issuer, role, LEASES[0])
    lease = lease_of(role, user=user_of(aws, stolen))
    forged = replace(lease, user=f"AROAQ3EGXAMPLE7777777:x-{LEASES[0]}")
    for first, second in [(forged, lease), (lease, forged)]:
        do(aws, first)
        do(aws, second)
        assert not can_write(aws, stolen)


def test_who_may_not_list_policies_can_cut_all_the_same(aws: AwsWorld) -> None:
    """What is in place is not known then, and all is put."""
    lease, iam = lease_of(aws.role("deploy")), aws.client("iam")
    iam.meta.events.register("before-send.iam.ListRolePolicies", answers("AccessDenied", 99))
    sessions = [lease]
    for _ in range(2):
        (result,) = cut(sessions, Cutter(iam), lambda _: None)
        assert (result.is_done, result.was_done) == (True, False)
    assert sorted(policies(aws)) == ["base", name(lease)]


def test_reapers_at_once_do_not_disturb_each_other(aws: AwsWorld) -> None:
    """Each prunes and cuts the same role; all succeed, and what is there is what one would do."""
    role = aws.role("deploy")
    old = [replace(lease_of(role, f"{n:016x}"), until=datetime.now(UTC) - HOUR) for n in range(6)]
    new = [lease_of(role, f"{n:016x}") for n in range(100, 106)]
    do(aws, *old)
    cutters = [cutter(aws) for _ in range(4)]

    def reap(one: Cutter) -> list[Result]:
        prune([new[0].role], one)
        sessions = new
        return list(cut(sessions, one, lambda _: None))

    with ThreadPoolExecutor(len(cutters)) as pool:
        results = [result for done in pool.map(reap, cutters) for result in done]
    assert [result.reason for result in results] == [""] * 24
    assert sorted(policies(aws)) == sorted(["base", *map(name, new)])


def test_what_another_reaper_has_removed_is_removed(
    aws: AwsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Between our look and our call; the other old cut is removed all the same."""
    role, iam, past = aws.role("deploy"), aws.client("iam"), datetime.now(UTC) - HOUR
    old = [replace(lease_of(role, lease), until=past) for lease in LEASES]
    do(aws, *old)

    def be_quicker(**_: Any) -> None:
        if name(old[0]) in policies(aws):
            aws.client("iam").delete_role_policy(RoleName="deploy", PolicyName=name(old[0]))

    iam.meta.events.register("before-call.iam.DeleteRolePolicy", be_quicker)
    with caplog.at_level(logging.WARNING, "ci_identity"):
        prune([old[0].role], Cutter(iam))
    assert policies(aws) == ["base"]
    assert caplog.messages == []


# ── pruned ───────────────────────────────────────────────────────────────────────────────────


def test_only_what_is_needed_no_longer_is_removed(aws: AwsWorld) -> None:
    """Over for longer than clocks differ; never what is not ours, however it is called."""
    role, now = aws.role("deploy"), datetime.now(UTC)
    over = replace(lease_of(role, LEASES[0]), until=now - CLOCKS - timedelta(minutes=1))
    just = replace(lease_of(role, LEASES[1]), until=now - CLOCKS + timedelta(minutes=1))
    do(aws, over, just)
    aws.client("iam").put_role_policy(
        RoleName="deploy",
        PolicyName="ci-identity-cut-20000101T000000Z-x",
        PolicyDocument=json.dumps(allow("s3:GetObject")),
    )
    prune([over.role], cutter(aws))
    kept = ["base", "ci-identity-cut-20000101T000000Z-x", name(just)]
    assert sorted(policies(aws)) == sorted(kept)


def test_failing_to_prune_is_said_and_keeps_nothing_from_being_cut(
    aws: AwsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that is not there, next to one that is."""
    lease = lease_of(aws.role("deploy"))
    gone = lease_of(lease.role.arn.replace("deploy", "gone"))
    old = replace(lease, id=LEASES[1], until=datetime.now(UTC) - HOUR)
    do(aws, old)
    with caplog.at_level(logging.WARNING, "ci_identity"):
        prune([gone.role, lease.role], cutter(aws))
    assert "gone: old cuts are not removed: there is no such role" in caplog.text
    assert policies(aws) == ["base"]


# ── when IAM says no ─────────────────────────────────────────────────────────────────────────


def test_a_full_role_is_named_with_its_cuts_and_others_are_cut(aws: AwsWorld) -> None:
    """IAM's quota is for all inline policies of a role together."""
    role, other = aws.role("deploy"), aws.role("other")
    buckets = [f"arn:aws:s3:::{n:0104}" for n in range(82)]
    filler = json.dumps(allow("s3:*", on=buckets), separators=(",", ":"))
    aws.client("iam").put_role_policy(RoleName="deploy", PolicyName="big", PolicyDocument=filler)
    many = [lease_of(role, f"{n:016x}") for n in range(3)]
    results = do(aws, *many, lease_of(other))
    assert [result.is_done for result in results] == [True, False, False, True]
    expected = (
        "deploy is full: cuts in place: 1, and IAM takes 10,240 characters of inline policies"
    )
    assert results[1].reason == expected


def test_one_that_fails_keeps_no_other_from_being_cut(aws: AwsWorld) -> None:
    """A role that is gone, between two that are there."""
    first, second = lease_of(aws.role("a")), lease_of(aws.role("b"))
    gone = lease_of(first.role.arn.replace("role/a", "role/gone"))
    results = do(aws, first, gone, second)
    assert [(r.is_done, r.reason) for r in results] == [
        (True, ""),
        (False, "there is no such role"),
        (True, ""),
    ]


def test_a_cutter_without_the_right_is_told(aws: AwsWorld, issuer: Issuer) -> None:
    """The session of a role that may not write policies."""
    role = aws.role("deploy")
    weak = Cutter(aws.client("iam", step(aws, issuer, aws.role("reap"), LEASES[1])))
    sessions = [lease_of(role)]
    (result,) = cut(sessions, weak, lambda _: None)
    assert result.reason == "the role that cuts may not do this there"
    assert policies(aws) == ["base"]


ERROR = "<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"


class Raw:
    """The body of an answer, as urllib3 would give it."""

    def __init__(self, body: str) -> None:
        self.body = body

    def stream(self) -> list[bytes]:
        return [self.body.encode()]


def answers(code: str, times: int) -> Callable[..., Any]:
    """Return a handler that answers the first calls with an error of IAM's, and lets go then."""
    left = [times]

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        left[0] -= 1
        if left[0] < 0:
            return None
        return AWSResponse(request.url, 409, HTTPHeaders(), Raw(ERROR.format(code=code)))

    return answer


@pytest.mark.parametrize("code", ["ConcurrentModification", "EntityTemporarilyUnmodifiable"])
def test_while_somebody_else_changes_the_role_it_is_tried_again(aws: AwsWorld, code: str) -> None:
    """IAM refuses one of two changes at once; it is not lost."""
    lease, iam, pauses = lease_of(aws.role("deploy")), aws.client("iam"), list[float]()
    iam.meta.events.register("before-send.iam.PutRolePolicy", answers(code, 3))
    Cutter(iam, pause=pauses.append).deny(lease)
    assert pauses == [0.5, 1.0, 1.5]
    assert name(lease) in policies(aws)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ConcurrentModification", "IAM says ConcurrentModification"),
        ("ServiceFailure", "IAM says ServiceFailure"),
        ("UnmodifiableEntity", "it is a role of AWS itself, which nobody can change"),
        ("\x1b[31m", "IAM says an error without a code"),
        ("x" * 65, "IAM says an error without a code"),
    ],
)
def test_the_reason_is_in_our_words(aws: AwsWorld, code: str, reason: str) -> None:
    """A code is shown if it is one, and never the message."""
    lease, iam = lease_of(aws.role("deploy")), aws.client("iam")
    escaped = code.replace("\x1b", "&#x241b;")
    iam.meta.events.register("before-send.iam.PutRolePolicy", answers(escaped, 99))
    sessions = [lease]
    (result,) = cut(sessions, Cutter(iam, pause=lambda _: None), lambda _: None)
    assert (result.is_done, result.reason) == (False, reason)


def test_no_answer_is_a_reason_too(aws: AwsWorld) -> None:
    """Nobody listens there any more."""
    lease = lease_of(aws.role("deploy"))
    dead = Cutter(aws.client("iam"))
    dead._iam.meta.events.register("before-sign", lambda request, **_: _redirect(request))
    (result,) = cut([lease], dead, lambda _: None)
    assert result.reason == "IAM did not answer"


def _redirect(request: Any) -> None:
    request.url = "http://127.0.0.1:9/"


def test_a_cut_that_is_on_no_record_is_told_as_that(aws: AwsWorld) -> None:
    """It is in place; the error is kept for whoever reports."""
    error = LedgerError("full")

    def record(_: LiveSession) -> None:
        raise error

    sessions = [lease_of(aws.role("deploy"))]
    (result,) = cut(sessions, cutter(aws), record)
    assert (result.is_done, result.unrecorded) == (True, error)
