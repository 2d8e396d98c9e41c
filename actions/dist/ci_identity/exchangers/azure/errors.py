"""What Entra means by its AADSTS codes: permanent or worth another try, and what to do.

None of its text is passed on, and of a code only its digits. Codes:
https://learn.microsoft.com/entra/identity-platform/reference-error-codes; those of federated
credentials, which that page leaves out, as Entra prints them (Azure/login #360, #482, #517). A
longer code that begins with one of these is a finer case of it: 7002138 is 700213, by upper case.
"""

import re

from ci_identity._text import shortened
from ci_identity.errors import (
    AzureApplicationError,
    AzureAudienceError,
    AzureBlockedError,
    AzureFederationError,
    AzureResourceError,
    AzureTenantError,
    AzureTokenError,
    AzureTokenTimeError,
    CiIdentityError,
    ExchangeError,
    ProviderUnavailableError,
)
from ci_identity.exchangers.azure.entra import Refused
from ci_identity.model import AzureTarget, JobIdentity

# Code, error, meaning. The first row that fits decides.
_KNOWN: tuple[tuple[str, type[ExchangeError], str], ...] = (
    ("700213[0-9]?", AzureFederationError, "it has no federated credential with this subject"),
    ("700211[0-9]?", AzureFederationError, "it has no federated credential with this issuer"),
    ("70021|70025", AzureFederationError, "it has no federated credential for this job"),
    ("700212[0-9]?|700227", AzureAudienceError, "it does not take the audience {audience}"),
    ("700024|500133", AzureTokenTimeError, "the token is expired by its clock"),
    ("700016|700011|70001", AzureApplicationError, "the tenant has no such application"),
    ("7000112|700025", AzureApplicationError, "the application is disabled, or a public client"),
    ("90002|900021|900023", AzureTenantError, "there is no such tenant at {authority}"),
    ("90038|900382|900432", AzureTenantError, "the tenant is in another cloud than {authority}"),
    ("500011|50001|650057", AzureResourceError, "the tenant has no resource {resource}"),
    ("70011|700022|700023|28002|1002012", AzureResourceError, "{resource} is no resource"),
    ("50105[0-9]?", AzureBlockedError, "the application is not assigned to {resource}"),
    ("53003|53000|530032", AzureBlockedError, "a Conditional Access policy blocks it"),
    ("50002|500021|500022", AzureBlockedError, "the network's tenant restrictions block it"),
    ("700223|700238", AzureBlockedError, "the tenant does not allow federated credentials"),
    ("700027|50012|50013|50006|900384", AzureTokenError, "it could not validate the token"),
    ("70022[0-9]", AzureTokenError, "it takes no token of {issuer} for an assertion"),
)

_LATER = frozenset(
    {
        *("50196", "90055", "90061"),  # too many requests
        *("50000", "90006", "90012", "90024", "90033", "90090", "90091"),  # a part of it is down
    }
)
"""That Entra cannot right now. Some come with status 400, which says nothing of it."""


_KEYS_NOT_FETCHED = "50166[0-9]?"


def refusal(
    refused: Refused, *, target: AzureTarget, authority: str, resource: str, identity: JobIdentity
) -> CiIdentityError:
    """Return the error to raise for what Entra said to a request for a token.

    It has `retry_after` if the same may work in a moment.

    Args:
        refused: what it said.
        target: the grant's `azure:`.
        authority: where it was asked.
        resource: what the token was to be for.
        identity: who asked. Its claims are made printable and cut short.
    """
    what = f"Entra refused {target.client}"
    code = f"AADSTS{refused.number}" if refused.number else refused.error
    if refused.number in _LATER or refused.error == "temporarily_unavailable":
        return ProviderUnavailableError(f"{what} for now ({code})", retry_after=0.0)
    if re.fullmatch(_KEYS_NOT_FETCHED, refused.number):
        return _issuer_unreachable(what, shortened(identity.issuer))
    for codes, kind, meaning in _KNOWN:
        if re.fullmatch(codes, refused.number):
            audience = shortened(", ".join(identity.audience))
            said = meaning.format(
                audience=audience,
                authority=authority,
                issuer=shortened(identity.issuer),
                resource=resource,
            )
            hint = _compare(target, identity) if kind in _ABOUT_FEDERATION else None
            return kind(f"{what}: {said} ({code})", hint=hint)
    return ExchangeError(
        f"{what} for a reason that ci-identity does not know" + (f" ({code})" if code else ""),
        cause="Entra finds something in the request, or in the tenant, that it does not take",
        hint="look the code up at https://login.microsoftonline.com/error",
    )


def _issuer_unreachable(what: str, issuer: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        f"{what}: it could not fetch the keys of {issuer}",
        cause="Entra fetches the issuer's keys itself, and could not reach it",
        hint=f"try again; if it stays, {issuer}/.well-known/openid-configuration and the jwks_uri"
        " in it must be open to the internet, also for a CI of your own",
        retry_after=0.0,
    )


_ABOUT_FEDERATION = frozenset({AzureFederationError, AzureAudienceError})


def _compare(target: AzureTarget, identity: JobIdentity) -> str:
    """Return what one federated credential must have, to the letter."""
    wanted = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "audiences": ", ".join(identity.audience),
    }
    return "\n".join(
        [
            "one federated credential must have exactly, upper and lower case included:",
            *(f"{name} = {shortened(value)}" for name, value in wanted.items()),
            f"to see them: az ad app federated-credential list --id {target.client}",
        ]
    )
