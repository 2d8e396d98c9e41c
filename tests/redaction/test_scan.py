"""The engine finds every byte that a needle covers, by whichever of its ways."""

import random
from collections.abc import Collection, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction import scan
from ci_identity.redaction.scan import Scanner, Span


class Engine(Protocol):
    """What the redactor needs of one."""

    def __init__(self, needles: Collection[bytes]) -> None: ...

    def hits(self, text: bytes) -> Iterator[Span]:
        """Say where."""
        ...


@pytest.fixture(params=["scan", "simd"], scope="module")
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    """Each of the engines that can be had."""
    if request.param == "simd" and not find_spec("hyperscan"):
        pytest.skip("the extra `fast` is not installed")
    found: type[Engine] = import_module(f"ci_identity.redaction.{request.param}").Scanner
    return found


def covered(needles: list[bytes], text: bytes) -> set[int]:
    """The definition: every index of every occurrence of every needle."""
    marks = bytearray(len(text))
    for needle in needles:
        start = text.find(needle)
        while start >= 0:
            marks[start : start + len(needle)] = b"x" * len(needle)
            start = text.find(needle, start + 1)
    return {at for at, mark in enumerate(marks) if mark}


def scanned(needles: list[bytes], text: bytes, engine: type[Engine] = Scanner) -> set[int]:
    """What the engine says."""
    return {at for start, end in engine(needles).hits(text) for at in range(start, end)}


@st.composite
def haystacks(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Needles of 6 to 120 bytes, and kilobytes of text made of their parts."""
    letters = draw(st.sampled_from([b"a", b"ab", b"abcdefghijklmnopqrstuvwxyz0123456789"]))
    chance = draw(st.randoms(use_true_random=False))
    sizes = draw(st.lists(st.integers(6, 120), min_size=1, max_size=7))
    needles = [bytes(chance.choices(letters, k=size)) for size in sizes]
    needles += [needle[len(needle) // 3 :] for needle in needles if len(needle) >= 9]
    text = b""
    for _ in range(draw(st.integers(0, 9))):
        needle = chance.choice(needles)
        whole = needle * chance.choice([0, 1, 1, 5])
        text += whole + needle[chance.randrange(len(needle)) :] + bytes(chance.choices(b"a ", k=9))
    return needles, text


@pytest.mark.parametrize("places", [0, 2, scan._PLACES, 10**9])
@settings(max_examples=60, deadline=None)
@given(haystack=haystacks())
def test_looking_and_searching_agree(places: int, haystack: tuple[list[bytes], bytes]) -> None:
    """Looking at each place and searching block by block both find the union of all occurrences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_PLACES", places)
        assert scanned(*haystack) == covered(*haystack)


@settings(max_examples=100, deadline=None)
@given(haystack=haystacks())
def test_every_occurrence_is_found(
    engine: type[Engine], haystack: tuple[list[bytes], bytes]
) -> None:
    """Whatever the engine: the union of all occurrences, overlaps and repetitions included."""
    assert scanned(*haystack, engine) == covered(*haystack)


def test_any_byte_may_be_in_a_needle(engine: type[Engine]) -> None:
    """NUL, line ends, and what means something in a regular expression."""
    every = bytes(range(256))
    needles = [every[at : at + 8] for at in range(0, 256, 8)] + [bytes(9), b"\n" * 6, every * 3]
    for number, needle in enumerate(needles[:-1]):
        text = b"<" + needle + b">"
        assert set(engine([needle]).hits(text)) == {(1, len(text) - 1)}
        found = {span for other in needles[:number] for span in engine([other]).hits(text)}
        assert not found
    assert scanned(needles, b"-" + every * 4, engine) == set(range(1, 1025))


@pytest.mark.parametrize("stride", [5, 7, 16, 32, 64])
def test_a_needle_is_found_wherever_it_starts(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every offset to the stride and the blocks, and at both ends of the text."""
    monkeypatch.setattr(scan, "_STRIDES", [stride])
    chance = random.Random(stride)  # noqa: S311  # repeatable
    for size in {max(6, stride - 1), stride + 4, stride + 5, 3 * stride + 9}:
        needle = chance.randbytes(size)
        scanner = Scanner([needle])
        for start in range(0, 600 * stride, 7):
            text = bytes(start) + needle + bytes(start % 11)
            assert set(scanner.hits(text)) == {(start, start + size)}


def test_one_long_secret_is_not_paid_for_by_the_short_ones() -> None:
    """The stride follows from the needles: wide for long ones, and short ones do not vanish."""
    long = [bytes(range(start, start + 80)) for start in range(40)]
    assert Scanner(long)._stride > Scanner([*long, *(b"%020d" % n for n in range(40))])._stride
    assert scanned([*long, b"secret"], b"a secret" + long[7]) == set(range(2, 88))


def test_no_needle_no_hit(engine: type[Engine]) -> None:
    """Nothing to look for is nothing found, and neither is anything in no text."""
    assert not list(engine([]).hits(b"some text" * 999))
    assert not list(engine([b"secret"]).hits(b""))


def test_overlaps_are_leapt_over(engine: type[Engine]) -> None:
    """A long run of one letter is no long list: by one step a needle length, not one a byte."""
    spans = list(engine([b"A" * 64, b"A" * 20 + b"B"]).hits(b"A" * 65536))
    assert len(spans) < 1000
    assert min(spans)[0] == 0
    assert max(end for _, end in spans) == 65536
