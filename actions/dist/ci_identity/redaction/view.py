"""What a person sees of raw output: without escape sequences, without the ends of lines."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from ci_identity.redaction.scan import Span

# ECMA-48 section 5: control sequences (CSI) and character sets; control strings (OSC, DCS, SOS,
# PM, APC), which carry text; and whatever else is ESC and one byte, a cut-off sequence included.
_COMMON = rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}[@-~]|[ -/]{1,4}[0-~])"
STRING = rb"\x1b[\]PX^_][^\x00-\x1f]{0,512}(?:\x07|\x1b\\)"
_ESCAPE = b"(" + _COMMON + b"|" + STRING + rb"|\x1b[0-~])"
_UNFINISHED = rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}|[\]PX^_][^\x00-\x1f]{0,512}\x1b?|[ -/]{1,4})?\Z"
_COLOUR = rb"\x1b\[[0-?]{0,64}[@-~]"  # most sequences; the rest takes a second look
# What a sequence of `_COMMON` may eat of the beginning of a needle, and a needle it may hold whole.
_EATEN = re.compile(rb"(?:\[?[0-?]*[ -/]*[@-~]|[ -/]*[0-~])")
_SWALLOWED = re.compile(rb"\[?[0-?]{0,64}[ -/]{0,4}[@-~]?")
_UNSEEN = b"\x1b\r\n"
_MIN_CORE = 5
_LONGEST_ESCAPE = 520
_ENDING = 256


class View:
    """Raw output, and what of it is matched against the needles: here, in mode `fast`, all of it.

    Attributes:
        raw: the bytes as they came.
        end: where in `raw` the part ends that can be read already.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.end = len(raw)

    @property
    def text(self) -> bytes:
        """The bytes that are matched."""
        return self.raw

    @property
    def ending(self) -> bytes:
        """The end of `text`, for less than all of it costs."""
        return self.raw

    @property
    def has_escapes(self) -> bool:
        """Whether `text` takes long to get, for the escape sequences in `raw`."""
        return False

    @property
    def has_strings(self) -> bool:
        """Whether an escape sequence may carry text of its own, such as a link."""
        return False

    @property
    def hides(self) -> bool:
        """Whether `raw` has bytes that `text` has not, line ends aside."""
        return False

    @staticmethod
    def needle(needle: bytes) -> bytes:
        """Return `needle` as it would stand in `text`."""
        return needle

    @staticmethod
    def core(needle: bytes) -> bytes:
        """Return what is left of `needle` in `text` wherever it is whole in `raw`.

        A secret behind a sequence that was cut off loses its first bytes to it: `ESC [` and `ghs_`
        is `ESC [ g` and `hs_`. Nothing is left if a sequence can hold all of it.
        """
        return needle

    @property
    def coloured_line(self) -> bytes:
        """The last line of `raw`, if it has an escape sequence; no sequence goes over its end."""
        return b""

    def sequence(self, place: int) -> int:
        """Return where the escape sequence begins that `raw[place]` is in, or else `place`."""
        return place

    def spans(self, hits: Iterable[Span]) -> list[Span]:
        """Return where in `raw` these stretches of `text` lie, escape sequences within included."""
        return list(hits)

    def tail(self, size: int) -> int:
        """Return where in `raw` the last `size` bytes of `text` begin."""
        return self.end - size

    def line_end(self, start: int) -> int:
        """Return where the last line end of `raw` from `start` on ends, or else `start`.

        In mode `fast` a line end is a byte like any other.
        """
        return start

    def kept(self, start: int, end: int) -> bytes:  # noqa: ARG002  # the other view needs them
        """Return what stays of a masked `raw[start:end]`: escape sequences, so colours balance."""
        return b""


