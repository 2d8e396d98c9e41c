"""Everything that STS can say but yes: which error it is, and how often it is asked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ci_identity.errors import (
    AwsAccessDeniedError,
    AwsAudienceError,
    AwsDurationError,
    AwsPolicyRefusedError,
    AwsProviderError,
    AwsRegionDisabledError,
    AwsTokenError,
    AwsTokenTimeError,
    CiIdentityError,
    ExchangeError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TlsError,
    UnansweredError,
)
from tests.exchangers.aws.stage import (
    GITHUB,
    JWT,
    NAME,
    ROLE,
    Stage,
    answer,
    refusal,
    subject_token,
)
from tests.wire import LOST, NEVER_SENT, Wire, wired

URL = "https://sts.eu-west-1.amazonaws.com"
FORM = {"RoleArn": ROLE, "RoleSessionName": NAME, "DurationSeconds": "900"}


@pytest.fixture
def aws() -> Iterator[Wire]:
    """The regional STS of Ireland."""
    with wired() as aws:
        yield aws


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for another try."""
    monkeypatch.setattr("ci_identity.exchangers.aws.exchange.RETRY_BUDGET", 0.0)


@dataclass
class Case:
    """What STS says, the error that becomes of it, and a part of its message."""

    status: int
    code: str
    text: str
    error: type[CiIdentityError]
    said: str


PERMANENT = [
    Case(
        status=403,
        code="AccessDenied",
        text="Not authorized to perform sts:AssumeRoleWithWebIdentity",
        error=AwsAccessDeniedError,
        said=f"AWS does not let this job have {ROLE}",
    ),
    Case(
        status=400,
        code="InvalidIdentityToken",
        text=f"No OpenIDConnect provider found in your account for {GITHUB}",
        error=AwsProviderError,
        said=f"its account has no identity provider for {GITHUB}",
    ),
    Case(
        status=400,
        code="InvalidIdentityToken",
        text="Incorrect token audience",
        error=AwsAudienceError,
        said="does not take the audience sts.amazonaws.com",
    ),
    Case(
        status=400,
        code="InvalidIdentityToken",
        text="The ID Token provided is not a valid JWT.",
        error=AwsTokenError,
        said=f"it could not validate the token of {GITHUB}",
    ),
    Case(
        status=403,
        code="IDPRejectedClaim",
        text="",
        error=AwsTokenError,
        said=f"{GITHUB} rejects the token",
    ),
    Case(
        status=400,
        code="ExpiredTokenException",
        text="Token expired: current date/time must be before the expiration date/time",
        error=AwsTokenTimeError,
        said="the token is expired by its clock",
    ),
    Case(
        status=400,
        code="MalformedPolicyDocument",
        text="Syntax errors in policy.",
        error=AwsPolicyRefusedError,
        said="it cannot read the session policy",
    ),
    Case(
        status=400,
        code="PackedPolicyTooLarge",
        text="Packed policy consumes 108% of allotted space, please use smaller policy.",
        error=AwsPolicyRefusedError,
        said="the session policy is too large when packed",
    ),
    Case(
        status=400,
        code="ValidationError",
        text="The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        error=AwsDurationError,
        said="its sessions may not be so long",
    ),
    Case(
        status=400,
        code="ValidationError",
        text="Value at 'roleSessionName' failed to satisfy constraint",
        error=ExchangeError,
        said="does not know (ValidationError)",
    ),
    Case(
        status=403,
        code="RegionDisabledException",
        text="STS is not activated in this region for account: 123456789012",
        error=AwsRegionDisabledError,
        said="STS is not active in the region",
    ),
    Case(
        status=403,
        code="InvalidClientTokenId",
        text="",
        error=ExchangeError,
        said="(InvalidClientTokenId)",
    ),
    Case(
        status=418,
        code=f"a {JWT}",
        text="",
        error=ExchangeError,
        said="for a reason that ci-identity does not know",
    ),
]


@pytest.mark.parametrize("case", PERMANENT, ids=lambda case: f"{case.code[:24]} {case.said[:16]}")
def test_what_will_not_pass_is_asked_once(aws: Wire, case: Case) -> None:
    """One round trip; none of AWS's words are repeated, and a code only if it looks like one."""
    aws.says(URL, refusal(case.code, case.text), status=case.status)
    stage = Stage()
    error = stage.refuse()
    assert type(error) is case.error
    assert case.said in str(error)
    assert error.retry_after is None
    assert len(aws.calls) == 1
    assert (stage.handles, stage.pauses, stage.warnings) == ([], [], [])


