"""Ends at Vault, by handle, what an earlier process of the job was given and left behind."""

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from ci_identity.errors import VaultTokenKindError
from ci_identity.exchangers.interface import Ending, ExchangeRequest
from ci_identity.exchangers.vault.client import RETRY_BUDGET, VaultClient, present
from ci_identity.exchangers.vault.credential import (
    VaultCredential,
    check_confirmed,
    problem_of,
    revoke_certificate,
    revoke_lease,
)
from ci_identity.exchangers.vault.exchange import NO_ACCESSOR, VaultExchanger
from ci_identity.exchangers.vault.issued import pki_mount, revocation_paths
from ci_identity.exchangers.vault.rights import REVOKE_ACCESSOR, REVOKE_LEASE, policy_text
from ci_identity.model import Handle, Outcome


class VaultReclaimer(VaultExchanger):
    """Logs in as the exchange did, and for nothing else than to end what that one left.

    Sources: https://openbao.org/api-docs/auth/token/#revoke-a-token-accessor,
    https://openbao.org/api-docs/system/leases/#revoke-lease.
    """

    def reclaim(self, request: ExchangeRequest, handles: Sequence[Handle]) -> Ending:
        """End every lease, then the tokens; see `Reclaimer`."""
        if any(handle.value == NO_ACCESSOR for handle in handles):
            detail = "a batch token cannot be revoked"
            return Ending(outcome=Outcome.EXPIRES, reason=VaultTokenKindError.code, detail=detail)
        credential = VaultCredential()
        request.hold(credential)
        self._login(credential, request)
        deadline = time.monotonic() + RETRY_BUDGET
        own = {pki_mount(reference.path) for reference in self._target.secrets.values()}
        problems = dict.fromkeys(filter(None, _end(credential, handles, own, deadline)))
        if problems:
            detail = "; ".join(problems)
            return Ending(outcome=Outcome.FAILED, reason="revocation", detail=detail)
        if left := list(_left(handles)):
            detail = "; ".join(left)
            return Ending(outcome=Outcome.EXPIRES, reason="not-revocable", detail=detail)
        return Ending(outcome=Outcome.REVOKED)


def _end(
    credential: VaultCredential,
    handles: Sequence[Handle],
    own: Collection[str | None],
    deadline: float,
) -> Iterator[str | None]:
    """Yield for each handle why it could not be ended, or `None`; leases before their tokens.

    A ledger may have been in other hands: a certificate is revoked at `own` mounts only.
    """
    login, in_namespace = present(credential.login), present(credential.login_in_namespace)
    login.deadline = in_namespace.deadline = deadline
    for handle in handles:
        if handle.kind == "lease":
            revoke = partial(revoke_lease, in_namespace, handle.value)
            yield problem_of(
                f"lease {handle.value}", revoke, deadline, refused=_lacks(REVOKE_LEASE)
            )
    for handle in handles:
        if handle.kind == "certificate":
            mount, _, serial = handle.value.rpartition("/cert/")
            if mount not in own:
                yield f"certificate {serial}: its mount is none of the grant's"
                continue
            _, path = revocation_paths(mount)
            revoke = partial(revoke_certificate, in_namespace, path, {"serial_number": serial})
            yield problem_of(f"certificate {serial}", revoke, deadline, refused=_lacks(path))
    for handle in handles:
        if handle.kind == "accessor":
            # The server says done, too, of one that it has no token for: a child goes with its
            # parent, and whoever was killed may have been revoking.
            revoke = partial(_revoke_accessor, login, handle.value)
            yield problem_of("token", revoke, deadline, refused=_lacks(REVOKE_ACCESSOR))


def _left(handles: Sequence[Handle]) -> Iterator[str]:
    """Yield what is alive and can only be waited for."""
    now = datetime.now(UTC)
    for handle in handles:
        if handle.kind == "expiring" and (handle.expires_at is None or now < handle.expires_at):
            yield f"{handle.value} ends by itself"


def _revoke_accessor(client: VaultClient, accessor: str) -> None:
    check_confirmed(client.post("auth/token/revoke-accessor", {"accessor": accessor}))


def _lacks(path: str) -> str:
    return f"refused; a policy of the role must have: {policy_text(path, 'update')}"
