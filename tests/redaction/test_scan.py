"""The engine finds every needle that a text holds, and its stretches are what they cover."""

import random
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction import scan
from ci_identity.redaction.scan import Scanner, stretches


class Engine(Protocol):
    """What the redactor needs of one."""

    def __init__(self, needles: Collection[bytes]) -> None: ...

    def found(self, text: bytes) -> set[bytes]:
        """Say which."""
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


def stretched(needles: Collection[bytes], text: bytes) -> set[int]:
    """What the stretches cover."""
    spans = [span for needle in needles for span in stretches(text, needle)]
    return {at for start, end in spans for at in range(start, end)}


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


@settings(max_examples=100, deadline=None)
@given(haystack=haystacks())
def test_every_needle_is_found(engine: type[Engine], haystack: tuple[list[bytes], bytes]) -> None:
    """Whatever the engine: all that are there and no others, overlaps and repetitions included."""
    needles, text = haystack
    assert engine(needles).found(text) == {needle for needle in needles if needle in text}


@settings(max_examples=100, deadline=None)
@given(haystack=haystacks())
def test_stretches_are_all_that_needles_cover(haystack: tuple[list[bytes], bytes]) -> None:
    """The union of all occurrences, those that overlap themselves included."""
    assert stretched(*haystack) == covered(*haystack)


def test_any_byte_may_be_in_a_needle(engine: type[Engine]) -> None:
    """NUL, line ends, and what means something in a regular expression."""
    every = bytes(range(256))
    needles = [every[at : at + 8] for at in range(0, 256, 8)] + [bytes(9), b"\n" * 6, every * 3]
    for needle in needles[:-1]:
        assert engine(needles).found(b"<" + needle + b">") == {needle}
    assert engine(needles).found(b"-" + every * 4) == {*needles[:32], needles[-1]}


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65])
def test_what_makes_a_small_set_quick_is_no_needle(count: int, engine: type[Engine]) -> None:
    """However few the needles, a text of the bytes that no log has holds none of them."""
    needles = [b"secret-number-%04d" % number for number in range(count)]
    for byte in range(0xF0, 0x100):
        text = bytes((byte, 0xF8)) * 40 + bytes((byte, 0xFF)) * 40
        assert engine(needles).found(text) == set()
    needles.append(bytes((0xF8, 0xFF)) * 9)
    assert engine(needles).found(b" ".join(needles)) == set(needles)


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
            assert scanner.found(text) == {needle}


def test_one_long_secret_is_not_paid_for_by_the_short_ones() -> None:
    """The stride follows from the needles: wide for long ones, and short ones do not vanish."""
    long = [bytes(range(start, start + 80)) for start in range(40)]
    assert Scanner(long)._stride > Scanner([*long, *(b"%020d" % n for n in range(40))])._stride
    assert Scanner([*long, b"secret"]).found(b"a secret" + long[7]) == {b"secret", long[7]}


def test_no_needle_no_hit(engine: type[Engine]) -> None:
    """Nothing to look for is nothing found, and neither is anything in no text."""
    assert engine([]).found(b"some text" * 999) == set()
    assert engine([b"secret"]).found(b"") == set()


def test_overlaps_are_leapt_over() -> None:
    """A long run of one letter is no long list: by one step a needle length, not one a byte."""
    assert list(stretches(b"A" * 65536, b"A" * 64)) == [(0, 65536)]