class TerminalView(View):
    """Mode `default`: colours, cursor moves, titles and line wraps do not hide a secret."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.end = _readable(raw)
        self._seen: tuple[bytes, bool, bool] | None = None

    @property
    def text(self) -> bytes:
        """What is seen, as one line."""
        return self._look()[0]

    @property
    def ending(self) -> bytes:
        """The end of `text`, from the beginning of a line on: no sequence goes over its end."""
        start = self.raw.rfind(b"\n", 0, max(0, self.end - _ENDING)) + 1
        return TerminalView(self.raw[start:]).text if start else self.text

    @property
    def has_escapes(self) -> bool:
        """Whether `text` takes long to get, for the escape sequences in `raw`."""
        return b"\x1b" in self.raw

    @property
    def has_strings(self) -> bool:
        """Whether an escape sequence may carry text of its own, such as a link."""
        return self._look()[1]

    @property
    def hides(self) -> bool:
        """Whether `raw` has bytes that `text` has not, line ends aside."""
        return self._look()[2]

    def _look(self) -> tuple[bytes, bool, bool]:
        """Return `text`, `has_strings` and `hides`, found at the first call."""
        if self._seen is None:
            raw = self.raw[: self.end]
            text = b"".join(re.split(_COLOUR, raw)) if self.has_escapes else raw
            has_strings = b"\x1b" in text
            if has_strings:
                text = re.sub(_ESCAPE, b"", raw)
            self._seen = _joined(text), has_strings, len(text) != self.end
        return self._seen

    @staticmethod
    def needle(needle: bytes) -> bytes:
        """Return `needle` without line ends and escape sequences."""
        return _joined(re.sub(_ESCAPE, b"", needle) if b"\x1b" in needle else needle)

    @staticmethod
    def core(needle: bytes) -> bytes:
        """Return what is left of `needle` in `text` wherever it is whole in `raw`."""
        if b"\x1b" in needle or _SWALLOWED.fullmatch(needle):
            return b""
        eaten = _EATEN.match(needle)
        core = needle[eaten.end() :] if eaten else needle
        return core if len(core) >= _MIN_CORE else b""

    @property
    def coloured_line(self) -> bytes:
        """The last line of `raw`, if it has an escape sequence; no sequence goes over its end."""
        line = self.raw[self.line_end(0) : self.end]
        return line if b"\x1b" in line else b""

    def sequence(self, place: int) -> int:
        """Return where the escape sequence begins that `raw[place]` is in, or else `place`."""
        start = self.raw.rfind(b"\x1b", max(0, place - _LONGEST_ESCAPE), place)
        found = re.compile(_ESCAPE).match(self.raw, start, self.end) if start >= 0 else None
        return start if found and found.end() > place else place

    def spans(self, hits: Iterable[Span]) -> list[Span]:
        """Return where in `raw` these stretches of `text` lie, escape sequences within included."""
        found = list(hits)
        if not found or len(self.text) == self.end:  # nothing is hidden
            return found
        line_ends, run_ends, hidden = self._gaps

        def place(index: int) -> int:
            index += bisect_right(line_ends, index)
            return index + hidden[bisect_right(run_ends, index)]

        return [(place(start), place(end - 1) + 1) for start, end in found]

    @property
    def _gaps(self) -> tuple[list[int], list[int], list[int]]:
        """Where lines end in `text`, where runs end if line ends count, what is hidden before."""
        pieces = re.split(_ESCAPE, self.raw[: self.end])
        seen, sequences = pieces[::2], pieces[1::2]
        lines = b"".join(seen).replace(b"\r", b"\n").split(b"\n")
        return (
            list(accumulate(map(len, lines))),
            list(accumulate(map(len, seen))),
            list(accumulate(map(len, sequences), initial=0)),
        )

    def tail(self, size: int) -> int:
        """Return where in `raw` the last `size` bytes of `text` begin."""
        place = self.end - size
        last = self.raw[place : self.end]
        if not size or (last == last.translate(None, _UNSEEN) and self.sequence(place) == place):
            return place
        [(start, _)] = self.spans([(len(self.text) - size, len(self.text))])
        return start

    def line_end(self, start: int) -> int:
        """Return where the last line end of `raw` from `start` on ends, or else `start`."""
        found = max(self.raw.rfind(b"\n", start, self.end), self.raw.rfind(b"\r", start, self.end))
        return max(found + 1, start)

    def kept(self, start: int, end: int) -> bytes:
        """Return the escape sequences of the masked `raw[start:end]`."""
        if self.raw.find(b"\x1b", start, end) < 0:
            return b""
        return b"".join(re.compile(_ESCAPE).findall(self.raw, start, end))


def _joined(text: bytes) -> bytes:
    return text.replace(b"\n", b"").replace(b"\r", b"")


def _readable(raw: bytes) -> int:
    """Return where an escape sequence starts that `raw` breaks off in, or else its length."""
    last = max(0, len(raw) - _LONGEST_ESCAPE)
    if raw.find(b"\x1b", last) < 0:
        return len(raw)
    unfinished = re.compile(_UNFINISHED).search(raw, last)
    return unfinished.start() if unfinished else len(raw)
