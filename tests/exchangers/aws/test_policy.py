"""The session policy: what the grant says and no more, and an end sooner than AWS makes one."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.errors import AwsPolicyError
from ci_identity.exchangers.aws.policy import MAX_POLICY, SessionPolicy, session_policy
from ci_identity.model import PolicyStatement
from tests.exchangers.aws.stage import target

AT = datetime(2026, 9, 1, 12, 0, 0, 999_999, tzinfo=UTC)
PUT = PolicyStatement(allow=("s3:PutObject",), on=("arn:aws:s3:::shop-web/*",))
READ = PolicyStatement(allow=("s3:GetObject", "s3:ListBucket"), on=("*",))
ARN = "arn:aws:iam::123456789012:policy/deploy"
END = {
    "Effect": "Deny",
    "Action": "*",
    "Resource": "*",
    "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2026-09-01T12:10:00Z"}},
}
ALLOW = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::shop-web/*"}
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def made(minutes: float = 15, **changes: Any) -> SessionPolicy:
    return session_policy(target(**changes), ttl=timedelta(minutes=minutes), asked_at=AT)


def document(policy: SessionPolicy) -> Any:
    assert policy.text is not None
    return json.loads(policy.text)


def too_long(**changes: Any) -> AwsPolicyError:
    with pytest.raises(AwsPolicyError) as caught:
        made(**changes)
    return caught.value


# ── what it says ─────────────────────────────────────────────────────────────────────────────


def test_friendly_form_is_minified() -> None:
    """One statement a line, one text where there is one, no blank."""
    assert made(policy=(PUT, READ)).text == (
        '{"Version":"2012-10-17","Statement":['
        '{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::shop-web/*"},'
        '{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}'
    )


def test_raw_json_is_minified_and_else_left_alone() -> None:
    """Conditions, Sids, an older version or none: what was written is what is sent."""
    raw = '{\n  "Id" : "x", "Statement": {"Sid": "A", "Effect": "Deny",\n "NotAction": "s3:*"}\n}'
    assert made(policy=raw).text == (
        '{"Id":"x","Statement":{"Sid":"A","Effect":"Deny","NotAction":"s3:*"}}'
    )


def test_text_beyond_ascii_is_escaped() -> None:
    """AWS takes no character beyond U+00FF; JSON's escapes say the same."""
    policy = made(policy=(PolicyStatement(allow=("s3:*",), on=("arn:aws:s3:::\u20ac/\xe9",)),))
    assert policy.text is not None
    assert policy.text.isascii()
    assert document(policy)["Statement"][0]["Resource"] == "arn:aws:s3:::\u20ac/\xe9"


def test_without_policy_nothing_is_sent() -> None:
    """A session of 15 minutes or more may then do what the role may."""
    assert made() == SessionPolicy(text=None, arns=(), duration=900, deadline=None)


@pytest.mark.parametrize(
    "raw",
    [
        "{",
        "[]",
        '"x"',
        "{}",
        '{"Statement": NaN}',
        "[" * 5000,
        '{"Statement": [{"Effect": "Allow", "Condition": {"a": 1}, "Condition": {}}]}',
    ],
)
def test_raw_json_that_is_no_policy(raw: str) -> None:
    """Two keys of one name too: Python would drop the first, which may be the one that narrows."""
    assert "the grant's aws.policy" in str(too_long(policy=raw))


# ── how long ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ttl", "duration"),
    [(1, 900), (899.9, 900), (900, 900), (900.9, 900), (3600, 3600), (43_200, 43_200)],
)
def test_duration_is_within_what_aws_takes(ttl: float, duration: int) -> None:
    """Whole seconds, rounded down, from 900 on."""
    policy = session_policy(target(), ttl=timedelta(seconds=ttl), asked_at=AT)
    assert policy.duration == duration
    assert (policy.deadline is None) == (ttl >= 900)


def test_more_than_aws_takes_is_cut() -> None:
    """12 hours are the most, whoever asks."""
    assert session_policy(target(), ttl=timedelta(days=2), asked_at=AT).duration == 43_200


