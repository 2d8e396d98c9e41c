"""What STS means by its error codes: permanent or worth another try, and what to do.

None of its text is passed on, and its code only where it looks like one. Codes:
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_Errors
and, for the texts, what the real service says.
"""

from ci_identity._text import shortened
from ci_identity.errors import (
    AwsAudienceError,
    AwsDurationError,
    AwsPolicyRefusedError,
    AwsProviderError,
    AwsRegionDisabledError,
    AwsTokenError,
    AwsTokenTimeError,
    CiIdentityError,
    ExchangeError,
    ProviderUnavailableError,
)
from ci_identity.exchangers.aws.denied import access_denied
from ci_identity.exchangers.aws.sts import Refused
from ci_identity.model import JobIdentity

# Code, a part of the text, error, meaning. The first row that fits decides.
_KNOWN: tuple[tuple[str, str, type[ExchangeError], str], ...] = (
    (
        "InvalidIdentityToken",
        "No OpenIDConnect provider found",
        AwsProviderError,
        "its account has no identity provider for {issuer}",
    ),
    (
        "InvalidIdentityToken",
        "Incorrect token audience",
        AwsAudienceError,
        "the identity provider does not take the audience {audience}",
    ),
    ("InvalidIdentityToken", "", AwsTokenError, "it could not validate the token of {issuer}"),
    ("IDPRejectedClaim", "", AwsTokenError, "{issuer} rejects the token"),
    ("ExpiredTokenException", "", AwsTokenTimeError, "the token is expired by its clock"),
    ("MalformedPolicyDocument", "", AwsPolicyRefusedError, "it cannot read the session policy"),
    (
        "PackedPolicyTooLarge",
        "",
        AwsPolicyRefusedError,
        "the session policy is too large when packed: shorten it",
    ),
    ("ValidationError", "MaxSessionDuration", AwsDurationError, "its sessions may not be so long"),
    ("RegionDisabledException", "", AwsRegionDisabledError, "STS is not active in the region"),
)

_LATER = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""That AWS cannot right now. Some come with status 400, which says nothing of it."""

_KEYS_NOT_FETCHED = "retrieve verification key"


def refusal(refused: Refused, *, role: str, identity: JobIdentity) -> CiIdentityError:
    """Return the error to raise for what STS said to a request for `role`.

    It has `retry_after` if the same may work in a moment.
    """
    code, what, issuer = refused.code, f"AWS refused {role}", shortened(identity.issuer)
    if code in {"AccessDenied", "AccessDeniedException"}:
        return access_denied(role, identity)
    if code in _LATER:
        return ProviderUnavailableError(f"{what} for now ({code})", retry_after=0.0)
    if code == "IDPCommunicationError" or _KEYS_NOT_FETCHED in refused.text:
        return _issuer_unreachable(what, issuer)
    for known, text, kind, meaning in _KNOWN:
        if code == known and text in refused.text:
            audience = shortened(", ".join(identity.audience))
            reason = meaning.format(issuer=issuer, audience=audience)
            return kind(f"{what}: {reason}")
    return ExchangeError(
        f"{what} for a reason that ci-identity does not know" + (f" ({code})" if code else ""),
        cause="AWS finds something in the request itself that it does not take",
        hint="look the code up in AWS's documentation of AssumeRoleWithWebIdentity",
    )


def _issuer_unreachable(what: str, issuer: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        f"{what}: it could not fetch the keys of {issuer}",
        cause="AWS fetches the issuer's keys itself, and could not reach it",
        hint=f"try again; if it stays, {issuer}/.well-known/openid-configuration and the jwks_uri"
        " in it must be open to the internet, also for a CI of your own",
        retry_after=0.0,
    )
