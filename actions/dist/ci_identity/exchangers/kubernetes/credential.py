"""A token of a service account for one step, and its end: the Secret that it is bound to."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from ci_identity._http import retry
from ci_identity.errors import CiIdentityError, ProviderUnavailableError
from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength
from ci_identity.exchangers.kubernetes.api import Api, Refused, ThrowAway
from ci_identity.exchangers.kubernetes.errors import Doing, refusal
from ci_identity.model import Delivered, JobIdentity, KubernetesTarget, KubernetesToken, Outcome
from ci_identity.secret import Secret

STRENGTH = Strength(
    outcome=Outcome.REVOKED,
    meaning="its Secret is gone, as the API server confirmed: the token is refused there, and by"
    " who asks there; who only checks its signature takes it until its end",
)

Connect = Callable[[float], Api]
"""Opens a connection, with the job's token, whose requests are broken off at a time."""


class KubernetesCredential:
    """The token of a step. Deleting its Secret ends it wherever the API server is asked.

    That is: at the API server itself, and at whoever verifies by TokenReview; both may remember
    an earlier yes for some seconds. Who verifies a signature alone takes it until its end.

    Attributes:
        expires_at: when the token ends by itself (UTC).
        served: the token; `None` before it is there and after `revoke`.
        secrets: the token, to be masked in what is still to come of the log.

    Args:
        secret: the Secret, whether it is there yet or not.
        target: the grant's `kubernetes:`.
        identity: whose job it is.
        connect: opens a connection.
    """

    def __init__(
        self,
        secret: ThrowAway,
        target: KubernetesTarget,
        identity: JobIdentity,
        connect: Connect,
    ) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.expires_at = datetime.now(UTC)
        self.served: KubernetesToken | None = None
        self.secrets: tuple[Secret, ...] = ()
        self._secret, self._target, self._identity = secret, target, identity
        self._connect = connect
        self._ending: Ending | None = None

    def hold_token(self, token: KubernetesToken) -> None:
        """Have this one handed to the step."""
        self.served = token
        self.secrets = (token.token,)
        self.expires_at = token.expires_at

    def revoke(self, *, budget: float) -> Ending:
        """Delete the Secret; `REVOKED` only if the API server says that it is gone."""
        self.served = None
        if self._ending is None:
            self._ending = self._end(budget) if self._secret.may_be_there else NOTHING_ISSUED
        return self._ending

    def _end(self, budget: float) -> Ending:
        problem = delete(self._secret, self._target, self._identity, self._connect, budget=budget)
        if not self._secret.may_be_bound:
            detail = f"{NOTHING_ISSUED.detail}; left there: {problem}" if problem else ""
            return Ending(outcome=Outcome.REVOKED, detail=detail or NOTHING_ISSUED.detail)
        if problem is None:
            return Ending(outcome=STRENGTH.outcome, detail=STRENGTH.meaning)
        if self.secrets and datetime.now(UTC) >= self.expires_at:
            detail = f"the step outlived its ttl; {problem}"
            return Ending(outcome=Outcome.EXPIRES, reason="expired", detail=detail)
        return Ending(outcome=Outcome.FAILED, reason="revocation", detail=problem)


def delete(
    secret: ThrowAway,
    target: KubernetesTarget,
    identity: JobIdentity,
    connect: Connect,
    *,
    budget: float,
) -> str | None:
    """Delete a Secret within `budget` seconds; return why it may still be there, or `None`."""
    what = f"the Secret {target.namespace}/{secret.name}"
    deadline = time.monotonic() + budget
    try:
        with connect(deadline) as api:
            is_gone = retry(partial(api.delete, secret), budget=budget, pause=time.sleep)
    except Refused as refused:
        return f"{what}: {refusal(refused, Doing.DELETE, target, identity)}"
    except ProviderUnavailableError as error:
        return f"{what}: {error}"
    except CiIdentityError as error:  # no token to ask with
        return f"{what}: {error.code}: {error}"
    return None if is_gone else f"{what}: something keeps it from being removed (a finalizer)"
