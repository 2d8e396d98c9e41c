"""What is told of an agent's grants: while it lives, at its end, and in the job's summary."""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ci_identity._text import shortened
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Reason
from ci_identity.errors import CiIdentityError, RevocationError
from ci_identity.model import Outcome

if TYPE_CHECKING:
    from ci_identity.session import Session  # whoever stops an agent needs none

Story = Mapping[str, Any]
"""What there is to tell of one grant, as JSON's types. None of it is secret; much of it is what
strangers wrote."""

_IDENTITY = ("issuer", "repository", "run", "job", "actor")


def story(session: "Session", whom: str, delivery: str) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an agent's grants ended.

    Attributes:
        stories: what there is to tell of each.
        errors: what is wrong, as code and message.
        exit_code: the exit code for it.
    """

    stories: Sequence[Story] = ()
    errors: Sequence[Sequence[str]] = ()
    exit_code: int = 0


def report(stories: Sequence[Story], checks: Iterable[Callable[[], None]]) -> Report:
    """Return how an agent ended.

    Args:
        stories: what there is to tell of each grant.
        checks: raise what is wrong with an end.
    """
    errors: list[CiIdentityError] = []
    for check in checks:
        try:
            check()
        except CiIdentityError as error:
            errors.append(error)
    said = [(error.code, str(error)) for error in errors]
    return Report(stories=stories, errors=said, exit_code=exit_code(errors))


def exit_code(errors: Sequence[CiIdentityError]) -> int:
    """Return what the job's last step exits with: what may still be alive counts most."""
    if any(isinstance(error, RevocationError) for error in errors):
        return RevocationError.exit_code
    return errors[0].exit_code if errors else 0


# ── for people ───────────────────────────────────────────────────────────────────────────────


def lines(stories: Sequence[Story]) -> list[str]:
    """Return one or more lines for each grant, for a log."""
    found: list[str] = []
    for one in stories:
        name = one["grant"]
        found.append(one["end"] or f"{name}: {one['target']}, until {one['expires_at']}")
        found += [*served(one), *(f"{name}: refused {text}" for text in _refused(one))]
    return found


def served(one: Story) -> list[str]:
    """Return a line for each step that a grant was served to, for a log."""
    return [f"{one['grant']}: served {text}" for text in _served(one)]


def _served(one: Story) -> list[str]:
    return [
        f"the step {served['step'] or '(unknown)'}: {', '.join(served['programs'])}"
        for served in one["served"]
    ]


def _refused(one: Story) -> list[str]:
    return [
        f"{refused['who']}: {refused['why']}"
        + (f" ({refused['times']} times)" if refused["times"] > 1 else "")
        for refused in one["refused"]
    ]


_COLUMNS: tuple[tuple[str, Callable[[Story], Sequence[str]]], ...] = (
    ("Grant", lambda one: [one["grant"]]),
    ("Lease", lambda one: [one["lease"]]),
    ("From", lambda one: [one["target"]]),
    ("For", lambda one: [one["steps"]]),
    ("Delivered by", lambda one: [one["delivery"]]),
    ("Served", lambda one: _served(one) or ["nobody"]),
    ("Refused", lambda one: _refused(one) or ["nobody"]),
    ("Ended", lambda one: [one["outcome"] or "not known", one["end"] or ""]),
)


def summary(stories: Sequence[Story]) -> str:
    """Return the Markdown that a job's page shows. What others wrote stays text in it."""
    if not stories:
        return ""
    rows = [[name for name, _ in _COLUMNS], ["---"] * len(_COLUMNS)]
    rows += [["<br>".join(map(plain, cells(one))) for _, cells in _COLUMNS] for one in stories]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    identity = cast("Mapping[str, str | None]", stories[0]["for"])
    who = plain(", ".join(f"{name} {value}" for name, value in identity.items() if value))
    note = _note(stories)
    return f"### ci-identity\n\n{who}\n\n{table}\n\n{note}\n"


def _note(stories: Sequence[Story]) -> str:
    if any(one["outcome"] == Outcome.FAILED for one in stories):
        return "**A credential may still be alive.** The log of this step says until when."
    return (
        "What was renewed while the job ran could not be masked in its log; "
        "`ci-identity exec` redacts it there."
    )


def plain(text: str) -> str:
    """Return `text` for a cell of a Markdown table: nothing in it is Markdown, HTML or a link."""
    quiet = html.escape(shortened(text).replace("\n", " "), quote=True)
    return re.sub(r"[^\w\s.,/=+;&#-]|_", lambda found: f"&#{ord(found[0])};", quiet)
