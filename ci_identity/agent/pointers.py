"""What the later steps of a job are told: where the agent is, and only on demand a value itself."""

import os
from collections.abc import Mapping, Sequence

from ci_identity import _log
from ci_identity.agent import AGENT
from ci_identity.agent.holding import Holding
from ci_identity.agent.instance import Instance
from ci_identity.agent.order import Order
from ci_identity.agent.runner_files import ENV, OUTPUT, tell_runner
from ci_identity.delivery.handover import Handover
from ci_identity.errors import ConflictingVariableError
from ci_identity.model import DeliveryMode
from ci_identity.session import Session

_HARMLESS = frozenset({"AWS_EC2_METADATA_DISABLED", "AWS_CREDENTIAL_EXPIRATION"})


def check_names(sessions: Sequence[Session], delivery: DeliveryMode) -> None:
    """Refuse, before anything is issued, two grants that would be one variable of every step.

    Raises:
        ConflictingVariableError: there are two.
    """
    seen: dict[str, str] = {}
    for session in sessions if delivery is DeliveryMode.ENV else ():
        for name in session.promises:
            if name in seen:
                message = f"the grants {seen[name]} and {session.grant.name} both deliver {name}"
                raise ConflictingVariableError(message)
            seen[name] = session.grant.name


def write(holding: Holding, instance: Instance, order: Order, job: Mapping[str, str]) -> None:
    """Hand the later steps what leads them to the agent, and the step's outputs to the runner.

    Raises:
        DeliveryError: a file of the runner cannot be written.
    """
    sessions = holding.sessions
    values = _pointers(holding.handover, instance, job)
    if order.delivery is DeliveryMode.ENV:
        given = {n: v.value.reveal() for session in sessions for n, v in session.variables.items()}
        values |= given
        _log.warning(
            "delivery is env: every later step of the job can read %s",
            ", ".join(given) or "nothing",
        )
    if not tell_runner(ENV, values, job):
        _log.info("no %s: nobody is told; %s=%s leads to the agent", ENV, AGENT, values[AGENT])
    leases = [session.lease for session in sessions]
    ends = min(lease.expires_at for lease in leases).isoformat(timespec="seconds")
    outputs = {"leases": "\n".join(lease.id for lease in leases), "expires-at": ends}
    tell_runner(OUTPUT, outputs, job)


def _pointers(handover: Handover, instance: Instance, job: Mapping[str, str]) -> dict[str, str]:
    """Return what leads to the agent; of several grants of one cloud the first is the default."""
    ours: dict[str, str] = {}
    for offer in reversed(handover.offers):
        ours |= offer.pointers(handover.door, instance.bearer_file)
    if rivals := _rivals(job, ours):
        _log.warning("set in the job, and heeded before the grant: %s", ", ".join(rivals))
    others = [path for path in job.get(AGENT, "").split(os.pathsep) if path]
    return ours | {AGENT: os.pathsep.join([str(instance.path), *others])}


def _rivals(job: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Return the job's variables that a cloud's SDKs would heed before what leads to us."""
    clouds = tuple({f"{name.partition('_')[0]}_" for name in ours})
    if not clouds:
        return []
    from ci_identity.delivery.ambient import find_ambient  # noqa: PLC0415  # for clouds alone

    return [
        name
        for name, value in sorted(job.items())
        if value and name.startswith(clouds)
        if name not in ours and name not in _HARMLESS and find_ambient(name)
    ]
