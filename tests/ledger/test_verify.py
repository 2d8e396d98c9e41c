"""Reading back: whatever was changed, removed, added or moved is noticed."""

import json
import os
import re
from pathlib import Path

import pytest

from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import FIRST_PREV, SEAL, Entry, Event, digest, seal
from ci_identity.ledger.verify import read, verify
from ci_identity.ledger.writer import MAX_LINE, Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of four entries."""
    path = tmp_path / "ledger.jsonl"
    for event in (Event.REQUESTED, Event.ISSUED, Event.DELIVERED, Event.REVOKED):
        Ledger(path).append(
            Entry(
                event=event,
                lease="0123456789abcdef",
                grant="migrate-db",
                target="https://vault.example/v1/auth/jwt/role/shop",
                identity={"repository": "acme/shop"},
                steered_by=("VAULT_ADDR",),
            )
        )
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_whole_ledger(path: Path) -> None:
    """An untouched ledger holds; its head is the last entry's hash."""
    found = verify(path)
    assert (found.entries, found.is_torn) == (4, False)
    assert found.head == json.loads(lines(path)[-1])["hash"]


def test_empty_ledger(tmp_path: Path) -> None:
    """A file with nothing in it is a ledger of no entries."""
    path = tmp_path / "ledger.jsonl"
    path.touch()
    assert verify(path).entries == 0
    assert verify(path).head == FIRST_PREV


def test_every_changed_character_is_noticed(path: Path) -> None:
    """Whichever character of whichever line is another one."""
    whole, head = path.read_bytes(), verify(path).head
    for place, character in enumerate(whole):
        changed = b"1" if character == ord("0") else b"0"
        path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        with pytest.raises(LedgerTamperedError):
            verify(path, head=head)


def test_every_flipped_case_is_noticed(path: Path) -> None:
    """Also where it is only a letter's case: a hash in capitals is another hash."""
    whole = path.read_bytes()
    for match in re.finditer(rb"[A-Za-z]", whole):
        place = match.start()
        path.write_bytes(whole[:place] + match[0].swapcase() + whole[place + 1 :])
        with pytest.raises(LedgerTamperedError):
            verify(path)


@pytest.mark.parametrize("extra", [b" ", b"\n", b"0"])
def test_every_added_character_is_noticed(path: Path, extra: bytes) -> None:
    """Even one that JSON has no meaning for: the line is no longer the one we wrote."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + extra + whole[place:])
        with pytest.raises(LedgerTamperedError):
            verify(path)


def test_every_removed_character_is_noticed(path: Path) -> None:
    """Whichever it is, up to the last line end."""
    whole, head = path.read_bytes(), verify(path).head
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + whole[place + 1 :])
        with pytest.raises(LedgerTamperedError):
            verify(path, head=head)


def test_key_that_is_there_twice_is_noticed(path: Path) -> None:
    """Readers differ in which one they take, so a second one could show them something else."""
    path.write_bytes(
        path.read_bytes().replace(b'"event":"revoked"', b'"event":"failed","event":"revoked"')
    )
    with pytest.raises(LedgerTamperedError, match="line 4"):
        verify(path)


@pytest.mark.parametrize(
    ("old", "new"), [(b"acme/shop", rb"acme\/shop"), (b"acme/shop", rb"\u0061cme/shop")]
)
def test_other_spelling_of_the_same_text_is_noticed(path: Path, old: bytes, new: bytes) -> None:
    """What JSON reads as the same text is not what we wrote."""
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(LedgerTamperedError, match="line 1"):
        verify(path)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_removed_line_is_noticed(path: Path, place: int) -> None:
    """A line that is missing at the start or in the middle."""
    left = lines(path)
    del left[place]
    path.write_bytes(b"".join(left))
    with pytest.raises(LedgerTamperedError, match=f"line {place + 1}"):
        verify(path)


def test_removed_end_is_noticed_by_the_head(path: Path) -> None:
    """What was cut off at the end shows only against a head that was kept elsewhere."""
    head = verify(path).head
    path.write_bytes(b"".join(lines(path)[:-1]))
    assert verify(path).entries == 3
    with pytest.raises(LedgerTamperedError, match=head):
        verify(path, head=head)


def test_removed_ledger_is_noticed_by_the_head(path: Path) -> None:
    """An emptied file has no head at all."""
    head = verify(path).head
    path.write_bytes(b"")
    with pytest.raises(LedgerTamperedError):
        verify(path, head=head)


def test_head_of_an_earlier_entry_holds(path: Path) -> None:
    """A ledger goes on after its head was printed."""
    head = str(json.loads(lines(path)[1])["hash"])
    assert verify(path, head=head).entries == 4


def test_lines_in_another_order_are_noticed(path: Path) -> None:
    """Two entries that changed places."""
    first, second, *rest = lines(path)
    path.write_bytes(b"".join([second, first, *rest]))
    with pytest.raises(LedgerTamperedError, match="line 1"):
        verify(path)


def test_repeated_line_is_noticed(path: Path) -> None:
    """An entry that is there twice."""
    path.write_bytes(path.read_bytes() + lines(path)[-1])
    with pytest.raises(LedgerTamperedError, match="line 5"):
        verify(path)


def test_rewritten_entry_is_noticed_by_the_next(path: Path) -> None:
    """Whoever changes an entry and its hash must change every later one too, and the head."""
    first, second, *rest = lines(path)
    changed = second[:-SEAL].replace(b"migrate-db", b"another")
    changed += seal(digest(changed))
    path.write_bytes(b"".join([first, changed, *rest]))
    with pytest.raises(LedgerTamperedError, match="line 3"):
        verify(path)


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE])
def test_long_insertion_is_noticed(path: Path, size: int) -> None:
    """However long it is: nothing is skipped while looking for the end of a line."""
    first, *rest = lines(path)
    path.write_bytes(b"".join([first, b" " * size, *rest]))
    with pytest.raises(LedgerTamperedError):
        verify(path)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[]\n", b"null\n", b"\xff\n", b"{\n", b"[" * 9999 + b"\n", b"1" * 9999 + b"\n"],
)
def test_line_that_is_no_entry(path: Path, line: bytes) -> None:
    """Each kind of line that is none of ours is an error that names its number."""
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(LedgerTamperedError, match="line 5"):
        verify(path)
    with pytest.raises(LedgerTamperedError, match="line 5"):
        list(read(path))


def test_torn_end_is_told_and_left_out(path: Path) -> None:
    """A piece of a line at the end is a writer that was killed, not tampering."""
    path.write_bytes(path.read_bytes() + lines(path)[0][:30])
    found = verify(path)
    assert (found.entries, found.is_torn) == (4, True)


def test_ledger_that_is_not_there(tmp_path: Path) -> None:
    """The error says that nothing was recorded, names the path, and how to read another."""
    with pytest.raises(LedgerError, match="nothing was recorded here yet: there is no ") as caught:
        verify(tmp_path / "none")
    assert not isinstance(caught.value, LedgerTamperedError)
    assert str(tmp_path / "none") in str(caught.value)
    assert "--ledger FILE" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_ledger_that_may_not_be_read(path: Path) -> None:
    """A file of another user is an error, not an empty ledger."""
    path.chmod(0)
    with pytest.raises(LedgerError, match="Permission denied"):
        verify(path)
