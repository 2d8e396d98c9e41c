"""Which needles are in a text: the engine of the `fast` extra, several times as quick."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cached_property

import hyperscan

from ci_identity.redaction.scan import telling

LATER = 1 << 22
"""Bytes of output from which on it pays to have compiled what proofs need: some 20 ms for ten
secrets."""

_WINDOW = 16
"""Bytes of a needle that are looked for; the rest is compared where they are."""

_FEWEST = 64
"""Windows. For fewer, hyperscan chooses a matcher that takes two to three times as long."""

_PARTS = 4
_PART = 8
_MIN_PART = 4
"""Bytes. Shorter parts than this are met in any log."""

_MOST = 5000
"""Needles. The parts of more are met by chance as often as not, and take seconds to compile."""

# A colour, a cursor move, or a line end; and four of these as close together as they must be to
# fall into each of four parts that lie side by side: no more seen between two than two parts have.
_INTERRUPTION = rb"(?:\x1b\[[0-?]*[@-~]|[\r\n])"
_GAP = rb"[^\x1b\r\n]{1,%d}" % (2 * _PART - 2)
_CLOSE = (
    _INTERRUPTION + b"(?:%s%s+){%d}" % (_GAP, _INTERRUPTION, _PARTS - 2) + _GAP + rb"[\x1b\r\n]"
)
_UNUSUAL = rb"\x1b(?:[^\[]|\[[0-?]*[^0-?@-~])"


class Scanner:
    """Tells which needles a text holds, as `scan.Scanner` does.

    Of each window only the first place in a text is reported (`HS_FLAG_SINGLEMATCH`); from there
    on its needles are searched for: a text full of them costs no more calls than of one each.
    """

    def __init__(self, needles: Collection[bytes]) -> None:
        self._needles = needles
        by_window: dict[bytes, list[bytes]] = defaultdict(list)
        for needle in needles:
            size = min(_WINDOW, len(needle))
            start = telling(needle, size)
            by_window[needle[start : start + size]].append(needle)
        self._suspects = list(by_window.values())
        self._windows = _of_windows(by_window)
        self._seen = 0

    def found(self, text: bytes) -> set[bytes]:
        """Return the needles that `text` holds, each once however often it is there."""
        self._seen += len(text)
        return {
            needle
            for number, end in _first_places(self._windows, text)
            if number < len(self._suspects)
            for needle in self._suspects[number]
            if text.find(needle, max(0, end - len(needle))) >= 0
        }

    def rules_out(self, raw: bytes) -> bool:
        """True if no needle lies in this output, whatever interrupts it; False tells nothing.

        Four parts of each needle are looked for. A needle of which none is there has an
        interruption within each part: such places are looked for as well, and so is every
        sequence that `_INTERRUPTION` does not cover.
        """
        if self._seen < LATER:
            return False
        # the interruptions first: where there are any such places, one is met soon
        return self._is_divisible and not (
            _matches(self._interruptions, raw) or _matches(self._parts, raw)
        )

    @cached_property
    def _is_divisible(self) -> bool:
        return len(self._needles) <= _MOST and all(
            len(n) >= _PARTS * _MIN_PART and b"\x1b" not in n for n in self._needles
        )

    @cached_property
    def _parts(self) -> hyperscan.Database:
        return _of_windows({part for needle in self._needles for part in _divided(needle)})

    @cached_property
    def _interruptions(self) -> hyperscan.Database:
        # In one with the parts it would take longer to make. And no two threads may look through
        # one database at a time, so that this one, too, is each scanner's own.
        return _compiled([_CLOSE, _UNUSUAL])


def _divided(needle: bytes) -> Iterable[bytes]:
    size = min(_PART, len(needle) // _PARTS)
    start = telling(needle, size * _PARTS)
    return (needle[at : at + size] for at in range(start, start + size * _PARTS, size))


def _of_windows(windows: Collection[bytes]) -> hyperscan.Database:
    filled = [*windows, *map(_padding, range(len(windows), _FEWEST))]
    # escaped, because literal=True ends a window at its first NUL
    return _compiled([b"".join(b"\\x%02x" % byte for byte in window) for window in filled])


def _compiled(expressions: list[bytes]) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions, flags=hyperscan.HS_FLAG_SINGLEMATCH)
    return database


def _matches(database: hyperscan.Database, text: bytes) -> bool:
    def stop(*_: object) -> bool:
        return True

    try:
        database.scan(text, match_event_handler=stop)
    except hyperscan.ScanTerminated:
        return True
    return False


def _first_places(database: hyperscan.Database, text: bytes) -> list[tuple[int, int]]:
    """Return the numbers of the expressions that match, and where each first does."""
    found: list[tuple[int, int]] = []

    def report(number: int, _start: int, end: int, *_: object) -> None:
        found.append((number, end))

    if text:
        database.scan(text, match_event_handler=report)
    return found


def _padding(number: int) -> bytes:
    """Return a window of bytes that no UTF-8 text has."""
    return bytes((0xF8 + number % 8, 0xF8 + number // 8)) * (_WINDOW // 2)
