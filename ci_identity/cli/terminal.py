"""What people see: colour on a terminal, plain text elsewhere, and no control characters."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from ci_identity.errors import CiIdentityError

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "dim": 2, "bold": 1}


def has_colour(stream: TextIO) -> bool:
    """True if `stream` is a terminal that takes colour (https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, *colours: str, stream: TextIO | None = None) -> str:
    """Return `text` in these colours if `stream` (by default stdout) takes them."""
    if not has_colour(stream or sys.stdout):
        return text
    return "".join(f"\033[{_COLOURS[colour]}m" for colour in colours) + text + "\033[0m"


def printable(text: str) -> str:
    """Return `text` with every control character but the line end shown by its code point.

    Claims are written by strangers: without this one could move the cursor, or begin a line with
    `::` and so command GitHub's runner.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
    return shown.replace("\n::", "\n ::")


def print_error(error: CiIdentityError) -> None:
    """Print what happened, the likely cause and the fix, to stderr."""
    head = paint(f"error[{error.code}]", "red", "bold", stream=sys.stderr)
    lines = [f"{head}: {printable(str(error))}"]
    lines += [f"  {name}: {_indented(text)}" for name, text in _advice(error)]
    lines += [f"  note: {_indented(note)}" for note in getattr(error, "__notes__", ())]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _advice(error: CiIdentityError) -> Sequence[tuple[str, str]]:
    more = f"docs/troubleshooting.md#{error.code}"
    return (("likely", error.cause), ("fix", error.hint), ("more", more))


def _indented(text: str) -> str:
    return printable(text).replace("\n", "\n    ")


def defect(error: Exception) -> CiIdentityError:
    """Return an error of our own for one that is not: its kind and place, never its text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return CiIdentityError(f"{type(error).__name__} at {where}")


def print_json(value: object) -> None:
    """Print `value` for programs."""
    print(json.dumps(value, indent=2, default=str))


def print_table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> None:
    """Print `rows` in columns as wide as they need to be."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{indent}{line}".rstrip())


class _Lines(logging.Formatter):
    """`ci-identity: ...`, in the colour of how bad it is."""

    def format(self, record: logging.LogRecord) -> str:
        level = {logging.WARNING: ("yellow", "warning: "), logging.ERROR: ("red", "")}
        colour, word = level.get(record.levelno, ("dim", ""))
        text = f"ci-identity: {word}{printable(record.getMessage())}"
        return paint(text, colour, stream=sys.stderr)


def say_aloud(*, quiet: bool) -> None:
    """Let the package's messages go to stderr; only warnings and errors if `quiet`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    log = logging.getLogger("ci_identity")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.WARNING if quiet else logging.INFO)
