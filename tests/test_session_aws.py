"""A session for AWS in Python: keys that follow it, and end with it."""

import copy
import pickle  # noqa: TID251  # to see that it cannot be done
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

import ci_identity
from ci_identity.errors import (
    ConfigurationError,
    IdentityError,
    LedgerError,
    NotRenewedError,
    ProviderUnavailableError,
)
from ci_identity.exchangers.aws import AwsExchanger
from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.ledger.verify import verify
from ci_identity.model import AwsTarget, Grant, Outcome, SubjectToken, UnverifiedClaims, Wanted
from ci_identity.sandbox.world import World
from ci_identity.session import Session
from tests.aws.policies import allow
from tests.aws.world import AwsWorld
from tests.step import Job

BUCKET = "shop-web"


@pytest.fixture
def job(world: World, aws: AwsWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job, and the variables of its AWS in this process too, where boto3 reads them."""
    aws.bucket(BUCKET)
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    made = Job.of(world, tmp_path / "state")
    made.environ.update(aws.environ)
    return made


@pytest.fixture
def grant(aws: AwsWorld) -> Grant:
    return Grant(
        name="deploy-web",
        conditions={"repository": (Wanted(text="acme/shop"),)},
        target=AwsTarget(role=aws.role("deploy-web", policy=allow("s3:*")), region=aws.region),
        ttl=timedelta(minutes=15),
    )


def put(session: boto3.Session) -> None:
    session.client("s3").put_object(Bucket=BUCKET, Key="index.html", Body=b"site")


def test_boto3_lives_and_ends_with_the_session(job: Job, grant: Grant) -> None:
    """A client made inside works inside, and signs nothing more outside."""
    with ci_identity.session(grant, environ=job.environ) as session:
        client = session.boto3().client("s3")
        client.put_object(Bucket=BUCKET, Key="index.html", Body=b"site")
    assert session.outcome is Outcome.EXPIRES
    with pytest.raises(ConfigurationError, match="no open AWS session"):
        client.put_object(Bucket=BUCKET, Key="index.html", Body=b"site")
    with pytest.raises(ConfigurationError, match="no open AWS session"):
        session.boto3()


def test_boto3_ignores_a_profile_of_the_environment(
    job: Job, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a profile nor a key of the environment takes the session's place."""
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAELSEWHERE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "elsewhere")
    with ci_identity.session(grant, environ=job.environ) as session:
        put(session.boto3())


def test_boto3_needs_an_aws_grant(world: World, tmp_path: Path) -> None:
    """A grant for Vault has no AWS session."""
    with (
        ci_identity.session("migrate-db", environ=Job.of(world, tmp_path / "s").environ) as session,
        pytest.raises(ConfigurationError, match="no open AWS session"),
    ):
        session.boto3()


def test_boto3_is_renewed(job: Job, grant: Grant, aws: AwsWorld) -> None:
    """A client that outlives its first keys twice goes on with new ones."""
    with ci_identity.session(grant, environ=job.environ, ttl=timedelta(seconds=5)) as session:
        boto = session.boto3()
        first = session.aws_keys().access_key_id
        end = time.monotonic() + 40
        while len(aws.calls("AssumeRoleWithWebIdentity")) < 3 and time.monotonic() < end:
            put(boto)
            time.sleep(0.1)
        assert session.aws_keys().access_key_id != first
    assert {call.status for call in aws.calls("PutObject")} == {200}
    assert verify(job.state / "ledger.jsonl").entries > 5


def test_environ_serves_a_child(job: Job, grant: Grant) -> None:
    """The environment for a child has no key in it, and the child gets one."""
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import boto3; boto3.client('s3').put_object(Bucket='shop-web', Key='x', Body=b'')"
    with ci_identity.session(grant, environ=job.environ) as session:
        keys = session.aws_keys()
        for secret in (keys.secret_access_key, keys.session_token):
            assert secret.reveal() not in session.environ.values()
        subprocess.run([sys.executable, "-c", code], env=session.environ, check=True)
    assert job.events() == ["requested", "issued", "delivered", "accessed", "expires"]


