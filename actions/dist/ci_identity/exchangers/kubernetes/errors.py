"""What an API server means by its reasons: whose fault it is, and what to write where.

None of its text is passed on but the name that it has for the job, which a binding needs. Reasons:
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/; those that may pass
(429, 5xx) never come here.
"""

from enum import Enum
from http import HTTPStatus

from ci_identity._text import shortened
from ci_identity.errors import (
    CiIdentityError,
    KubernetesAdmissionError,
    KubernetesForbiddenError,
    KubernetesNotFoundError,
    KubernetesRequestError,
    KubernetesSecretError,
    KubernetesTokenError,
)
from ci_identity.exchangers.kubernetes.api import Refused
from ci_identity.model import JobIdentity, KubernetesTarget


class Doing(Enum):
    """What was asked of the API server, in the words of a rule of RBAC."""

    MAKE = ("create", "secrets")
    ISSUE = ("create", "serviceaccounts/token")
    DELETE = ("delete", "secrets")


def refusal(
    refused: Refused, doing: Doing, target: KubernetesTarget, identity: JobIdentity
) -> CiIdentityError:
    """Return the error to raise for what the API server said.

    Args:
        refused: what it said.
        doing: to which request.
        target: the grant's `kubernetes:`.
        identity: who asked. Its claims are made printable and cut short.
    """
    what = f"the API server {target.server} refused"
    if refused.status == HTTPStatus.UNAUTHORIZED:
        message = f"{what} the job's token"
        return KubernetesTokenError(message, hint=_trusted(identity))
    verb, resource = doing.value
    to = f"{verb} {resource} in the namespace {target.namespace} of {target.server}"
    if refused.is_ruled_out:
        return KubernetesAdmissionError(f"a rule forbids the job to {to}")
    if refused.user:
        user = shortened(refused.user)
        return KubernetesForbiddenError(f"{user} may not {to}", hint=needed(target, user))
    if refused.is_about_a_secret and doing is Doing.ISSUE:
        message = f"{what} to renew: the Secret that the token ends with is gone"
        return KubernetesSecretError(message)
    if refused.status == HTTPStatus.NOT_FOUND:
        missing = f"namespace {target.namespace}"
        if refused.kind == "serviceaccounts":
            missing = f"service account {target.service_account} in the {missing}"
        return KubernetesNotFoundError(f"{what}: there is no {missing}")
    shown = ", ".join(refused.fields) or refused.reason or f"status {refused.status}"
    return KubernetesRequestError(f"{what} to {verb} {resource}: {shown}")


def needed(target: KubernetesTarget, user: str) -> str:
    """Return the whole Role that a job needs, and who is to have it."""
    may = "resources: [serviceaccounts/token], verbs: [create]"
    return "\n".join(
        [
            f"in the namespace {target.namespace}, bind a Role to the user {user} that has:",
            '- {apiGroups: [""], resources: [secrets], verbs: [create, delete]}',
            f'- {{apiGroups: [""], {may}, resourceNames: [{target.service_account}]}}',
        ]
    )


def _trusted(identity: JobIdentity) -> str:
    """Return what the cluster's authentication must have, to the letter."""
    return "\n".join(
        [
            "the AuthenticationConfiguration of the API server must have under jwt:",
            f"issuer.url = {shortened(identity.issuer)}",
            f"issuer.audiences with {shortened(', '.join(identity.audience))}",
            "and its claimValidationRules must hold for the claims that ci-identity whoami prints",
        ]
    )
