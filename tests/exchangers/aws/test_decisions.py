"""The exchange at an AWS that decides: what a session may do, until when, and who gets none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError

from ci_identity.errors import (
    AwsAccessDeniedError,
    AwsAudienceError,
    AwsDurationError,
    AwsPolicyRefusedError,
    AwsProviderError,
    AwsTokenError,
    AwsTokenTimeError,
    CiIdentityError,
)
from ci_identity.model import AwsTarget, PolicyStatement, SubjectToken, UnverifiedClaims
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.aws.policies import allow, host_of
from tests.aws.world import AwsWorld, Keys
from tests.exchangers.aws.stage import LEASE, Stage

PUT_INDEX = PolicyStatement(allow=("s3:PutObject",), on=("arn:aws:s3:::shop/index.html",))
SHORT, LONG = timedelta(minutes=10), timedelta(minutes=20)


@pytest.fixture
def role(aws: AwsWorld) -> str:
    """A role that may do everything in S3, where there is one bucket."""
    aws.bucket("shop")
    return aws.role("deploy")


def stage(aws: AwsWorld, token: Secret, role: str, **target: Any) -> Stage:
    """Return the exchange of `token` for a session of `role`."""
    claims = UnverifiedClaims(jwt.decode(token.reveal(), options={"verify_signature": False}))
    return Stage(
        target=AwsTarget(role=role, **target),
        token=SubjectToken(token=token, claims=claims, source="github"),
        environ=aws.environ,
        ttl=LONG,
    )


def keys(stage: Stage) -> Keys:
    """Return the keys that the exchange gives."""
    served = stage.exchange().served
    assert served is not None
    return Keys(
        access_key_id=served.access_key_id,
        secret_access_key=served.secret_access_key.reveal(),
        session_token=served.session_token.reveal(),
    )


def may(aws: AwsWorld, keys: Keys, action: str, key: str = "index.html") -> bool:
    """Return whether `keys` may put or get an object."""
    s3 = aws.client("s3", keys)
    try:
        if action == "put":
            s3.put_object(Bucket="shop", Key=key, Body=b"hello")
        else:
            s3.get_object(Bucket="shop", Key=key)
    except ClientError as error:
        return error.response["Error"].get("Code") == "NoSuchKey"
    return True


def test_session_is_narrowed_by_the_grants_policy(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """The role may do everything in S3; the step may put one file."""
    token = issuer.github_token("sts.amazonaws.com")
    found = keys(stage(aws, token, role, policy=(PUT_INDEX,)))
    assert may(aws, found, "put")
    assert not may(aws, found, "put", "other.html")
    assert not may(aws, found, "get")
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1
    assert aws.calls("GetCallerIdentity") == []


def test_handle_is_the_sessions_true_user_id(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """What is recorded is what a Deny on `aws:userid` has to name."""
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role)
    who = aws.client("sts", keys(exchange)).get_caller_identity()
    assert exchange.handles[0].value == who["UserId"]
    assert who["UserId"].endswith(f"-{LEASE}")


SHORT_LIVES: dict[str, tuple[bool, bool, tuple[PolicyStatement, ...]]] = {
    "no policy": (True, False, ()),
    "policy": (False, False, (PUT_INDEX,)),
    "managed policy": (False, True, ()),
    "both": (True, True, (PolicyStatement(allow=("s3:GetObject",), on=("*",)),)),
}


@pytest.mark.parametrize(("may_get", "is_managed", "policy"), SHORT_LIVES.values(), ids=SHORT_LIVES)
def test_short_life_ends_when_it_was_asked_to(
    aws: AwsWorld,
    role: str,
    issuer: Issuer,
    *,
    may_get: bool,
    is_managed: bool,
    policy: tuple[PolicyStatement, ...],
) -> None:
    """Ten minutes: the same rights as without the end, and then none, though the keys live on."""
    managed = aws.managed_policy("put", allow("s3:PutObject"))
    exchange = stage(
        aws,
        issuer.github_token("sts.amazonaws.com"),
        role,
        policy=policy,
        policy_arns=(managed,) if is_managed else (),
    )
    exchange.ttl = SHORT
    found = keys(exchange)
    assert may(aws, found, "put")
    assert may(aws, found, "get") == may_get
    aws.advance(SHORT.total_seconds() - 60)
    assert may(aws, found, "put")
    aws.advance(90)
    assert not may(aws, found, "put")
    assert not may(aws, found, "get")


def test_long_life_needs_no_policy(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """From 900 s on AWS ends the session itself, and the role's rights are not touched."""
    found = keys(stage(aws, issuer.github_token("sts.amazonaws.com"), role))
    assert may(aws, found, "put")
    assert "Policy" not in aws.calls("AssumeRoleWithWebIdentity")[0].parameters


