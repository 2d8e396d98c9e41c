"""Which needles are in a text: the engine, in nothing but the standard library."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from struct import Struct

_GRAM = 5
"""Bytes. Shorter grams meet too many words of the log, longer ones ask for longer needles."""

Span = tuple[int, int]

_STRIDES = range(_GRAM, 65)
_BLOCKS = (256, 16)
_WINDOWS = 8

_LOOK_UP = 54.0
_SEARCH = 0.13
_SHORT = 4.5
"""Nanoseconds: of one gram's look-up; of `bytes.find` for each byte, and more by the needle's size.

Only the ratios count.
"""


class Scanner:
    """Tells which needles a text holds.

    A needle of stride + 4 bytes or more cannot lie in a text without one of its grams at a multiple
    of the stride, so that a look-up there rules out all such needles at once; what it does not rule
    out is searched for thereabouts. Shorter needles are searched for one by one.
    """

    def __init__(self, needles: Collection[bytes]) -> None:
        self._stride = _stride(Counter(map(len, needles)))
        self._few: list[bytes] = []
        self._grams: dict[bytes, list[bytes]] = defaultdict(list)
        for needle in needles:
            if len(needle) < self._stride + _GRAM - 1:
                self._few.append(needle)
                continue
            window = telling(needle, self._stride + _GRAM - 1)
            for at in range(window, window + self._stride):
                self._grams[needle[at : at + _GRAM]].append(needle)
        # Told of them twice, a set makes room for twice as many, and most look-ups end at the first
        # place: a quarter of the time, at half of the sizes that there are.
        self._known = set(self._grams)
        self._known.update(dict(self._grams))
        word = f"{_GRAM}s{self._stride - _GRAM}x"
        self._blocks = [Struct(word * count) for count in _BLOCKS]

    def found(self, text: bytes) -> set[bytes]:
        """Return the needles that `text` holds, each once however often it is there."""
        found = {needle for needle in self._few if needle in text}
        for start, words in self._words(text):
            if not self._known.isdisjoint(words):
                found |= self._near(text, start, words, found)
        return found

    def rules_out(self, raw: bytes) -> bool:  # noqa: ARG002  # the engines' common signature
        """Return False: here nothing is quicker than to take out what interrupts, and to look."""
        return False

    def _near(
        self, text: bytes, start: int, words: tuple[bytes, ...], known: set[bytes]
    ) -> set[bytes]:
        """Return the needles, but for those that are known, that lie about the place of `words`."""
        grams = self._known.intersection(words)
        end = start + len(words) * self._stride
        return {
            needle
            for needle in {needle for gram in grams for needle in self._grams[gram]} - known
            if text.find(needle, max(0, start - len(needle)), end + len(needle)) >= 0
        }

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
        few = ((size, many) for size, many in sizes.items() if size < stride + _GRAM - 1)
        return _LOOK_UP / stride + sum(many * (_SEARCH + _SHORT / size) for size, many in few)

    return min(_STRIDES, key=cost)


def telling(needle: bytes, size: int) -> int:
    """Return where the most telling `size` bytes start: those of the last few with most characters.

    Needles share their beginnings (the header of a JWT, the armour of a key), seldom their ends.
    """
    starts = range(len(needle) - size, -1, -size)[:_WINDOWS]
    return max(starts, key=lambda at: len(set(needle[at : at + size])))


def stretches(text: bytes, needle: bytes) -> Iterator[Span]:
    """Yield the union of all occurrences of `needle` in `text`, overlaps as one stretch.

    From an overlap `rfind` leaps to the last one, so that in a long run of one character a needle
    of the same costs one step per needle length and not one per byte.
    """
    size = len(needle)
    start = text.find(needle)
    while start >= 0:
        last = start
        following = text.find(needle, last + 1)
        while 0 <= following < last + size:
            last = text.rfind(needle, following, last + 2 * size - 1)
            following = text.find(needle, last + 1)
        yield start, last + size
        start = following
