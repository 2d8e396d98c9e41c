"""Deletes at a cluster, by handle, the Secrets that an earlier process of the job left behind."""

import re
from collections.abc import Sequence

from ci_identity.exchangers.interface import Ending, ExchangeRequest
from ci_identity.exchangers.kubernetes.api import ThrowAway
from ci_identity.exchangers.kubernetes.credential import delete
from ci_identity.exchangers.kubernetes.exchange import RETRY_BUDGET, KubernetesExchanger
from ci_identity.model import Handle, Outcome

_NAME = re.compile(r"(?P<namespace>[^/]+)/(?P<name>ci-identity-[0-9a-f]{16})(?:/(?P<uid>[^/]+))?")


class KubernetesReclaimer(KubernetesExchanger):
    """Asks with the job's token, as the exchange did, and has nothing issued for it."""

    def reclaim(self, request: ExchangeRequest, handles: Sequence[Handle]) -> Ending:
        """Delete every Secret, each with its uid as a precondition; see `Reclaimer`."""
        problems = [self._delete(request, handle) for handle in handles]
        if detail := "; ".join(filter(None, problems)):
            return Ending(outcome=Outcome.FAILED, reason="revocation", detail=detail)
        return Ending(outcome=Outcome.REVOKED)

    def _delete(self, request: ExchangeRequest, handle: Handle) -> str | None:
        # A ledger may have been in other hands: no Secret but one of ours is deleted for it.
        found = _NAME.fullmatch(handle.value)
        if handle.kind != "secret" or not found or found["namespace"] != self._target.namespace:
            return "a handle that is none of this grant's"
        secret = ThrowAway(found["name"], found["uid"])
        connect = self.connect(request)
        return delete(secret, self._target, request.identity, connect, budget=RETRY_BUDGET)
