"""How an agent's grants ended, for the log and for the job's summary.

Whoever stops an agent waits for it: nothing here needs a session or a provider.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

from ci_identity._record import Record
from ci_identity._text import shortened, shown
from ci_identity.errors import CiIdentityError, RevocationError

Story = Mapping[str, Any]
"""What there is to tell of one grant, as JSON's types. None of it is secret; much of it is what
strangers wrote."""


FAILED = RevocationError.exit_code


class Report(Record):
    """How an agent's grants ended.

    Attributes:
        said: what the log of the job's last step is to say, line by line; nothing commands there.
        summary: the Markdown that the job's page is to show.
        exit_code: the exit code for it.
    """

    said: Sequence[str] = ()
    summary: str = ""
    exit_code: int = 0

    @classmethod
    def of(
        cls, stories: Sequence[Story], errors: Sequence[CiIdentityError] = (), *, log: str = ""
    ) -> Self:
        """Return the report on grants that have ended.

        Args:
            stories: what there is to tell of each.
            errors: what is wrong; what may still be alive counts most.
            log: what has been said already, where nobody could read it.
        """
        said = [*log.strip().split("\n")] if log.strip() else []
        said += [f"ci-identity: {line}" for one in stories for line in served(one)]
        said += [f"error[{error.code}]: {error}" for error in errors]
        if not stories and not errors:
            said.append("there was nothing left to end")
        codes = [error.exit_code for error in errors]
        return cls(
            said=[shown(line) for line in said],
            summary=summary(stories),
            exit_code=FAILED if FAILED in codes else (codes or [0])[0],
        )


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
    if any(one["outcome"] == "failed" for one in stories):
        return "**A credential may still be alive.** The log of this step says until when."
    return (
        "What was renewed while the job ran could not be masked in its log; "
        "`ci-identity exec` redacts it there."
    )


def plain(text: str) -> str:
    """Return `text` for a cell of a Markdown table: nothing in it is Markdown, HTML or a link."""
    quiet = shortened(text).replace("\n", " ")
    quiet = re.sub(r"[^\w\s.,/=+-]|_", lambda found: f"&#{ord(found[0])};", quiet)
    return re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:-1]}&#46;", quiet)  # GitHub links it