@pytest.mark.parametrize("ahead", [-650, -50, 50, 200])
def test_short_life_by_a_clock_that_differs(
    aws: AwsWorld, role: str, issuer: Issuer, ahead: float
) -> None:
    """Twenty seconds are twenty seconds: the keys work at once, and not after the end that is told.

    The first session is found to be wrong by its answer; the second is the one that is given.
    """
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role, policy=(PUT_INDEX,))
    exchange.ttl = timedelta(seconds=20)
    aws.advance(ahead)
    found = keys(exchange)
    assert may(aws, found, "put")
    left = exchange.held[0].expires_at - datetime.now(UTC)
    assert timedelta(seconds=15) < left < timedelta(seconds=22)
    aws.advance(left.total_seconds() + 2)
    assert not may(aws, found, "put")
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 2


# ── who gets none ────────────────────────────────────────────────────────────────────────────


def refused(aws: AwsWorld, exchange: Stage, kind: type[CiIdentityError], *, calls: int = 1) -> str:
    """Return what is said of the refusal, of this kind, after so many calls."""
    error = exchange.refuse()
    assert type(error) is kind
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == calls
    assert exchange.handles == []
    return f"{error}\n{error.cause}\n{error.hint}"


def test_job_of_another_repository(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """The trust policy says no, and we say what it could compare."""
    token = issuer.github_token("sts.amazonaws.com", repository="mallory/shop")
    said = refused(aws, stage(aws, token, role), AwsAccessDeniedError)
    assert f"{host_of(issuer.address)}:sub = repo:mallory@7/shop@42:ref:refs/heads/main" in said


def test_role_that_is_not_there(aws: AwsWorld, issuer: Issuer) -> None:
    """AWS says the same, so we say that it may be this."""
    role = "arn:aws:iam::123456789012:role/deploi"
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role)
    assert "there is no such role" in refused(aws, exchange, AwsAccessDeniedError)


def test_another_audience(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """The provider's client ids have it not."""
    exchange = stage(aws, issuer.github_token("vault.example"), role)
    assert "the audience vault.example" in refused(aws, exchange, AwsAudienceError)


def test_issuer_that_the_account_does_not_trust(aws: AwsWorld, role: str) -> None:
    """It is named as it must be registered."""
    with Issuer() as other:
        exchange = stage(aws, other.github_token("sts.amazonaws.com"), role)
        assert other.address in refused(aws, exchange, AwsProviderError)


def test_tampered_token(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """Another's signature is none."""
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role)
    head, claims, signature = exchange.token.token.reveal().split(".")
    forged = Secret(f"{head}.{claims}.{signature[::-1]}")
    exchange.token = SubjectToken(token=forged, claims=exchange.token.claims, source="github")
    refused(aws, exchange, AwsTokenError)


def test_token_that_is_expired_by_aws_clock(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """One more try with a new one; the same once more is not tried at all."""
    token = issuer.github_token("sts.amazonaws.com")
    aws.advance(3600)
    refused(aws, stage(aws, token, role), AwsTokenTimeError)
    exchange = stage(aws, token, role)
    exchange.mints = [stage(aws, issuer.github_token("sts.amazonaws.com"), role).token]
    refused(aws, exchange, AwsTokenTimeError, calls=3)


def test_session_longer_than_the_role_allows(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """MaxSessionDuration of the role is an hour."""
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role)
    exchange.ttl = timedelta(hours=2)
    refused(aws, exchange, AwsDurationError)


def test_policy_that_aws_cannot_read(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """An effect that there is not."""
    raw = '{"Version": "2012-10-17", "Statement": {"Effect": "Permit", "Action": "*"}}'
    exchange = stage(aws, issuer.github_token("sts.amazonaws.com"), role, policy=raw)
    refused(aws, exchange, AwsPolicyRefusedError)
