"""Kubernetes: the Secret that a lease's tokens end with is deleted, by a service account's token.

A Secret has the id of its lease for a name, so that there is one to delete also where the answer
to making it is on no record.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ci_identity._record import replace
from ci_identity.errors import CiIdentityError
from ci_identity.exchangers.kubernetes.api import ThrowAway
from ci_identity.exchangers.kubernetes.credential import delete
from ci_identity.exchangers.kubernetes.exchange import (
    RETRY_BUDGET,
    KubernetesExchanger,
    secret_name,
)
from ci_identity.ledger.entry import Event
from ci_identity.model import Handle, JobIdentity, KubernetesTarget, Outcome
from ci_identity.reaping.plan import End, Judgement, Left, Recording, Result, Verdict

if TYPE_CHECKING:
    from ci_identity.session import Session

TARGET = re.compile(
    r"(?P<place>https?://\S+/api/v1/namespaces/)(?P<namespace>[^\s/]+)/serviceaccounts/[^\s/]+"
)
"""What the target of a lease looks like: the URL of the service account."""

_LEASE = re.compile("[0-9a-f]{16}")
_ELSEWHERE = "it is from another cluster than the grant's"


class KubernetesReaper:
    """Deletes Secrets of its own cluster, in each namespace where its account may.

    Args:
        grant: the name of the grant for the reaper's service account.
        target: the grant's `kubernetes:`.
        environ: where proxy and CA are found.
    """

    done = "revoked"
    confirms = True

    def __init__(self, grant: str, target: KubernetesTarget, environ: Mapping[str, str]) -> None:
        self.grant = grant
        self._target = target
        self._environ = environ
        self._place = f"{target.server.rstrip('/')}/api/v1/namespaces/"

    def judge(self, left: Left) -> Judgement | None:
        """Only of its own cluster; see `Reaper`."""
        found = TARGET.fullmatch(left.target)
        if not found or not _LEASE.fullmatch(left.id):
            return None
        if found["place"] != self._place:
            return Judgement(verdict=Verdict.FAIL, why=_ELSEWHERE)
        return Judgement()

    def reap(
        self, lefts: Sequence[Left], session: "Session", record: Recording
    ) -> Iterator[Result]:
        """Delete each lease's Secret; one that is not there has been deleted; see `Reaper`."""
        for left in lefts:
            namespace = left.target.removeprefix(self._place).partition("/")[0]
            secret = ThrowAway(secret_name(left.id))  # a uid of a ledger could be anything
            problem = self._delete(secret, namespace, session)
            if problem:
                yield Result(reason=problem)
                continue
            handle = Handle(kind="secret", value=f"{namespace}/{secret.name}")
            end = End(event=Event.REAPED, outcome=Outcome.REVOKED, until=left.until, handle=handle)
            try:
                record(left, end)
            except CiIdentityError as error:
                yield Result(is_done=True, unrecorded=error)
            else:
                yield Result(is_done=True)

    def _delete(self, secret: ThrowAway, namespace: str, session: "Session") -> str | None:
        target = replace(self._target, namespace=namespace)
        connect = KubernetesExchanger(target, self._environ).connect_as(
            lambda: session.kubernetes_token().token
        )
        whose = session.identity
        if not isinstance(whose, JobIdentity):  # it is open
            return "the session is not open"
        return delete(secret, target, whose, connect, budget=RETRY_BUDGET)
