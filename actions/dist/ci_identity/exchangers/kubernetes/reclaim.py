"""Deletes at a cluster, by handle, the Secret that an earlier process of the job left behind.

A ledger may have been in other hands. So a handle only tells that there is a Secret: its name is
the lease's own, and whatever is called so is deleted. A uid is not looked at: of a wrong one the
API server would say that the Secret is another, and that would be called gone.
"""

import re
from collections.abc import Sequence

from ci_identity.exchangers.interface import Ending, ExchangeRequest
from ci_identity.exchangers.kubernetes.api import ThrowAway
from ci_identity.exchangers.kubernetes.credential import delete
from ci_identity.exchangers.kubernetes.exchange import (
    RETRY_BUDGET,
    KubernetesExchanger,
    secret_name,
)
from ci_identity.model import Handle, Outcome

_NAME = re.compile(r"(?P<namespace>[^/]+)/(?P<name>ci-identity-[0-9a-f]{16})(?:/[^/]+)?")


class KubernetesReclaimer(KubernetesExchanger):
    """Asks with the job's token, as the exchange did, and has nothing issued for it."""

    def reclaim(self, request: ExchangeRequest, handles: Sequence[Handle]) -> Ending:
        """Delete the Secret of the lease, by its name alone; see `Reclaimer`."""
        names = dict.fromkeys(self._name(request, handle) for handle in handles)
        problems = [self._delete(request, name) for name in names]
        if detail := "; ".join(filter(None, problems)):
            return Ending(outcome=Outcome.FAILED, reason="revocation", detail=detail)
        return Ending(outcome=Outcome.REVOKED)

    def _name(self, request: ExchangeRequest, handle: Handle) -> str | None:
        """Return the name of the Secret, or `None` if the handle is not of this very lease."""
        found = _NAME.fullmatch(handle.value)
        if handle.kind != "secret" or not found or found["namespace"] != self._target.namespace:
            return None
        return found["name"] if found["name"] == secret_name(request.lease_id) else None

    def _delete(self, request: ExchangeRequest, name: str | None) -> str | None:
        if name is None:
            return "a handle that is none of this lease's"
        connect, whose = self.connect(request), request.identity
        return delete(ThrowAway(name), self._target, whose, connect, budget=RETRY_BUDGET)