TRANSIENT = {
    "the issuer is out of reach": (400, refusal("IDPCommunicationError")),
    "the keys are out of reach": (
        400,
        refusal(
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider,  please reference"
            " AssumeRoleWithWebIdentity documentation for requirements",
        ),
    ),
    **{
        code: (400, refusal(code))
        for code in ("Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalFailure")
    },
    **{str(status): (status, "") for status in (408, 425, 429, 500, 502, 503, 504)},
    "ServiceUnavailable": (503, refusal("ServiceUnavailable")),
}


@pytest.mark.parametrize(("status", "body"), TRANSIENT.values(), ids=TRANSIENT)
def test_what_may_pass_is_asked_again(aws: Wire, status: int, body: str) -> None:
    """Two such answers and a session: three calls, with a pause before each but the first."""
    for _ in range(2):
        aws.says(URL, body, status=status)
    aws.says(URL, answer(FORM))
    stage = Stage()
    stage.exchange()
    assert (len(aws.calls), len(stage.pauses), stage.minted) == (3, 2, 0)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("status", "body"), TRANSIENT.values(), ids=TRANSIENT)
def test_what_does_not_pass_in_time(aws: Wire, status: int, body: str) -> None:
    """When the budget is over, what AWS said last is told; it is worth another try later."""
    aws.says(URL, body, status=status)
    error = Stage().refuse()
    is_gateway = status in {502, 504}  # which knows not what STS did
    assert type(error) is (UnansweredError if is_gateway else ProviderUnavailableError)
    assert error.retry_after == 0.0
    assert len(aws.calls) == 1
    if "IDP" in body or "verification" in body:
        assert f"could not fetch the keys of {GITHUB}" in str(error)
        assert f"{GITHUB}/.well-known/openid-configuration" in error.hint


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_lost_answer_is_said_and_asked_for_again(aws: Wire, fault: Exception) -> None:
    """Nobody knows what came of it: the name of what may be there is said each time."""
    for _ in range(2):
        aws.fails(URL, fault)
    aws.says(URL, answer(FORM))
    stage = Stage()
    stage.exchange()
    assert len(aws.calls) == 3
    assert [NAME in warning for warning in stage.warnings] == [True, True]


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_lost_answer_and_no_time_left(aws: Wire, fault: Exception) -> None:
    """The error says what to look for in CloudTrail."""
    aws.fails(URL, fault)
    error = Stage().refuse()
    assert type(error) is UnansweredError
    assert NAME in error.hint
    assert len(aws.calls) == 1


@pytest.mark.parametrize("fault", ["connect timeout", "refused"])
def test_request_that_never_went_out(aws: Wire, fault: str) -> None:
    """No connection, no session: it is asked again, and nobody is warned of one."""
    aws.fails(URL, NEVER_SENT[fault], is_sent=False)
    aws.says(URL, answer(FORM))
    stage = Stage()
    stage.exchange()
    assert (len(aws.calls), stage.warnings) == (2, [])


def test_somebody_else_sends_us_on(aws: Wire) -> None:
    """A redirect is followed by nobody: one call, and the host is named."""
    aws.says(URL, status=307, Location="https://evil.example")
    _is_elsewhere(aws, ProviderAnswerError)


def test_somebody_else_answers(aws: Wire) -> None:
    """A proxy's page: one call, and the host is named."""
    aws.says(URL, "<html>Forbidden by WORDS</html>", status=403)
    _is_elsewhere(aws, ProviderAnswerError)


def test_somebody_else_is_there(aws: Wire) -> None:
    """A certificate of nobody's: nothing is sent, and the host is named."""
    aws.fails(URL, NEVER_SENT["certificate"], is_sent=False)
    _is_elsewhere(aws, TlsError)


def _is_elsewhere(aws: Wire, kind: type[CiIdentityError]) -> None:
    error = Stage().refuse()
    assert type(error) is kind
    assert "sts.eu-west-1.amazonaws.com" in str(error)
    assert len(aws.calls) == 1


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"aud": "\u202e{issuer}" + "x" * 900}, "Incorrect token audience"),
        ({"issuer": "https://\u202e{issuer}" + "x" * 900}, "No OpenIDConnect provider found"),
        ({"issuer": "https://\u202e{issuer}" + "x" * 900}, ""),
    ],
    ids=["audience", "provider", "token"],
)
def test_claims_in_a_message_are_made_printable(
    aws: Wire, claims: dict[str, str], text: str
) -> None:
    """The issuer and the audience are text of strangers."""
    aws.says(URL, refusal("InvalidIdentityToken", text), status=400)
    error = Stage(token=subject_token(**claims)).refuse()
    assert "\\u202e{issuer}xxx" in str(error)
    assert len(str(error)) < 500
    assert re.fullmatch("[ -~]+", str(error))
