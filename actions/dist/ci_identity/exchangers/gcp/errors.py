"""What Google means by its error codes: permanent or worth another try, and what to do.

None of its text is passed on, and its code only where it looks like one. Codes and texts:
https://cloud.google.com/iam/docs/troubleshooting-workload-identity-federation and, where the page
is silent, what the real services were seen to say.
"""

import shlex

from ci_identity._text import shortened
from ci_identity.errors import (
    CiIdentityError,
    ExchangeError,
    GcpApiDisabledError,
    GcpAudienceError,
    GcpBoundaryError,
    GcpConditionError,
    GcpImpersonationError,
    GcpIssuerError,
    GcpLifetimeError,
    GcpProviderError,
    GcpSubjectError,
    GcpTokenError,
    GcpTokenTimeError,
    ProviderUnavailableError,
)
from ci_identity.exchangers.gcp.client import Refused
from ci_identity.model import GcpTarget, JobIdentity

# Code, a part of the text, error, meaning. The first row that fits decides.
_FEDERATION: tuple[tuple[str, str, type[ExchangeError], str], ...] = (
    ("invalid_target", "", GcpProviderError, "there is none, or it or its pool is disabled"),
    ("invalid_request", '"audience"', GcpProviderError, "that is not a provider's name"),
    ("invalid_grant", "The audience in", GcpAudienceError, "it does not take {audience}"),
    ("invalid_grant", "The issuer in", GcpIssuerError, "it is for another issuer than {issuer}"),
    ("invalid_grant", "stale to sign-in", GcpTokenTimeError, "the token is expired by its clock"),
    ("invalid_grant", "ID Token signature", GcpTokenError, "the signature is not of {issuer}"),
    (
        "invalid_grant",
        "credential's issuer",
        GcpTokenError,
        "Google cannot fetch the keys of {issuer}, or the token's is not among them",
    ),
    ("", "attribute condition", GcpConditionError, "its attribute condition says no to this job"),
    (
        "",
        "exceeds the 127 bytes",
        GcpSubjectError,
        "what it makes of this job as google.subject is longer than 127 bytes",
    ),
    ("", "a value for google.subject", GcpSubjectError, "it makes no google.subject of this job"),
)
_IMPERSONATION: tuple[tuple[str, str, type[ExchangeError], str], ...] = (
    ("", "lifetimes of more than 1 hour", GcpLifetimeError, "its tokens may not live so long"),
    (
        "PERMISSION_DENIED",
        "API has not been used",
        GcpApiDisabledError,
        "the IAM Service Account Credentials API is not enabled in its project",
    ),
    ("PERMISSION_DENIED", "", GcpImpersonationError, "this job may not impersonate it"),
    ("NOT_FOUND", "", GcpImpersonationError, "there is no such service account"),
)
_LATER = frozenset({
    "quota_exceeded", "server_error", "temporarily_unavailable",
    "ABORTED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
})  # fmt: skip
"""That Google cannot right now, with whatever status."""


def not_federated(refused: Refused, target: GcpTarget, identity: JobIdentity) -> CiIdentityError:
    """Return the error to raise for what the token endpoint said to the job's token.

    It has `retry_after` if the same may work in a moment.
    """
    what = f"Google refused at {target.provider}"
    for code, text, kind, meaning in _FEDERATION:
        if code in {"", refused.code} and text in refused.text:
            reason = meaning.format(
                issuer=shortened(identity.issuer), audience=shortened(", ".join(identity.audience))
            )
            return kind(f"{what}: {reason}", hint=_hint(kind, target, identity))
    return _unknown(what, refused)


def not_impersonated(refused: Refused, target: GcpTarget, identity: JobIdentity) -> CiIdentityError:
    """Return the error for what was said to impersonating the service account; as above."""
    what = f"Google refused {target.service_account}"
    for code, text, kind, meaning in _IMPERSONATION:
        if code in {"", refused.code} and text in refused.text:
            return kind(f"{what}: {meaning}", hint=_hint(kind, target, identity))
    return _unknown(what, refused)


def not_narrowed(refused: Refused) -> CiIdentityError:
    """Return the error for what was said to the boundary; as above."""
    if refused.code in _LATER:
        return _unknown("Google refused the boundary", refused)
    shown = f" ({refused.code})" if refused.code else ""
    return GcpBoundaryError(f"Google does not take the grant's boundary{shown}")


def _unknown(what: str, refused: Refused) -> CiIdentityError:
    if refused.code in _LATER:
        return ProviderUnavailableError(f"{what} for now ({refused.code})", retry_after=0.0)
    shown = f" ({refused.code})" if refused.code else ""
    return ExchangeError(
        f"{what} for a reason that ci-identity does not know{shown}",
        cause="Google finds something in the request itself that it does not take",
        hint="check `scopes`; Cloud Audit Logs of the Security Token Service say more if enabled",
    )


def _hint(kind: type[ExchangeError], target: GcpTarget, identity: JobIdentity) -> str | None:
    """Return a hint with this job's own values, where they help."""
    if kind is GcpConditionError:
        names = ("repository", "repository_owner", "ref", "project_path", "namespace_path")
        shown = [f"{name} = {identity.claims[name]}" for name in names if name in identity.claims]
        facts = [shortened(text) for text in (f"sub = {identity.subject}", *shown)]
        return "\n".join(["compare the condition with what Google can see:", *facts])
    if kind is GcpSubjectError:
        size = len(identity.subject.encode())
        return (
            f"this job's sub has {size} bytes; map google.subject to a shorter claim, such as"
            " assertion.repository_id, and authorise by attributes"
        )
    if kind is GcpImpersonationError and not target.delegates:
        return (
            f"allow it: gcloud iam service-accounts add-iam-policy-binding {target.service_account}"
            " --role roles/iam.workloadIdentityUser"
            f" --member {shlex.quote(principal(target, identity))}"  # a branch may be named $(x)
        )
    return None


def principal(target: GcpTarget, identity: JobIdentity) -> str:
    """Return the job as IAM names it, if the provider maps google.subject to `sub`."""
    pool = target.provider.partition("/providers/")[0]
    return f"principal://iam.googleapis.com/{pool}/subject/{shortened(identity.subject)}"
