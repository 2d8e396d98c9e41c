"""What a person sees of raw output: without escape sequences, without the ends of lines."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeAlias

# ECMA-48: CSI, then strings (OSC, DCS, SOS, PM, APC), then everything of two or three bytes.
_STRING = rb"\x1b[\]PX^_][^\x00-\x1f]{0,512}(?:\x07|\x1b\\)"
_ESCAPE = rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}[@-~]|[ -/]{1,4}[0-~])|" + _STRING + rb"|\x1b[0-~]"
_UNFINISHED = rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}|[\]PX^_][^\x00-\x1f]{0,512}\x1b?|[ -/]{1,4})?\Z"

ESCAPE = re.compile(b"(" + _ESCAPE + b")")
STRING = re.compile(_STRING)
_UNFINISHED_ESCAPE = re.compile(_UNFINISHED)
_LONGEST_ESCAPE = 520

Span: TypeAlias = tuple[int, int]


class View(Protocol):
    """Raw output, and what of it is matched against the needles.

    Attributes:
        raw: the bytes as they came.
        text: the bytes that are matched.
        end: where in `raw` the part ends that can be read already.
        has_strings: whether an escape sequence carries text of its own, such as a link.
    """

    raw: bytes
    text: bytes
    end: int
    has_strings: bool

    def __init__(self, raw: bytes) -> None: ...

    @staticmethod
    def needle(needle: bytes) -> bytes:
        """Return `needle` as it would stand in `text`."""
        ...

    def spans(self, hits: Iterable[Span]) -> list[Span]:
        """Return where in `raw` these stretches of `text` lie, escape sequences within included."""
        ...

    def tail(self, size: int) -> int:
        """Return where in `raw` the last `size` bytes of `text` begin."""
        ...

    def line_end(self, start: int) -> int:
        """Return where the last line end of `raw` from `start` on ends, or else `start`."""
        ...

    def kept(self, start: int, end: int) -> bytes:
        """Return what stays of a masked `raw[start:end]`: escape sequences, so colours balance."""
        ...


class PlainView:
    """Mode `fast`: the bytes and nothing else."""

    has_strings = False

    def __init__(self, raw: bytes) -> None:
        self.raw = self.text = raw
        self.end = len(raw)

    @staticmethod
    def needle(needle: bytes) -> bytes:
        """Return `needle` itself."""
        return needle

    def spans(self, hits: Iterable[Span]) -> list[Span]:
        """Return the stretches themselves."""
        return list(hits)

    def tail(self, size: int) -> int:
        """Return where the last `size` bytes begin."""
        return self.end - size

    def line_end(self, start: int) -> int:
        """Return `start`: what is held here cannot go on behind a line end."""
        return start

    def kept(self, start: int, end: int) -> bytes:  # noqa: ARG002  # the protocol's signature
        """Return nothing."""
        return b""


class TerminalView:
    """Mode `default`: colours, cursor moves, titles and line wraps do not hide a secret."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.end = _readable(raw)
        pieces = ESCAPE.split(raw[: self.end])
        self._runs, self._escapes = pieces[::2], pieces[1::2]
        self._lines = b"".join(self._runs)
        self.text = _joined(self._lines)
        self.has_strings = any(map(STRING.match, set(self._escapes)))

    @staticmethod
    def needle(needle: bytes) -> bytes:
        """Return `needle` without line ends and escape sequences."""
        return _joined(ESCAPE.sub(b"", needle))

    def spans(self, hits: Iterable[Span]) -> list[Span]:
        """Return where in `raw` these stretches of `text` lie, escape sequences within included."""
        return [(self._offset(start), self._offset(end - 1) + 1) for start, end in hits]

    def _offset(self, index: int) -> int:
        line_ends, run_ends, hidden = self._gaps
        index += bisect_right(line_ends, index)
        return index + hidden[bisect_right(run_ends, index)]

    @cached_property
    def _gaps(self) -> tuple[list[int], list[int], list[int]]:
        """Where lines end in `text`, runs end in `_lines`, and how much is hidden up to each run."""
        lines = self._lines.replace(b"\r", b"\n").split(b"\n")
        return (
            list(accumulate(map(len, lines))),
            list(accumulate(map(len, self._runs))),
            list(accumulate(map(len, self._escapes), initial=0)),
        )

    def tail(self, size: int) -> int:
        """Return where in `raw` the last `size` bytes of `text` begin."""
        if not size:
            return self.end
        if self._runs[-1].endswith(self.text[-size:]):  # the usual case, without the tables
            return self.end - size
        return self._offset(len(self.text) - size)

    def line_end(self, start: int) -> int:
        """Return where the last line end of `raw` from `start` on ends, or else `start`."""
        found = max(self.raw.rfind(b"\n", start, self.end), self.raw.rfind(b"\r", start, self.end))
        return max(found + 1, start)

    def kept(self, start: int, end: int) -> bytes:
        """Return the escape sequences of the masked `raw[start:end]`."""
        return b"".join(ESCAPE.findall(self.raw, start, end)) if self._escapes else b""


def _joined(text: bytes) -> bytes:
    return text.replace(b"\n", b"").replace(b"\r", b"")


def _readable(raw: bytes) -> int:
    """Return where an escape sequence starts that `raw` breaks off in, or else its length."""
    last = max(0, len(raw) - _LONGEST_ESCAPE)
    unfinished = _UNFINISHED_ESCAPE.search(raw, last) if raw.find(b"\x1b", last) >= 0 else None
    return unfinished.start() if unfinished else len(raw)