def test_keys_are_not_shown_nor_copied(job: Job, grant: Grant) -> None:
    """Neither the session nor what it holds tells a key to whoever prints it."""
    with ci_identity.session(grant, environ=job.environ) as session:
        keys = session.aws_keys()
        for secret in (keys.secret_access_key, keys.session_token):
            for shown in (session, keys, session.environ, session.variables, session.lease):
                assert secret.reveal() not in repr(shown)
        for copying in (copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copying(keys)


# ── renewal that fails ───────────────────────────────────────────────────────────────────────


class _Failing:
    """AWS's exchanger, whose later exchanges raise what they are told."""

    def __init__(self, real: AwsExchanger, error: Exception) -> None:
        self.target, self.audience, self.steered_by = real.target, real.audience, real.steered_by
        self._real = real
        self._error = error
        self.calls = 0
        self.has_failed = threading.Event()

    def exchange(self, request: ExchangeRequest) -> Credential:
        self.calls += 1
        if self.calls == 1:
            return self._real.exchange(request)
        self.has_failed.set()
        raise self._error


def test_failed_renewal_is_said_and_recorded(
    job: Job, grant: Grant, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys serve to their end, and then there are none: never keys that have ended."""
    target = grant.target
    assert isinstance(target, AwsTarget)
    error = ProviderUnavailableError("sts is away", retry_after=0.0)
    failing = _Failing(AwsExchanger(target, job.environ), error)
    session = Session(grant, job.environ, ttl=timedelta(seconds=2), exchanger=failing)
    with session:
        session.aws_keys()
        assert failing.has_failed.wait(10)
        _wait_for(lambda: "sts is away" in caplog.text)
        ends = session.lease.expires_at
        time.sleep(max(0.0, ends.timestamp() - time.time()) + 0.1)
        with pytest.raises(NotRenewedError, match="has ended"):
            session.aws_keys()
    failed = [entry for entry in job.ledger() if entry["event"] == "refreshed"]
    assert {entry["reason"] for entry in failed} == {"provider-unavailable"}
    assert {entry["outcome"] for entry in failed} == {"failed"}
    assert "not renewed, ends at" in caplog.text


def test_session_that_fails_to_open_renews_nothing(job: Job, grant: Grant, aws: AwsWorld) -> None:
    """A cancel at the last moment of opening ends the renewal with the rest."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if job.events().count("delivered"):
            raise KeyboardInterrupt

    session = Session(grant, job.environ, ttl=timedelta(seconds=3), pause=pause)
    with pytest.raises(KeyboardInterrupt):
        session.open()
    time.sleep(3.5)
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1
    assert job.events()[-1] == "expires"


def test_end_during_a_renewal_tells_the_later_time(job: Job, grant: Grant) -> None:
    """AWS may issue what was asked for when the step ended: the time said is not before that."""
    target = grant.target
    assert isinstance(target, AwsTarget)
    slow = _Slow(AwsExchanger(target, job.environ))
    session = Session(grant, job.environ, ttl=timedelta(seconds=6), exchanger=slow)
    session.open()
    first = session.lease.expires_at
    assert slow.is_asked.wait(10)
    revocation = session.close()
    slow.may_answer.set()
    assert revocation.lease.expires_at > first + timedelta(seconds=2)
    end = next(entry for entry in job.ledger() if entry["event"] == "expires")
    assert end["expires_at"] > first.isoformat()
    with pytest.raises(ConfigurationError):
        session.aws_keys()


class _Slow:
    """AWS's exchanger, whose later exchanges wait until they may answer."""

    def __init__(self, real: AwsExchanger) -> None:
        self.target, self.audience, self.steered_by = real.target, real.audience, real.steered_by
        self._real = real
        self.is_asked, self.may_answer = threading.Event(), threading.Event()
        self.calls = 0

    def exchange(self, request: ExchangeRequest) -> Credential:
        self.calls += 1
        if self.calls > 1:
            self.is_asked.set()
            assert self.may_answer.wait(10)
        return self._real.exchange(request)


class _OtherJob:
    """A source whose second token is another job's."""

    name = "github"

    def __init__(self, tokens: list[SubjectToken]) -> None:
        self._tokens = tokens

    def fetch(self, audience: str | None) -> SubjectToken:
        del audience
        return self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]


def test_renewal_is_for_the_same_job_only(
    job: Job, grant: Grant, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A token of another subject renews nothing, even if the grant would be for it too."""
    ours, theirs = (
        SubjectToken(token=token, claims=claims, source="github")
        for token, claims in (_token(world), _token(world, ref="refs/heads/other"))
    )
    session = Session(
        grant,
        job.environ,
        ttl=timedelta(seconds=2),
        candidates=[_OtherJob([ours, theirs])],
    )
    with session:
        first = session.aws_keys().access_key_id
        _wait_for(lambda: IdentityError.code in caplog.text or "another subject" in caplog.text)
        assert session.aws_keys().access_key_id == first


def test_nothing_is_renewed_without_a_ledger(job: Job, grant: Grant, aws: AwsWorld) -> None:
    """No entry, no credential: this holds for a renewed one as well."""
    session = ci_identity.session(grant, environ=job.environ, ttl=timedelta(seconds=2))
    with pytest.raises(LedgerError), session:  # noqa: PT012  # raised on leaving
        ledger = job.state / "ledger.jsonl"
        ledger.rename(ledger.with_name("gone"))
        ledger.mkdir()
        ends = session.lease.expires_at.timestamp()
        time.sleep(max(0.0, ends - time.time()) + 0.1)
        with pytest.raises(NotRenewedError):
            session.aws_keys()
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1


def _token(world: World, **claims: Any) -> tuple[ci_identity.Secret, UnverifiedClaims]:
    import jwt  # noqa: PLC0415

    token = world.issuer.github_token("sts.amazonaws.com", **claims)
    claims = jwt.decode(token.reveal(), options={"verify_signature": False})
    return token, UnverifiedClaims(claims)


def _wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
