"""What a token endpoint means by its error codes: RFC 6749, section 5.2; RFC 8693, section 2.2.2.

None of its text is passed on, and of a code only what is one.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

from ci_identity._text import shortened
from ci_identity.errors import (
    CiIdentityError,
    ExchangeClientError,
    ExchangeError,
    ExchangeScopeError,
    ExchangeTargetError,
    ExchangeTokenError,
    ProviderUnavailableError,
)
from ci_identity.exchangers.token_exchange.client import WRONG_PATH, Refused
from ci_identity.model import JobIdentity, TokenExchangeTarget

# For a token that it does not take RFC 8693 has `invalid_request`, and many have `invalid_grant`.
_KNOWN: dict[str, tuple[type[ExchangeError], str]] = {
    "invalid_request": (ExchangeTokenError, "it does not take the job's token, or the request"),
    "invalid_grant": (ExchangeTokenError, "it does not take the job's token"),
    "access_denied": (ExchangeTokenError, "its policy says no to this job"),
    "invalid_target": (ExchangeTargetError, "it issues no token for {audience}"),
    "invalid_scope": (ExchangeScopeError, "it does not give the scope {scope}"),
    "invalid_client": (ExchangeClientError, "{client} cannot log in"),
    "unauthorized_client": (ExchangeClientError, "{client} may not exchange tokens"),
}
_LATER = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""That it cannot right now, with whatever status."""


def refusal(
    refused: Refused, target: TokenExchangeTarget, identity: JobIdentity
) -> CiIdentityError:
    """Return the error to raise for what the server said to the job's token.

    It has `retry_after` if the same may work in a moment.
    """
    what = f"{urlsplit(target.url).netloc} refused"
    if refused.error in _LATER:
        return ProviderUnavailableError(f"{what} for now ({refused})", retry_after=0.0)
    if refused.error == "unsupported_grant_type":
        cause = "the path is another endpoint's, or token exchange is not switched on at the server"
        message = f"{what}: it exchanges no tokens ({refused})"
        return ExchangeClientError(message, cause=cause, hint=WRONG_PATH)
    if not refused.error and refused.status == HTTPStatus.NOT_FOUND:
        cause = "the path of the URL is not that of the token endpoint"
        return ExchangeError(f"{what}: nothing is there ({refused})", cause=cause, hint=WRONG_PATH)
    if refused.error not in _KNOWN:
        return ExchangeError(f"{what} for a reason that ci-identity does not know ({refused})")
    kind, meaning = _KNOWN[refused.error]
    said = meaning.format(
        audience=target.audience,
        scope=target.scope or "that it gives by default",
        client=f"the client {target.client_id}" if target.client_id else "a client without an id",
    )
    hint = _compare(target, identity) if kind is ExchangeTokenError else None
    return kind(f"{what}: {said} ({refused})", hint=hint)


def _compare(target: TokenExchangeTarget, identity: JobIdentity) -> str:
    """Return what the server was shown."""
    shown = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "audience": ", ".join(identity.audience),
        "subject_token_type": target.subject_token_type,
    }
    return "\n".join(
        [
            "compare the server's rules with what it was shown:",
            *(f"{name} = {shortened(value)}" for name, value in shown.items()),
        ]
    )
