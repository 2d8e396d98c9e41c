"""The engine finds every needle that a text holds, and its stretches are what they cover."""

import random
from collections.abc import Collection, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction import scan
from ci_identity.redaction.scan import Scanner, stretches
from ci_identity.redaction.view import TerminalView


class Engine(Protocol):
    """What the redactor needs of one."""

    def __init__(self, needles: Collection[bytes]) -> None: ...

    def found(self, text: bytes) -> set[bytes]:
        """Say which."""
        ...

    def rules_out(self, raw: bytes) -> bool:
        """Say whether there are surely none, interrupted or not."""
        ...


@pytest.fixture(params=["scan", "simd"], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[type[Engine]]:
    """Each of the engines that can be had, as it is when much has come."""
    if request.param == "simd" and not find_spec("hyperscan"):
        pytest.skip("the extra `fast` is not installed")
    module = import_module(f"ci_identity.redaction.{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LATER", 0, raising=False)
        yield module.Scanner


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


USUAL = [b"\x1b[0m", b"\x1b[1;31m", b"\x1b[K", b"\n", b"\r\n", b"\x1b[0m\n"]
UNUSUAL = [
    *(
        b"\x1b",
        b"\x1b[",
        b"\x1b[1",
        b"\x1b\x1b[0m",
        b"\x1b[\x1b[",
        b"\x1b(B",
        b"\x1b7",
        b"\x1b[1 q",
    ),
    *(b"\x1b]0;t\x07", b"\x1bPab\x1b\\", b"\x1b[" + b"1" * 70 + b"m", b"\x1b[     m", b"\xc3"),
]


@st.composite
def interrupted(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A needle of 16 to 64 bytes, and output in which it is interrupted again and again."""
    chance = draw(st.randoms(use_true_random=False))
    letters = draw(st.sampled_from([b"ab", b"[m1;a", b"abcdefghijklmnopqrstuvwxyz"]))
    needle = b"z" + bytes(chance.choices(letters, k=draw(st.sampled_from([16, 20, 32, 64]))))
    between = draw(st.lists(st.sampled_from(USUAL + UNUSUAL), min_size=1, max_size=3))
    longest = draw(st.sampled_from([3, 5, 8, 9, 15, 16]))
    raw = chance.choice([b"", b"x", *between])
    at = 0
    while at < len(needle):
        size = chance.randint(chance.choice([1, longest]), longest)
        raw += needle[at : at + size] + chance.choice(between)
        at += size
    return TerminalView.core(needle), raw


@settings(max_examples=500, deadline=None)
@given(case=interrupted())
def test_nothing_is_ruled_out_that_is_there(
    engine: type[Engine], case: tuple[bytes, bytes]
) -> None:
    """However often a needle is interrupted, and by what: in the bytes or seen, it is suspected."""
    needle, raw = case
    if needle in raw or needle in TerminalView(raw).text:
        assert not engine([needle]).rules_out(raw)


@pytest.mark.parametrize("size", [1, 5, 8, 9, 14, 15])
@pytest.mark.parametrize(
    "between", [b"\x1b[1;31m", b"\n", b"\x1b[0m\r\n\x1b[1m", b"\x1b(B"], ids=range(4)
)
def test_a_needle_in_pieces_is_suspected(size: int, between: bytes, engine: type[Engine]) -> None:
    """Cut into pieces of any size, of which the first may be shorter."""
    needle = bytes(range(40, 110))
    for first in range(1, size + 1):
        pieces = [needle[:first], *(needle[at : at + size] for at in range(first, 70, size))]
        assert not engine([needle]).rules_out(between.join(pieces))


def test_a_proof_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """To compile what it needs takes as long as to do without for some MB."""
    simd = pytest.importorskip("ci_identity.redaction.simd", exc_type=ImportError)
    monkeypatch.setattr(simd, "LATER", 1 << 12)  # the fixture may still be there
    scanner = simd.Scanner([b"a-secret-of-this-job", b"another-secret-of-it"])
    text = b"x" * 1000 + b"a-secret-of-this-job"
    for _ in range(4):
        assert not scanner.rules_out(b"nothing")
        assert "_parts" not in vars(scanner)
        assert scanner.found(text) == {b"a-secret-of-this-job"}
    assert not scanner.rules_out(b"nothing")
    scanner.found(text)
    assert scanner.rules_out(b"nothing")


def test_an_ordinary_coloured_log_is_ruled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what the proof is for: three interruptions close together are no suspicion."""
    simd = pytest.importorskip("ci_identity.redaction.simd", exc_type=ImportError)
    monkeypatch.setattr(simd, "LATER", 0)
    line = (
        b"2026-08-21T10:11:12Z \x1b[1;32mPASS\x1b[0m tests/some_test.py::\x1b[1mtest_42\x1b[0m\r\n"
    )
    assert simd.Scanner([b"a-secret-of-this-job"]).rules_out(line * 99)
    assert not simd.Scanner([b"a-secret-of-this-job"]).rules_out(line * 99 + b"-of-this-")
    for needle in (b"a-short-secret", b"a-secret-with-\x1b-in-it"):
        assert not simd.Scanner([needle]).rules_out(line * 99)
    many = [b"one-of-%016d-secrets" % number for number in range(5001)]  # no parts are compiled
    assert not simd.Scanner(many).rules_out(line * 99)


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
