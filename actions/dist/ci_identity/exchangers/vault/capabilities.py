"""Asks the server what the login may do: too little is an error, too much a warning."""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain

from ci_identity.errors import VaultPolicyError
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.vault.client import Refused, VaultClient, present, retried
from ci_identity.exchangers.vault.credential import VaultCredential
from ci_identity.exchangers.vault.engines import STORING
from ci_identity.exchangers.vault.issued import pki_mount, revocation_paths
from ci_identity.exchangers.vault.rights import (
    REVOKE_LEASE,
    Probe,
    auth_namespace,
    excess,
    missing,
    needed,
    policy_text,
    prefix,
    turned_around,
    uses,
)
from ci_identity.exchangers.vault.secrets import engine
from ci_identity.model import VaultTarget


def check_rights(
    credential: VaultCredential, target: VaultTarget, request: ExchangeRequest
) -> None:
    """Check the login's rights against the grant, and keep those to revoke certificates.

    Raises:
        VaultPolicyError: one is missing; the hint has the text of the policy.
    """
    used, nonce = uses(target), f"ci-identity-{os.urandom(8).hex()}"
    probes = [Probe.of(path, nonce, wanted) for path, wanted in used.items()]
    mounts = filter(None, map(pki_mount, used))
    revoking = set(chain.from_iterable(map(revocation_paths, mounts)))
    asked = [REVOKE_LEASE, *sorted(revoking), *(path for probe in probes for path in probe.paths)]
    update = needed(has_child=bool(target.policies))
    is_one_namespace = auth_namespace(target) == target.namespace
    in_namespace = present(credential.login_in_namespace)
    also = update if is_one_namespace else ()
    rights = _capabilities(in_namespace, [*asked, *also], target, request, below=prefix(target))
    own = rights
    if not is_one_namespace:
        own = _capabilities(present(credential.login), update, target, request)
    credential.may_update = frozenset(
        path for path in revoking if {"update", "root"} & set(rights[path])
    )
    written = [path for path, ones in used.items() if "update" in ones]
    read = [path for path, ones in used.items() if "read" in ones]
    lacking_here = partial(missing, rights, prefix=prefix(target))
    lacking = [missing(own, update=update, read=()), lacking_here(update=written, read=read)]
    if not any(lacking) and (revoke := lacking_here(update=[REVOKE_LEASE], read=())):
        has_leases = any(engine(in_namespace, path, request) not in STORING for path in used)
        lacking += [revoke] if has_leases else []
    if policy := "\n".join(filter(None, lacking)):
        if lacking[1] and (forgotten := set(target.policies) - credential.login_policies):
            raise _forgotten(target, forgotten)
        slip = turned_around(rights, update=written, read=read)
        raise _policy_error(target, policy, is_own=bool(lacking[1]), slip=slip)
    for sentence in (sentence for probe in probes for sentence in excess(rights, probe)):
        request.warn(f"vault role {target.role}: {sentence}")


def _capabilities(
    client: VaultClient,
    paths: Sequence[str],
    target: VaultTarget,
    request: ExchangeRequest,
    *,
    below: str = "",
) -> dict[str, list[str]]:
    try:
        ask = partial(client.post, "sys/capabilities-self", {"paths": list(paths)})
        answer = retried(ask, request)
    except Refused:
        # What else a login without the default policy lacks is said with it.
        lacking = [f"{below}sys/capabilities-self", *needed(has_child=bool(target.policies))]
        policy = "\n".join(policy_text(path, "update") for path in lacking)
        raise _policy_error(target, policy, is_own=False) from None
    return {path: answer.texts("data", path) for path in paths}


def _forgotten(target: VaultTarget, policies: Iterable[str]) -> VaultPolicyError:
    names = ", ".join(sorted(policies))
    return VaultPolicyError(
        f"the grant names the policies {names}, which the role {target.role} does not give",
        cause="they are forgotten in the role's token_policies, or misspelt in the grant",
        hint=f"add {names} to token_policies of the role; what they allow was not looked at yet",
    )


def _policy_error(
    target: VaultTarget, policy: str, *, is_own: bool, slip: tuple[str, str] | None = None
) -> VaultPolicyError:
    """Return the error for a policy that lacks this.

    Args:
        target: the grant's `vault:`.
        policy: the text of what lacks.
        is_own: whether it is of a path that the grant names.
        slip: the likely cause and its cure, where a `with` seems to be missing or too much.
    """
    message = f"the policies of the role {target.role} lack a right that the grant needs"
    if not is_own:
        return VaultPolicyError(message, hint=f"add to a policy of the role:\n{policy}")
    if slip:
        cause, cure = slip
        hint = f"{cure}; else add to a policy of the role:\n{policy}"
        return VaultPolicyError(message, cause=cause, hint=hint)
    return VaultPolicyError(
        message,
        cause="a path in the grant is misspelt, or no policy of the role covers it",
        hint="check the paths first (KV version 2 is read at MOUNT/data/PATH); if they are right,"
        f" add to a policy of the role:\n{policy}",
    )
