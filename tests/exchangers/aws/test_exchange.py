"""One exchange over loopback: what is sent, what is made of the answer, and its end."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ci_identity._call import READ_TIMEOUT
from ci_identity._record import replace
from ci_identity.errors import (
    AwsPolicyError,
    AwsRoleError,
    AwsTokenTimeError,
    ProviderAnswerError,
    UnansweredError,
)
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.aws import AwsExchanger
from ci_identity.exchangers.interface import Ending
from ci_identity.model import Grant, Handle, Outcome, PolicyStatement, Wanted
from ci_identity.secret import Secret
from tests.exchangers.aws.stage import (
    JWT,
    KEY,
    KEY_ID,
    LEASE,
    NAME,
    ROLE,
    ROLE_ID,
    TOKEN,
    Stage,
    Sts,
    answer,
    hang,
    refusal,
    reset,
    says,
    subject_token,
    target,
)

PUT = (PolicyStatement(allow=("s3:PutObject",), on=("arn:aws:s3:::shop-web/*",)),)
EXPIRED = says(400, refusal("ExpiredTokenException", "Token expired"))


@pytest.fixture
def sts() -> Iterator[Sts]:
    """An STS that gives a session to everybody."""
    with Sts() as sts:
        yield sts


@pytest.fixture
def stage(sts: Sts) -> Stage:
    """An exchange at that STS."""
    return Stage(target=target(endpoint=sts.address))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time for all tries together."""
    monkeypatch.setattr("ci_identity.exchangers.aws.exchange.RETRY_BUDGET", 0.3)


# ── what is sent ─────────────────────────────────────────────────────────────────────────────


def test_exactly_what_is_asked(stage: Stage, sts: Sts) -> None:
    """One POST with these fields, unsigned, and nothing of what the environment may hold."""
    stage.environ = {"AWS_ACCESS_KEY_ID": "ambient", "AWS_SECRET_ACCESS_KEY": "ambient"}
    stage.exchange()
    ((method, path, headers, form),) = sts.asked
    assert (method, path) == ("POST", "/")
    assert form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": NAME,
        "DurationSeconds": "900",
        "WebIdentityToken": JWT,
    }
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["User-Agent"] == "ci-identity"
    assert not {"authorization", "cookie", "x-amz-date"} & {name.lower() for name in headers}


def test_policies_are_sent_as_the_api_wants_them(stage: Stage, sts: Sts) -> None:
    """The inline one as JSON, the managed ones as members of a list, counted from one."""
    arns = ("arn:aws:iam::123456789012:policy/a", "arn:aws:iam::123456789012:policy/b+c")
    stage.target = replace(stage.target, policy=PUT, policy_arns=arns)
    stage.exchange()
    assert json.loads(sts.form["Policy"])["Statement"][0]["Action"] == "s3:PutObject"
    assert sts.form["PolicyArns.member.1.arn"] == arns[0]
    assert sts.form["PolicyArns.member.2.arn"] == arns[1]


def test_policy_that_is_too_long_is_not_sent(stage: Stage, sts: Sts) -> None:
    """AWS would say no to it anyway: nothing is asked, and nothing is held."""
    stage.target = replace(stage.target, policy=PUT * 50)
    assert isinstance(stage.refuse(), AwsPolicyError)
    assert (sts.asked, stage.events) == ([], [])


def test_grant_for_aws_has_this_exchanger() -> None:
    """It is chosen by the grant's target."""
    conditions = {"repository": (Wanted(text="acme/shop"),)}
    grant = Grant(name="deploy-web", conditions=conditions, target=target())
    assert isinstance(exchanger_for(grant, {}), AwsExchanger)


# ── what is made of the answer ───────────────────────────────────────────────────────────────


