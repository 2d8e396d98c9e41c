"""Where needles are in a text: the engine, in nothing but the standard library."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from struct import Struct

_GRAM = 5
"""Bytes. Shorter grams meet too many words of the log, longer ones ask for longer needles."""

_STRIDES = (32, 16, 8)
_BLOCKS = (256, 16)
_WINDOWS = 8

_LOOK_UP = 40.0
_SEARCH = 0.25
"""Nanoseconds: of one gram's look-up, and of `bytes.find` for each byte; only their ratio counts."""


class Scanner:
    """Finds every stretch of a text that a needle covers.

    A needle of at least stride + 4 bytes cannot lie in a text without one of its grams at a multiple
    of the stride, so that one look-up for each stride rules out all such needles at once. Shorter
    ones are searched for one by one. A needle that was not ruled out is then really searched for.
    """

    def __init__(self, needles: Collection[bytes]) -> None:
        self._stride = min(_STRIDES, key=lambda stride: _cost(stride, needles))
        self._few: list[bytes] = []
        self._grams: dict[bytes, list[bytes]] = defaultdict(list)
        for needle in needles:
            if len(needle) < self._stride + _GRAM - 1:
                self._few.append(needle)
                continue
            window = _window(needle, self._stride + _GRAM - 1)
            for gram in {window[at : at + _GRAM] for at in range(self._stride)}:
                self._grams[gram].append(needle)
        self._known = frozenset(self._grams)
        word = f"{_GRAM}s{self._stride - _GRAM}x"
        self._blocks = [Struct(word * count) for count in _BLOCKS]

    def hits(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) in any order; their union is every occurrence of every needle."""
        for needle in self._few:
            yield from _stretches(text, needle, 0, len(text))
        for start, end, words in self._words(text):
            if not self._known.isdisjoint(words):
                for needle in {n for gram in self._known.intersection(words) for n in self._grams[gram]}:
                    size = len(needle)
                    yield from _stretches(text, needle, max(0, start - size), end + size)

    def _words(self, text: bytes) -> Iterator[tuple[int, int, tuple[bytes, ...]]]:
        """Yield the grams at every multiple of the stride, block by block."""
        at = 0
        for block in self._blocks:
            while at + block.size <= len(text):
                yield at, at + block.size, block.unpack_from(text, at)
                at += block.size
        rest = range(at, len(text), self._stride)
        yield at, len(text), tuple([text[start : start + _GRAM] for start in rest])


def _cost(stride: int, needles: Collection[bytes]) -> float:
    """Nanoseconds for each byte of text."""
    few = sum(len(needle) < stride + _GRAM - 1 for needle in needles)
    return _LOOK_UP / stride + _SEARCH * few


def _window(needle: bytes, size: int) -> bytes:
    """Return the most telling `size` bytes: of the last few stretches the one of most characters.

    Needles share their beginnings (the header of a JWT, the armour of a key), seldom their ends.
    """
    starts = range(len(needle) - size, -1, -size)[:_WINDOWS]
    start = max(starts, key=lambda at: len(set(needle[at : at + size])))
    return needle[start : start + size]


def _stretches(text: bytes, needle: bytes, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the union of all occurrences of `needle` in `text[first:end]`, overlaps as one stretch.

    Within a stretch `rfind` leaps to the last occurrence that overlaps, so that in a long run of one
    character a needle of the same costs one step per needle length and not one per byte.
    """
    size = len(needle)
    start = text.find(needle, first, end)
    while start >= 0:
        last = start
        while (leap := text.rfind(needle, last + 1, min(last + 2 * size - 1, end))) > last:
            last = leap
        yield start, last + size
        start = text.find(needle, last + size, end)
