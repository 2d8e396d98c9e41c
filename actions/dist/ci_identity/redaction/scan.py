"""Where needles are in a text: the engine, in nothing but the standard library."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from struct import Struct
from typing import TypeAlias

_GRAM = 5
"""Bytes. Shorter grams meet too many words of the log, longer ones ask for longer needles."""

Span: TypeAlias = tuple[int, int]

_STRIDES = range(_GRAM, 65)
_BLOCKS = (256, 16)
_WINDOWS = 8

_PLACES = 500
"""Up to so many, looking at each place costs less than searching a block for each needle."""

_LOOK_UP = 65.0
_SEARCH = 0.19
"""Nanoseconds: of one gram's look-up, and of `bytes.find` for each byte. Only the ratio counts."""


class Scanner:
    """Finds every stretch of a text that a needle covers.

    A needle of stride + 4 bytes or more cannot lie in a text without one of its grams at a multiple
    of the stride, so that a look-up there rules out all such needles at once; what it does not rule
    out is looked at. Shorter needles are searched for one by one.
    """

    def __init__(self, needles: Collection[bytes]) -> None:
        self._stride = _stride(Counter(map(len, needles)))
        self._few: list[bytes] = []
        self._grams: dict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for needle in needles:
            if len(needle) < self._stride + _GRAM - 1:
                self._few.append(needle)
                continue
            window = telling(needle, self._stride + _GRAM - 1)
            for at in range(window, window + self._stride):
                self._grams[needle[at : at + _GRAM]].append((needle, at))
        self._known = frozenset(self._grams)
        word = f"{_GRAM}s{self._stride - _GRAM}x"
        self._blocks = [Struct(word * count) for count in _BLOCKS]

    def hits(self, text: bytes) -> Iterator[Span]:
        """Yield (start, end) in any order; their union is every occurrence of every needle."""
        for needle in self._few:
            yield from stretches(text, needle, 0, len(text))
        for start, words in self._words(text):
            if not self._known.isdisjoint(words):
                yield from self._verified(text, start, words)

    def _verified(self, text: bytes, start: int, words: tuple[bytes, ...]) -> Iterator[Span]:
        """Look where the grams say, or search everywhere if they say it of too many places."""
        places = [(at, self._grams[word]) for at, word in enumerate(words) if word in self._known]
        if sum(len(suspects) for _, suspects in places) <= _PLACES:
            for at, suspects in places:
                for needle, offset in suspects:
                    first = start + at * self._stride - offset
                    if first >= 0 and text.startswith(needle, first):
                        yield first, first + len(needle)
            return
        end = start + len(words) * self._stride
        grams = self._known.intersection(words)
        for needle in {needle for gram in grams for needle, _ in self._grams[gram]}:
            size = len(needle)
            yield from stretches(text, needle, max(0, start - size), end + size)

    def _words(self, text: bytes) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Yield the grams at every multiple of the stride, block by block."""
        at = 0
        for block in self._blocks:
            while at + block.size <= len(text):
                yield at, block.unpack_from(text, at)
                at += block.size
        rest = range(at, len(text), self._stride)
        yield at, tuple([text[start : start + _GRAM] for start in rest])


def _stride(sizes: Mapping[int, int]) -> int:
    """Return the stride that costs the least, for needles of these sizes (size: how many)."""

    def cost(stride: int) -> float:
        few = sum(many for size, many in sizes.items() if size < stride + _GRAM - 1)
        return _LOOK_UP / stride + _SEARCH * few

    return min(_STRIDES, key=cost)


def telling(needle: bytes, size: int) -> int:
    """Return where the most telling `size` bytes start: those of the last few with most characters.

    Needles share their beginnings (the header of a JWT, the armour of a key), seldom their ends.
    """
    starts = range(len(needle) - size, -1, -size)[:_WINDOWS]
    return max(starts, key=lambda at: len(set(needle[at : at + size])))


def stretches(text: bytes, needle: bytes, first: int, end: int) -> Iterator[Span]:
    """Yield the union of all occurrences of `needle` in `text[first:end]`, overlaps as one stretch.

    From an overlap `rfind` leaps to the last one, so that in a long run of one character a needle
    of the same costs one step per needle length and not one per byte.
    """
    size = len(needle)
    start = text.find(needle, first, end)
    while start >= 0:
        last = start
        following = text.find(needle, last + 1, end)
        while 0 <= following < last + size:
            last = text.rfind(needle, following, min(last + 2 * size - 1, end))
            following = text.find(needle, last + 1, end)
        yield start, last + size
        start = following