def test_session_as_it_is_handed_on(stage: Stage) -> None:
    """The keys are served, not set as variables; their secret parts are to be masked."""
    credential = stage.exchange()
    keys = credential.served
    assert keys is not None
    assert keys.access_key_id == KEY_ID
    assert keys.secret_access_key.reveal() == KEY
    assert keys.session_token.reveal() == TOKEN
    assert keys.expires_at == credential.expires_at
    assert credential.variables == {}
    assert list(credential.secrets) == [Secret(KEY), Secret(TOKEN)]
    assert KEY not in f"{credential!r}{keys!r}{vars(credential)}"


def test_what_is_recorded(stage: Stage) -> None:
    """Held before the call, recorded after it: what `aws:userid` will be, and no secret."""
    stage.target = replace(stage.target, policy=PUT)
    credential = stage.exchange()
    assert stage.events == ["hold", "record"]
    assert stage.held == [credential]
    assert stage.handles == [
        Handle(
            kind="session",
            value=f"{ROLE_ID}:{NAME}",
            expires_at=credential.expires_at,
            fingerprint=Secret(TOKEN).fingerprint(),
            packed_policy=6,
        )
    ]
    assert stage.handles[0].value.endswith(f"-{LEASE}")


def test_size_of_the_policy_is_noted(stage: Stage) -> None:
    """Both limits: characters, and percent of the packed form. Without a policy there is none."""
    stage.exchange()
    assert stage.notes == []
    stage.target = replace(stage.target, policy=PUT)
    stage.exchange()
    (note,) = stage.notes
    assert note == "deploy-web: session policy of 118 of 2048 characters, packed 6 %"
    assert stage.warnings == []


def test_short_life_ends_at_its_deadline(stage: Stage, sts: Sts) -> None:
    """AWS's session lives for 900 s; the policy ends it when it was asked to end."""
    now = datetime.now(UTC).replace(microsecond=500_000)
    stage.now, stage.ttl = lambda: now, timedelta(seconds=90)
    sts.changes = {"Expiration": f"{now + timedelta(seconds=900):%Y-%m-%dT%H:%M:%SZ}"}
    credential = stage.exchange()
    deadline = (now + stage.ttl).replace(microsecond=0)
    assert credential.expires_at == deadline
    assert stage.handles[0].expires_at == deadline
    end = json.loads(sts.form["Policy"])["Statement"][-1]
    assert (
        end["Condition"]["DateGreaterThan"]["aws:CurrentTime"] == f"{deadline:%Y-%m-%dT%H:%M:%SZ}"
    )
    assert sts.form["DurationSeconds"] == "900"