@pytest.mark.parametrize(
    ("changes", "statements"),
    [
        ({}, [ALL, END]),
        ({"policy": (PUT,)}, [ALLOW, END]),
        ({"policy": json.dumps({"Statement": ALLOW})}, [ALLOW, END]),
        ({"policy": json.dumps({"Statement": [ALLOW, ALL]})}, [ALLOW, ALL, END]),
        ({"policy_arns": (ARN,)}, [END]),
        ({"policy_arns": (ARN,), "policy": (PUT,)}, [ALLOW, END]),
    ],
    ids=["no policy", "friendly", "raw", "raw list", "managed", "managed and friendly"],
)
def test_short_life_is_a_deny_of_everything(
    changes: dict[str, Any], statements: list[object]
) -> None:
    """It narrows by the time alone: what the role may is allowed where nothing else says what is,
    and managed policies are not widened by an Allow of ours.
    """
    policy = made(10, **changes)
    assert document(policy)["Statement"] == statements
    assert policy.deadline == datetime(2026, 9, 1, 12, 10, tzinfo=UTC)
    assert policy.duration == 900


def test_deadline_is_told_in_utc() -> None:
    """Whatever the machine's own time zone is."""
    there = AT.astimezone(timezone(timedelta(hours=5)))
    policy = session_policy(target(), ttl=timedelta(minutes=10), asked_at=there)
    assert document(policy)["Statement"][1] == END


def test_own_version_is_not_changed() -> None:
    """An older policy language stays what it is: `${...}` means something else in the newer."""
    raw = {"Version": "2008-10-17", "Statement": ALLOW}
    assert document(made(5, policy=json.dumps(raw)))["Version"] == "2008-10-17"
    assert "Version" not in document(made(5, policy=json.dumps({"Statement": ALLOW})))
    assert document(made(5))["Version"] == "2012-10-17"


# ── how large ────────────────────────────────────────────────────────────────────────────────

FRAME = len(
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":""}]}'
)
OUTSIDE = len('{"Version":"2012-10-17","Statement":[]}')


def filled(size: int) -> tuple[PolicyStatement, ...]:
    """Return the policy that is `size` characters long."""
    return (PolicyStatement(allow=("s3:*",), on=("a" * (size - FRAME),)),)


def test_policy_of_the_greatest_length() -> None:
    """2,048 characters are taken, one more is not."""
    assert made(policy=filled(MAX_POLICY)).size == 2048
    assert str(too_long(policy=filled(MAX_POLICY + 1))) == (
        "the session policy has 2049 characters, 1 more than the 2048 that AWS takes; its largest"
        f" statement is number 1 (s3:*), with {2049 - OUTSIDE}"
    )


def test_largest_statement_is_named() -> None:
    """By its Sid or its first action, whatever stands before it."""
    large = PolicyStatement(
        allow=("s3:GetObject", "s3:List*"), on=tuple("b" * 99 for _ in range(30))
    )
    assert "its largest statement is number 2 (s3:GetObject), with " in str(
        too_long(policy=(PUT, large, READ))
    )
    raw = json.dumps({"Statement": [{"Sid": "Big\x1b", "Resource": "c" * 2048}, 7]})
    assert "number 1 (Big\\x1b), with " in str(too_long(policy=raw))


def test_what_the_deadline_takes_is_said() -> None:
    """A ttl of 15 minutes would not need it."""
    error = str(too_long(minutes=10, policy=filled(MAX_POLICY)))
    size = len(json.dumps(END, separators=(",", ":")))
    assert f" characters, {size + 1} more than" in error
    assert error.endswith(f"that it ends before 900 s takes {size}")


def test_managed_policies_count_too() -> None:
    """Their ARNs share the limit with the inline policy, and can fill it alone."""
    arns = tuple(f"{ARN}{'x' * 200}" for _ in range(8))
    size = sum(map(len, arns))
    assert made(policy_arns=arns).size == size
    error = too_long(policy_arns=arns, policy=filled(MAX_POLICY - size + 1))
    assert "2049 characters, 1 more" in str(error)
    assert str(error).endswith(f"the ARNs of policy_arns have {size}")
    assert "statement" not in str(too_long(policy_arns=(*arns, *arns)))


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 3600))
def test_what_is_sent_is_ascii_json_of_its_own_size(on: list[str], ttl: int) -> None:
    """Whatever the resources are: AWS can read it, and nothing of it is lost."""
    grant = target(policy=(PolicyStatement(allow=("s3:*",), on=tuple(on)),))
    try:
        policy = session_policy(grant, ttl=timedelta(seconds=ttl), asked_at=AT)
    except AwsPolicyError:
        return
    assert policy.text is not None
    assert policy.text.isascii()
    assert policy.size == len(policy.text) <= 2048
    resource = document(policy)["Statement"][0]["Resource"]
    assert (resource if isinstance(resource, list) else [resource]) == on
