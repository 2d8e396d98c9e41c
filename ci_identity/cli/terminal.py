"""What people see: colour on a terminal, plain text elsewhere, and no control characters."""

import errno
import os
import select
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from ci_identity import _log
from ci_identity._text import shown
from ci_identity.errors import (
    CiIdentityError,
    ConfigurationError,
    DeliveryError,
    OutputLostError,
)

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from typing import TextIO

_PATIENCE = 1000
"""Milliseconds that a message waits for a reader that takes nothing."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_UNWRITABLE = frozenset(
    {errno.EPIPE, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
)
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "dim": 2, "bold": 1}


def has_colour(stream: "TextIO") -> bool:
    """True if `stream` is a terminal that takes colour (https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, *colours: str, stream: "TextIO | None" = None) -> str:
    """Return `text` in these colours if `stream` (by default stdout) takes them."""
    if not has_colour(stream or sys.stdout):
        return text
    return "".join(f"\033[{_COLOURS[colour]}m" for colour in colours) + text + "\033[0m"


def open_streams() -> None:
    """Make sure that stdin, stdout and stderr are open: no file of ours may take their place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  # stdin, stdout, stderr
        os.set_inheritable(fd, True)  # noqa: FBT003  # the function's only argument
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def tell(text: str) -> None:
    """Write a message to stderr; a reader that has gone or takes nothing does not keep us."""
    rest = memoryview(f"{text}\n".encode(errors="backslashreplace"))
    ready = select.poll()
    ready.register(2, select.POLLOUT)
    with suppress(OSError):
        while rest and ready.poll(_PATIENCE):
            rest = rest[os.write(2, rest[: select.PIPE_BUF]) :]  # so much never blocks then


def flush() -> int:
    """Write out what was printed, and return the exit code of that."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return failed(error)
    return 0


def failed(error: Exception) -> int:
    """Say what nobody expected, as far as there is anybody to tell, and return the exit code."""
    problem = defect(error)
    if isinstance(problem, OutputLostError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more, and complain
    if isinstance(error, BrokenPipeError):  # whoever read our output has gone
        return 1
    print_error(problem)
    return problem.exit_code


def print_error(error: CiIdentityError) -> None:
    """Print what happened, the likely cause and the fix, to stderr."""
    head = paint(f"error[{error.code}]", "red", "bold", stream=sys.stderr)
    lines = [f"{head}: {shown(str(error))}"]
    lines += [f"  {name}: {_indented(text)}" for name, text in _advice(error)]
    lines += [f"  note: {_indented(note)}" for note in getattr(error, "__notes__", ())]
    tell("\n".join(lines))


def _advice(error: CiIdentityError) -> Sequence[tuple[str, str]]:
    more = f"docs/troubleshooting.md#{error.code}"
    advice = (("likely", error.cause), ("fix", error.hint), ("more", more))
    return advice[1:] if error.code == "usage" else advice  # a slip has no cause to look for


def _indented(text: str) -> str:
    return shown(text).replace("\n", "\n    ")


def warn(text: str) -> None:
    """Print one line of warning to stderr."""
    tell(paint(f"ci-identity: warning: {shown(text)}", "yellow", stream=sys.stderr))


def defect(error: Exception) -> CiIdentityError:
    """Return an error of our own for one that is not: its kind and place, never its text."""
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:  # it can meet any import
        return DeliveryError(
            f"the system gives no more: {os.strerror(error.errno)}",
            cause="a limit of this machine, container or shell is reached",
            hint="raise the limits on open files and memory: `ulimit -n`, or the container's",
        )
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        message = f"the output could not be written: {os.strerror(error.errno)}"
        return OutputLostError(message, hint="make room there, and run it again")
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return ConfigurationError(
            "the working folder is gone",
            cause="something removed it after this shell or step had entered it",
            hint="change to a folder that is there",
        )
    import traceback  # noqa: PLC0415  # on demand

    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}:{place.lineno}"  # noqa: PTH119  # no pathlib for it
    return CiIdentityError(f"{type(error).__name__} at {where}")


def _has_working_folder() -> bool:
    with suppress(OSError):
        return bool(os.getcwd())  # noqa: PTH109  # no pathlib for it
    return False


def print_json(value: object) -> None:
    """Print `value` for programs; times as in ISO 8601, with their offset."""
    import json  # noqa: PLC0415  # on demand, as the next
    import re  # noqa: PLC0415

    text = json.dumps(value, indent=2, default=plain)
    print(re.sub(r"##(\w*)\[", r"##\1\\u005b", text))  # the same to programs; see `shown`


def plain(value: object) -> str:
    """Return `value` as text, the same for people and in JSON."""
    from datetime import datetime  # noqa: PLC0415  # on demand

    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(
    rows: Iterable[Sequence[str]],
    *,
    indent: str = "  ",
    colours: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print `rows` in columns as wide as they need to be.

    Args:
        rows: cells of text.
        indent: what each line begins with.
        colours: the colours of some words that the first column has.
    """
    cells = [[shown(cell).replace("\n", "\\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if colour := colours.get(row[0]):
            padded[0] = paint(padded[0], colour)
        print(f"{indent}{'  '.join(padded)}".rstrip())


_LEVELS = {"info": ("dim", ""), "warning": ("yellow", "warning: "), "error": ("red", "")}


def say_aloud(*, quiet: bool) -> None:
    """Let the package's messages go to stderr; only warnings and errors if `quiet`."""

    def say(level: str, text: str, outcome: str | None) -> None:
        if quiet and level == "info":
            return
        colour, word = _LEVELS[level]
        colour = "green" if outcome == "revoked" else colour
        tell(paint(f"ci-identity: {word}{shown(text)}", colour, stream=sys.stderr))

    _log.listen(say)