OTHER = "arn:aws:sts::{}:assumed-role/{}/{}"
OTHERS = {
    "account": {"Arn": OTHER.format("210987654321", "deploy-web", NAME)},
    "role": {"Arn": OTHER.format("123456789012", "admin", NAME)},
    "name": {"Arn": OTHER.format("123456789012", "deploy-web", "x")},
    "partition": {
        "Arn": OTHER.format("123456789012", "deploy-web", NAME).replace("aws", "aws-cn", 1)
    },
    "id": {"AssumedRoleId": f"{ROLE_ID}:another-name"},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_session_of_something_else(stage: Stage, sts: Sts, changes: dict[str, str]) -> None:
    """Account, role and name must be those asked for; what was issued is on record, and ends."""
    sts.changes = changes
    assert isinstance(stage.refuse(), AwsRoleError)
    assert stage.events == ["hold", "record"]
    assert stage.held[0].revoke(budget=1.0).outcome is Outcome.EXPIRES
    assert stage.held[0].served is None


FORM = {"RoleArn": ROLE, "RoleSessionName": NAME, "DurationSeconds": "900"}
DOCTYPE = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
NOT_STS = {
    "page": "<html><p>Sign in</html>",
    "json": '{"AssumeRoleWithWebIdentityResponse": {}}',
    "empty": "",
    "other xml": "<ListBucketsResult/>",
    "text in its place": "<AssumeRoleWithWebIdentityResponse>x</AssumeRoleWithWebIdentityResponse>",
    "cut": answer(FORM)[:-100],
    "document type": DOCTYPE + answer(FORM),
    "entities": DOCTYPE + answer(FORM, SessionToken="&b;").replace("&amp;", "&"),
    "deep": "<a>" * 100_000 + "</a>" * 100_000,
    "huge": answer(FORM, SessionToken="a" * (2 << 20)),
    "no keys": answer(FORM, AccessKeyId=""),
    "no token": answer(FORM, SessionToken=""),
    "no id": answer(FORM, AssumedRoleId=""),
    "no end": answer(FORM, Expiration=""),
    "end before time": answer(FORM, Expiration="0001-01-01T00:00:00Z"),
    "end long past": answer(FORM, Expiration="2020-01-01T00:00:00Z"),
    "end of time": answer(FORM, Expiration="9999-12-31T23:59:59Z"),
    "end is none": answer(FORM, Expiration="2026-99-99T00:00:00Z"),
    "end in no time zone": answer(FORM, Expiration="2026-09-01T00:00:00"),
    "id is none": answer(FORM, AssumedRoleId="*:*"),
    "key of one letter": answer(FORM, SecretAccessKey="a"),
    "token of one letter": answer(FORM, SessionToken="a"),
    "codec is none": '<?xml version="1.0" encoding="foo"?><a/>',
    "codec is for no text": '<?xml version="1.0" encoding="rot13"?><a/>',
    "key is none": answer(FORM, AccessKeyId="AS IA\nX: y and so on"),
    "token is none": answer(FORM, SessionToken="two words"),
}


@pytest.mark.parametrize("body", NOT_STS.values(), ids=NOT_STS)
@pytest.mark.parametrize("status", [200, 403])
def test_what_is_no_answer_of_sts(stage: Stage, sts: Sts, body: str, status: int) -> None:
    """A captive portal, half an answer, XML that would grow: one call, and an error."""
    sts.faults = [says(status, body)]
    assert type(stage.refuse()) is ProviderAnswerError
    assert len(sts.asked) == 1
    assert stage.handles == []


def test_many_lines_are_one_text(stage: Stage, sts: Sts) -> None:
    """A text of a million lines is put together in one go; line by line takes half a minute."""
    sts.faults = [says(200, answer(FORM, Audience="\n" * 1_000_000))]
    began = time.monotonic()
    stage.exchange()
    assert time.monotonic() - began < READ_TIMEOUT


# ── tries ────────────────────────────────────────────────────────────────────────────────────


def test_tries_share_one_connection(stage: Stage, sts: Sts) -> None:
    """What may pass is asked again where it was asked before; cookies are not carried along."""
    sts.faults = [says(400, refusal("Throttling")), says(503, ""), EXPIRED]
    stage.mints = [subject_token("ey.another.one")]
    stage.exchange()
    assert (len(sts.asked), sts.connections) == (4, 1)
    assert not any("Cookie" in headers for _, _, headers, _ in sts.asked)
    assert len({form["RoleSessionName"] for *_, form in sts.asked}) == 1
    assert len(stage.pauses) == 2


def test_connection_that_breaks(stage: Stage, sts: Sts) -> None:
    """A session may have been issued that nobody has: its name is said, and it is tried again."""
    sts.faults = [reset]
    stage.exchange()
    assert len(sts.asked) == 2
    (warning,) = stage.warnings
    assert "AWS was asked, and did not answer" in warning
    assert warning.endswith(f"lives for 900 s; its name is {NAME}")


@pytest.mark.usefixtures("brief")
def test_server_that_hangs(stage: Stage, sts: Sts) -> None:
    """It gets no more time than the budget, and the error names the session to look for."""
    sts.faults = [hang] * 9
    began = time.monotonic()
    error = stage.refuse()
    assert time.monotonic() - began < READ_TIMEOUT / 2
    assert isinstance(error, UnansweredError)
    assert NAME in error.hint
    assert stage.handles == []
    assert stage.held[0].revoke(budget=1.0).outcome is Outcome.REVOKED


@pytest.mark.parametrize(("life", "minted"), [(30, 1), (59, 1), (90, 0)])
def test_token_that_is_about_to_end_is_minted_again(
    stage: Stage, sts: Sts, life: int, minted: int
) -> None:
    """Under a minute is too little; a token with more is not wasted."""
    exp = int(datetime.now(UTC).timestamp()) + life
    stage.token, stage.mints = subject_token(JWT, exp=exp), [subject_token("ey.a-new.one")]
    stage.exchange()
    assert stage.minted == minted
    assert sts.form["WebIdentityToken"] == ("ey.a-new.one" if minted else JWT)


def test_token_that_ends_between_two_tries(stage: Stage, sts: Sts) -> None:
    """The clock is looked at before each try, not before the first alone."""
    begun = datetime.now(UTC)
    stage.now = lambda: begun + timedelta(seconds=250 * len(sts.asked))
    stage.mints = [subject_token("ey.a-new.one", exp=int(begun.timestamp()) + 900)]
    sts.faults = [says(503, "")]
    stage.exchange()
    assert [form["WebIdentityToken"] for *_, form in sts.asked] == [JWT, "ey.a-new.one"]


def test_expired_token_is_minted_again_once(stage: Stage, sts: Sts) -> None:
    """AWS's clock decides: a new token gets one more try, whatever happens between."""
    sts.faults = [EXPIRED]
    stage.mints = [subject_token("ey.a-new.one")]
    stage.exchange()
    assert [form["WebIdentityToken"] for *_, form in sts.asked] == [JWT, "ey.a-new.one"]
    assert stage.minted == 1

    sts.asked.clear()
    sts.faults = [EXPIRED, says(503, ""), EXPIRED]
    stage.mints = [subject_token("ey.a-new.one")]
    assert isinstance(stage.refuse(), AwsTokenTimeError)
    assert (len(sts.asked), stage.minted) == (3, 2)


def test_token_that_cannot_be_minted_again(stage: Stage, sts: Sts) -> None:
    """GitLab's job has one token: the same once more would be a call for nothing."""
    sts.faults = [EXPIRED]
    assert isinstance(stage.refuse(), AwsTokenTimeError)
    assert len(sts.asked) == 1


def test_cancelled_while_it_was_recorded(stage: Stage) -> None:
    """The keys are held by then: whoever catches it can drop them, and knows until when."""
    request = stage.request

    class CancelledError(Exception):
        pass

    def cancel(_: Handle) -> None:
        raise CancelledError

    exchanger = AwsExchanger(stage.target, {})
    with pytest.raises(CancelledError):
        exchanger.exchange(replace(request, record=cancel))
    assert stage.held[0].served is not None
    assert stage.held[0].revoke(budget=1.0).outcome is Outcome.EXPIRES


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_end_is_told_for_what_it_is(stage: Stage, sts: Sts) -> None:
    """AWS is not asked: it cannot end a session. The keys are gone, and can still be masked."""
    credential = stage.exchange()
    ending = credential.revoke(budget=5.0)
    assert ending == Ending(
        outcome=Outcome.EXPIRES,
        reason="not-revocable",
        detail="AWS cannot end a session; from outside: ci-identity reap --deny",
    )
    assert credential.revoke(budget=5.0) == ending
    assert credential.served is None
    assert [secret.reveal() for secret in credential.secrets] == [KEY, TOKEN]
    assert len(sts.asked) == 1


def test_step_that_outlived_its_session(stage: Stage) -> None:
    """What is over is called over."""
    credential = stage.exchange()
    credential.expires_at = datetime.now(UTC)
    ending = credential.revoke(budget=5.0)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "expired")


def test_nothing_issued_is_nothing_to_end(stage: Stage, sts: Sts) -> None:
    """A refused exchange leaves nothing behind."""
    sts.faults = [says(403, refusal("AccessDenied"))]
    stage.refuse()
    assert stage.held[0].revoke(budget=5.0).outcome is Outcome.REVOKED
