"""Ledgers that somebody has written or changed: read, or refused in one sentence."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.errors import CiIdentityError
from ci_identity.ledger.entry import Entry, Event, digest, seal
from ci_identity.ledger.live import leases, live
from ci_identity.ledger.verify import read, verify
from ci_identity.ledger.writer import Ledger
from ci_identity.model import Handle
from ci_identity.reaping.ledgers import listen
from tests.fuzz.shapes import bodies, like, some, texts

NOW = datetime.now(UTC)
ROLE = "arn:aws:iam::123456789012:role/r"


def lines() -> Iterator[bytes]:
    """Yield the lines of a ledger as a run writes them."""
    import tempfile  # noqa: PLC0415  # once, when the tests are collected

    about = {"issuer": "https://x", "subject": "s", "repository": "r", "run": "1", "job": "2"}
    handle = Handle(kind="session", value=f"AROA:{'s' * 20}", expires_at=NOW, fingerprint="0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state" / "ledger.jsonl"
        for event in (Event.REQUESTED, Event.ISSUED, Event.DELIVERED, Event.EXPIRES):
            entry = Entry(
                event=event,
                lease="0123456789abcdef",
                grant="g",
                step="s",
                target=ROLE,
                identity=about,
                at=NOW,
                expires_at=NOW + timedelta(hours=1),
                handle=str(handle) if event is not Event.REQUESTED else None,
            )
            Ledger(path).append(entry)
        yield from path.read_bytes().splitlines(keepends=True)


WHOLE = tuple(lines())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A place for a ledger of the test's own."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "state" / "ledger.jsonl"
    path.touch(mode=0o600)
    return path


def look(path: Path) -> None:
    """Do with a ledger whatever our commands do; raise what is not ours."""
    for act in (
        lambda: verify(path),
        lambda: verify(path, head="0" * 64),
        lambda: live(read(path)),
        lambda: leases(read(path)),
        lambda: listen([path]),
        lambda: Ledger(path).append(
            Entry(
                event=Event.DENIED, lease="1", grant="g", step=None, target="t", identity={}, at=NOW
            )
        ),
    ):
        try:
            act()
        except CiIdentityError as error:
            said = f"{error}{error.cause}{error.hint}"
            assert "hvs.SECRET" not in said
            assert "\x1b" not in said


@some
@given(st.lists(bodies | st.sampled_from(WHOLE), max_size=5))
def test_ledgers_of_anything(ledger: Path, pieces: list[bytes]) -> None:
    """Lines that are no entries, between some that are."""
    ledger.write_bytes(b"".join(piece + b"\n" * (not piece.endswith(b"\n")) for piece in pieces))
    look(ledger)


@some
@given(
    st.integers(0, len(WHOLE) - 1).flatmap(
        lambda at: st.tuples(st.just(at), like(json.loads(WHOLE[at])))
    ),
    st.booleans(),
)
def test_ledgers_with_one_other_entry(
    ledger: Path,
    change: tuple[int, Any],
    is_hashed: bool,  # noqa: FBT001  # drawn
) -> None:
    """One field is missing, another thing, or new; with a hash that fits, or without one."""
    at, entry = change
    entry.pop("hash", None)
    line = json.dumps(entry, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if is_hashed:
        unhashed = line[:-1]
        line = unhashed + seal(digest(unhashed))
    else:
        line += b"\n"
    ledger.write_bytes(b"".join([*WHOLE[:at], line, *WHOLE[at + 1 :]]))
    look(ledger)


@some
@given(
    st.integers(0, sum(map(len, WHOLE))),
    st.binary(max_size=20) | texts.map(lambda t: t.encode("utf-8", "surrogatepass")),
)
def test_ledgers_that_were_edited(ledger: Path, place: int, piece: bytes) -> None:
    """Some bytes are others."""
    whole = b"".join(WHOLE)
    ledger.write_bytes(whole[:place] + piece + whole[place + len(piece) :])
    look(ledger)
