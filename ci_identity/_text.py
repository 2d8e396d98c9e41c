"""Text made fit to be shown to people: of strangers, such as a claim, and of ours."""

import re

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from datetime import timedelta

MAX_SHOWN = 300
"""Characters."""


def printable(text: str) -> str:
    """Return `text` with every character that moves, hides or reorders what is beside it escaped.

    Printed as it is, a claim could move the cursor, or begin a line with `::` and so command
    GitHub's runner.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def shown(text: str) -> str:
    """Return `text`, line by line, with nothing that a terminal or a CI's runner would obey.

    GitHub's runner obeys `::command::` at the start of a line, white space aside, and
    `##[command]` anywhere in it (`ActionCommand.cs`).
    """
    lines = map(printable, text.split("\n"))
    quiet = (re.sub(r"^(\s*)::", r"\1: :", line) if "::" in line else line for line in lines)
    joined = "\n".join(quiet)
    return re.sub(r"##(\w*)\[", r"##\1\\u005b", joined) if "##" in joined else joined


def shortened(text: str) -> str:
    """Return `text` printable and cut short."""
    return printable(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")


def lasting(time: "timedelta") -> str:
    """Return `time` for people, in the largest unit that says it: `6 h`, `90 min`, `45 s`."""
    seconds = round(time.total_seconds())
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
