"""What there is to tell of a grant that an agent holds; nothing of it is secret."""

from collections.abc import Callable, Iterable

from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Reason
from ci_identity.errors import CiIdentityError
from ci_identity.session import Session

_IDENTITY = ("issuer", "repository", "run", "job", "actor")


def story(session: Session, whom: str, delivery: str) -> dict[str, object]:
    """Return what there is to tell of one grant's session.

    Args:
        session: the session, open or closed.
        whom: the steps that may use it, in words.
        delivery: how it reaches them.
    """
    lease, revocation, identity = session.lease, session.revocation, session.identity
    is_known = identity is not None
    recorder = session.recorder if is_known else None
    return {
        "grant": session.grant.name,
        "lease": lease.id,
        "target": lease.target,
        "for": {name: getattr(identity, name) for name in _IDENTITY} if is_known else {},
        "steps": whom,
        "delivery": delivery,
        "expires_at": lease.expires_at.isoformat(timespec="seconds"),
        "steered_by": list(session.steered_by),
        "served": _by_step(recorder.served) if recorder else [],
        "refused": [
            {"who": who, "why": Reason(reason).sentence, "times": times}
            for (who, reason), times in (recorder.refused.items() if recorder else ())
        ],
        "outcome": str(revocation.outcome) if revocation else None,
        "end": revocation.sentence() if revocation else None,
    }


def _by_step(peers: Iterable[Peer]) -> list[dict[str, object]]:
    found: dict[str, set[str]] = {}
    for peer in peers:
        found.setdefault(peer.step or "", set()).add(peer.name)
    return [{"step": step, "programs": sorted(names)} for step, names in found.items()]


def wrong(checks: Iterable[Callable[[], None]]) -> list[CiIdentityError]:
    """Return what is wrong with the ends of grants, as each of `checks` raises it."""
    found: list[CiIdentityError] = []
    for check in checks:
        try:
            check()
        except CiIdentityError as error:
            found.append(error)
    return found
