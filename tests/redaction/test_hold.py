"""What is held back is exactly what may still become a secret."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction.hold import Beginnings

ALPHABET = st.sampled_from(b"ab")
WORDS = st.lists(ALPHABET, min_size=6, max_size=20).map(bytes)


def longest(needles: list[bytes], text: bytes) -> int:
    """The definition, word by word."""
    return max(
        size
        for size in range(len(text) + 1)
        if size == 0 or any(size < len(n) and n.startswith(text[-size:]) for n in needles)
    )


@settings(deadline=None)
@given(
    needles=st.lists(st.tuples(WORDS, st.integers(1, 12)), max_size=4),
    text=st.lists(ALPHABET, max_size=40).map(bytes),
    data=st.data(),
)
def test_the_longest_beginning_is_found(
    needles: list[tuple[bytes, int]], text: bytes, data: st.DataObject
) -> None:
    """For short and long needles, and texts that end anywhere in one of them."""
    repeated = [word * times for word, times in needles]
    if repeated:
        needle = data.draw(st.sampled_from(repeated))
        text += needle[: data.draw(st.integers(0, len(needle)))]
    assert Beginnings(repeated).longest(text) == longest(repeated, text)


@settings(deadline=None)
@given(
    needle=st.lists(ALPHABET, min_size=6, max_size=90).map(bytes),
    text=st.lists(ALPHABET, max_size=60).map(bytes),
    data=st.data(),
)
def test_the_end_of_a_text_is_enough(needle: bytes, text: bytes, data: st.DataObject) -> None:
    """Given an end of any length, and all of it on demand, the answer is that of all of it."""
    text += needle[: data.draw(st.integers(0, len(needle)))]
    end = text[data.draw(st.integers(0, len(text))) :]
    assert Beginnings([needle]).longest(end, lambda: text) == longest([needle], text)


def test_a_long_needle_is_recognised_at_every_length() -> None:
    """The look-up by grams has no gap between its steps."""
    needle = bytes(range(1, 251)) * 2
    for size in range(1, len(needle)):
        assert Beginnings([needle]).longest(b"..." + needle[:size]) == size
    assert Beginnings([needle]).longest(needle) == 250
