"""How much of a text's end must wait, because it may be the beginning of a needle."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from operator import itemgetter

_GRAM = 8
_STEP = 32
_ENOUGH = _STEP + _GRAM - 1
_cut_grams = itemgetter(*(slice(at, at + _GRAM) for at in range(_STEP)))
_cut_ends = itemgetter(*(slice(-size, None) for size in range(_GRAM - 1, 0, -1)))


class Beginnings:
    """The proper prefixes of all needles, found by look-up instead of by an automaton of them all.

    A prefix of 8 bytes or more shows a needle's gram at an offset of 0, 32, 64 ... somewhere in its
    last 39 bytes, so that 32 look-ups rule out every long one, whatever the needles are.
    """

    def __init__(self, needles: Collection[bytes]) -> None:
        self._short = {needle[:k] for needle in needles for k in range(1, min(_GRAM, len(needle)))}
        self._grams: dict[bytes, bytes] = {}
        self._others: dict[bytes, list[bytes]] = defaultdict(list)  # few grams have several needles
        for needle in needles:
            for offset in range(0, len(needle) - _GRAM, _STEP):
                gram = needle[offset : offset + _GRAM]
                if self._grams.setdefault(gram, needle) is not needle:
                    self._others[gram].append(needle)

    def longest(self, text: bytes, whole: Callable[[], bytes] | None = None) -> int:
        """Return the length of the longest end of `text` that is a proper prefix of a needle.

        Args:
            text: a text, or the end of one.
            whole: gives all of it. It is called only if the end does not tell.
        """
        if whole and len(text) < _ENOUGH:
            text = whole()
        end = text[-_ENOUGH:]
        grams = _cut_grams(end)  # those beyond the end are shorter, and so of no needle
        if not self._grams.keys().isdisjoint(grams):
            if whole:
                return self.longest(whole())
            found = max(self._long(text, len(text) - len(end), grams))
            if found:
                return found
        for short in _cut_ends(end):
            if short in self._short:
                return len(short)
        return 0

    def _long(self, text: bytes, first: int, grams: Iterable[bytes]) -> set[int]:
        lengths = {0}
        for at, gram in enumerate(grams, first):
            needles = {self._grams.get(gram, b""), *self._others.get(gram, ())}
            for needle in needles:
                for offset in range(0, len(needle) - _GRAM, _STEP):
                    length = len(text) - at + offset
                    is_there = length < len(needle) and needle.startswith(gram, offset)
                    if is_there and text.endswith(needle[:length]):
                        lengths.add(length)
        return lengths
