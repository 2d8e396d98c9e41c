"""A view is the raw bytes less what no person sees, and every byte knows where it came from."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction.view import TerminalView, View

PIECES = st.lists(
    st.sampled_from(
        [
            *(b"a", b"bc", b"1;", b" ", b"]", b"[", b"m", b"\x80", b"\n", b"\r\n", b"\x07"),
            *(b"\x1b", b"\x1b[", b"\x1b[0m", b"\x1b[38;5;208m", b"\x1b(B", b"\x1b7"),
            *(b"\x1b]0;t", b"\x1bP1", b"\x1b\\"),
        ]
    ),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[0m",
        b"\x1b[38;5;208m",
        b"\x1b[?25l",
        b"\x1b[2K",
        b"\x1b[1 q",
        b"\x1b]0;title\x07",
        b"\x1b]8;;https://host/\x1b\\",
        b"\x1bP1$r0m\x1b\\",
        b"\x1b(B",
        b"\x1b7",
        b"\x1b=",
        b"\r",
        b"\n",
    ],
)
def test_what_is_not_seen(sequence: bytes) -> None:
    """Colours, cursor moves, titles, links, character sets, line ends are no part of the text."""
    assert TerminalView(b"se" + sequence + b"cret").text == b"secret"
    assert TerminalView.needle(b"se" + sequence + b"cret") == b"secret"


@settings(deadline=None)
@given(raw=PIECES)
def test_every_byte_knows_where_it_stands(raw: bytes) -> None:
    """Spans point at the very bytes of the text, in order, and skip nothing but unseen bytes."""
    view = TerminalView(raw)
    places = [start for start, _ in view.spans((at, at + 1) for at in range(len(view.text)))]
    assert places == sorted(set(places))
    assert bytes(raw[place] for place in places) == view.text
    hidden = [at for at in range(view.end) if at not in places]
    assert all(raw[at] in b"\x1b\r\n" for at in hidden if at - 1 not in hidden)
    for size in range(1, len(view.text) + 1):
        assert view.tail(size) == places[-size]


@settings(deadline=None)
@given(raw=PIECES, data=st.data())
def test_more_bytes_never_change_what_was_read(raw: bytes, data: st.DataObject) -> None:
    """What a first part shows is how the whole begins: an unfinished sequence is waited for."""
    cut = data.draw(st.integers(0, len(raw)))
    first, whole = TerminalView(raw[:cut]), TerminalView(raw)
    assert whole.text.startswith(first.text)
    assert first.end <= whole.end
    rest = TerminalView(raw[first.end :])
    assert first.text + rest.text == whole.text


@settings(deadline=None)
@given(before=PIECES, raw=PIECES, data=st.data())
def test_the_end_can_be_had_alone(before: bytes, raw: bytes, data: st.DataObject) -> None:
    """It is how the text ends, and no less of it than tells what must wait."""
    view = TerminalView(before + b"a\n" * data.draw(st.sampled_from([0, 300])) + raw)
    ending = view.ending
    assert view.text.endswith(ending)
    assert len(ending) >= min(len(view.text), 64)


def test_no_sequence_is_waited_for_without_end() -> None:
    """A sequence that grows past any real one is text."""
    for start in (b"\x1b]0;", b"\x1b[", b"\x1bP"):
        for size in range(0, 2000, 50):
            view = TerminalView(start + b"1" * size)
            assert len(view.raw) - view.end <= 520
        assert TerminalView(start + b"1" * 2000).text == start[2:] + b"1" * 2000


def test_the_longest_sequence_is_waited_for() -> None:
    """A string of 512 bytes up to its last byte, and of 513 not at all."""
    start = b"a\x1b]" + b"x" * 512
    assert TerminalView(start).end == TerminalView(start + b"\x1b").end == 1
    assert TerminalView(start + b"\x1b\\").text == b"a"
    assert TerminalView(start + b"x").text == start[:1] + start[3:] + b"x"


def test_line_ends_and_escapes_of_a_masked_part() -> None:
    """The last line end is found, and escape sequences are kept."""
    view = TerminalView(b"ab\ncd\x1b[0mef\r\x1b[1mgh")
    assert view.line_end(1) == 12
    assert view.line_end(14) == 14
    assert view.kept(1, len(view.raw)) == b"\x1b[0m\x1b[1m"


@pytest.mark.parametrize(
    ("needle", "core"),
    [
        (b"ghs_secret", b"hs_secret"),
        (b"38;5;208mghs_secret", b"ghs_secret"),
        (b"[38ghs_secret", b"hs_secret"),
        (b"(secret", b"ecret"),
        (b"67 68 73 5f", b"7 68 73 5f"),
        (b"\xc3\xa9-secret", b"\xc3\xa9-secret"),
        (b"123456789", b""),
        (b"12345678a", b""),
        (b"12345678ab", b""),
        (b"1" * 128, b"1" * 127),
        (b"a\x1b\x01-secret", b""),
    ],
)
def test_the_core_is_what_no_sequence_eats(needle: bytes, core: bytes) -> None:
    """What a cut-off sequence may take for its own is left out; of some needles nothing is left."""
    assert TerminalView.core(needle) == core


@settings(deadline=None)
@given(
    before=PIECES.filter(lambda raw: b"\x1b]" not in raw and b"\x1bP" not in raw),
    needle=st.text("[m1;a( ", min_size=6, max_size=12).map(str.encode),
    behind=PIECES,
)
def test_the_core_is_seen_wherever_the_needle_is(
    before: bytes, needle: bytes, behind: bytes
) -> None:
    """Behind any cut-off sequence: what the engines look for is in the text they look through."""
    assert TerminalView.core(needle) in TerminalView(before + needle + b"\n" + behind).text


def test_the_last_line_is_told_if_it_has_a_sequence() -> None:
    """Only there can an escape sequence have eaten the beginning of what is at the end."""
    assert TerminalView(b"a\n\x1b[0mb").coloured_line == b"\x1b[0mb"
    assert TerminalView(b"\x1b[0ma\nb").coloured_line == b""
    assert TerminalView(b"\x1b[0ma\rb\x1b[").coloured_line == b""


def test_the_plain_view_is_the_bytes() -> None:
    """Mode `fast` sees what there is."""
    view = View(b"a\x1b[0m\nb")
    assert view.text == view.raw == View.needle(view.raw)
    assert view.spans([(1, 3)]) == [(1, 3)]
    assert (view.tail(2), view.line_end(1), view.kept(0, 6)) == (5, 1, b"")
    assert (view.core(view.raw), view.coloured_line) == (view.raw, b"")
