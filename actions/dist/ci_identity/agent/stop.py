"""Ends an agent from another step, or ends what one left that was killed; and tells of both."""

import os
import select
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_identity import _log
from ci_identity._record import replace
from ci_identity.agent.instance import Instance, Running
from ci_identity.agent.report import FAILED, Report
from ci_identity.delivery.proc import look_at
from ci_identity.errors import CiIdentityError, DeliveryError, LedgerError, RevocationError

if TYPE_CHECKING:
    from ci_identity.ledger.live import LiveLease
    from ci_identity.revocation import Revocation

PATIENCE = 25.0
"""Seconds that an agent has for its end: a `revocation.BUDGET`, and the writing."""


def is_alive(record: Running) -> bool:
    """Whether the process is there that the record names."""
    try:
        return look_at(record.pid).started == record.started
    except OSError:
        return False


def stop(instance: Instance, environ: Mapping[str, str]) -> Report:
    """End the agent, or what is left of its leases, and return how that went.

    Args:
        instance: its folder.
        environ: the variables of the job, to log in once more if the agent was killed.

    Raises:
        CiIdentityError: the folder is none of an agent.
    """
    record = instance.record()
    if record is None:
        return Report.of(())
    _end(record)
    said = instance.report()
    if said is None and not record.held:  # they are named before the first of them is issued
        return Report.of(())
    if said is None:
        return _reclaim(record, environ)
    try:
        return Report(**said)
    except TypeError:
        return _reclaim(record, environ)


def _end(record: Running) -> None:
    """Have the process end; after its time is over, whatever it still does."""
    try:
        held = os.pidfd_open(record.pid)
    except (OSError, OverflowError):
        return
    try:
        if not is_alive(record):
            return
        signal.pidfd_send_signal(held, signal.SIGTERM)
        if not _has_ended(held, PATIENCE):
            _log.error("the agent does not end; it is killed, and its leases are ended from here")
            signal.pidfd_send_signal(held, signal.SIGKILL)
            _has_ended(held, 1.0)
    except ProcessLookupError:
        return
    finally:
        os.close(held)


def _has_ended(held: int, seconds: float) -> bool:
    ended = select.poll()
    ended.register(held, select.POLLIN)
    return bool(ended.poll(seconds * 1000))


# ── of an agent that was killed ──────────────────────────────────────────────────────────────


def _reclaim(record: Running, environ: Mapping[str, str]) -> Report:
    """Log in once more, and end what the ledger shows as live of the agent's leases."""
    _log.warning("the agent is gone without a word; what it left is ended from here")
    try:
        left = _left(record)
    except LedgerError as error:
        return replace(Report.of((), [error]), exit_code=FAILED)
    from ci_identity.model import Outcome  # noqa: PLC0415  # seldom needed
    from ci_identity.reclaim import reclaim  # noqa: PLC0415

    job = {**environ, "CI_IDENTITY_LEDGER": record.ledger}
    grants = Path(record.grants) if record.grants else None
    stories: list[dict[str, Any]] = []
    errors: list[CiIdentityError] = []
    for one in left:
        try:
            ends = reclaim(one, job, grants_file=grants)
        except CiIdentityError as error:
            errors.append(error)
            continue
        stories.append(_story(one, ends[0]))
        errors += [RevocationError(end.sentence()) for end in ends if end.outcome is Outcome.FAILED]
    ended = Report.of(stories, errors)
    return replace(ended, exit_code=FAILED) if errors else ended


def _left(record: Running) -> "list[LiveLease]":
    """Return the agent's leases whose end is not on record.

    Raises:
        LedgerError: the ledger cannot be relied on.
    """
    from ci_identity.ledger.live import live  # noqa: PLC0415  # seldom needed
    from ci_identity.ledger.verify import is_there, read, verify  # noqa: PLC0415

    path = Path(record.ledger)
    if not is_there(path):
        if record.held:
            message = f"{path} is gone; what the agent held may be alive until it expires"
            raise LedgerError(message)
        return []
    verify(path)
    steps = {held.lease: held.step for held in record.held}
    return [
        replace(one, step=steps[one.lease.id]) for one in live(read(path)) if one.lease.id in steps
    ]


def _story(left: "LiveLease", revocation: "Revocation") -> dict[str, Any]:
    return {
        "grant": left.lease.grant,
        "lease": left.lease.id,
        "target": left.lease.target,
        "for": dict(left.identity),
        "steps": "not known: the agent was killed",
        "delivery": "not known",
        "expires_at": left.lease.expires_at.isoformat(timespec="seconds"),
        "steered_by": [],
        "served": [],
        "refused": [],
        "outcome": str(revocation.outcome),
        "end": revocation.sentence(),
    }


# ── status ───────────────────────────────────────────────────────────────────────────────────


def status(instance: Instance) -> dict[str, Any]:
    """Return whether the agent is alive, and what it tells of its grants; nothing secret.

    It tells that to the steps of its own job alone: elsewhere `problem` says so.
    """
    record = instance.record()
    found: dict[str, Any] = {"instance": str(instance.path), "alive": False, "grants": []}
    if record is None:
        return found
    found |= {"pid": record.pid, "ledger": record.ledger, "alive": is_alive(record)}
    if not found["alive"]:
        ended = instance.report() or {}
        return found | {"grants": ended.get("stories", [])}
    from ci_identity.agent.client import agent_of  # noqa: PLC0415  # not for those who stop one

    try:
        agent = agent_of(instance)
        answer = agent.ask("/status") if agent else None
        found["grants"] = answer.get("grants") if answer else []
    except DeliveryError as error:
        found["problem"] = str(error)
    return found
