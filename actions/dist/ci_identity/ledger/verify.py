"""Reads a ledger back and says whether anything in it was changed, removed or slipped in."""

import errno
import json
import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ci_identity._record import Record
from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import FIRST_PREV, SEAL, digest, seal
from ci_identity.ledger.writer import MAX_LINE

_decode: Callable[[str], tuple[object, int]] = json.JSONDecoder().raw_decode
"""`json.loads`, without what it does for other encodings than ours: a third of its time."""

_READ_HINT = "name the ledger that the run wrote: --ledger FILE, or CI_IDENTITY_LEDGER"


class Verification(Record):
    """What a whole, unbroken ledger amounts to.

    Attributes:
        entries: how many entries it has.
        head: the hash of the last one, to be kept elsewhere (a log, a ticket).
        is_torn: the file ends within a line: a writer was killed; no entry is missing.
    """

    entries: int
    head: str
    is_torn: bool


def read(path: Path) -> Iterator[dict[str, object]]:
    """Yield the entries of the ledger at `path` as JSON objects, unchecked. A torn end is left out.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: a line is not an object, or not written as we write one.
    """
    with _readable(path) as file:
        for number, line in enumerate(lines(file), 1):
            if (entry := parse(line)) is None:
                message = f"{path}, line {number}: this is not an entry"
                raise LedgerTamperedError(message)
            yield entry


def is_there(path: Path) -> bool:
    """Return whether there is a ledger, or something that keeps us from looking: see `read`."""
    try:
        return path.exists()
    except OSError:
        return True


@contextmanager
def _readable(path: Path) -> Generator[BinaryIO]:
    try:
        with open_ledger(path) as file:
            yield file
    except FileNotFoundError:
        message = f"nothing was recorded here yet: there is no {path}"
        cause = "no grant was asked for here, or it was recorded in another place"
        raise LedgerError(message, cause=cause, hint=_READ_HINT) from None
    except OSError as error:
        message = f"cannot read the ledger {path}: {error.strerror}"
        cause = "the file is another user's, or no file at all"
        raise LedgerError(message, cause=cause, hint=_READ_HINT) from None


def open_ledger(path: Path) -> BinaryIO:
    """Open a ledger to read it. A pipe or a device could make us wait for ever.

    Raises:
        OSError: it cannot be opened, is a link, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file")


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a ledger; one that a killed writer left unfinished at the end is not."""
    for line in iter(lambda: file.readline(MAX_LINE), b""):
        if line.endswith(b"\n") or len(line) == MAX_LINE:
            yield line


def parse(line: bytes) -> dict[str, object] | None:
    """Return the entry that a line is; `None` if it is no JSON object, and nothing else."""
    try:
        text = line.decode()
        entry, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    is_entry = isinstance(entry, dict) and text[end:] in {"\n", ""}
    return cast("dict[str, object]", entry) if is_entry else None


class Chain:
    """Follows a ledger's chain, line by line.

    Attributes:
        head: the hash of the last line that was in it.
    """

    def __init__(self) -> None:
        self.head = FIRST_PREV

    def holds(self, line: bytes, entry: Mapping[str, object] | None) -> bool:
        """Return whether `line`, which reads as `entry`, is what comes next, to the byte."""
        hash_ = digest(line[:-SEAL])
        if entry is None or entry.get("prev") != self.head or line[-SEAL:] != seal(hash_):
            return False
        self.head = hash_
        return True


def verify(path: Path, *, head: str | None = None) -> Verification:
    """Walk the chain of the ledger at `path`.

    Args:
        path: the ledger.
        head: a hash that was printed when it was written; it must be one of the ledger's. Without
            it, entries cut off at the end cannot be noticed.

    Raises:
        LedgerTamperedError: the chain does not hold; the message names the line.
        LedgerError: the file cannot be read.
    """
    chain, count, has_head = Chain(), 0, head is None
    with _readable(path) as file:
        for count, line in enumerate(lines(file), 1):
            if not chain.holds(line, parse(line)):
                message = f"{path}, line {count}: the chain is broken here"
                raise LedgerTamperedError(message)
            has_head = has_head or chain.head == head
        is_torn = _is_torn(file)
    if not has_head:
        message = f"{path} has no entry with the head {head}: entries were cut off, or replaced"
        raise LedgerTamperedError(message)
    return Verification(entries=count, head=chain.head, is_torn=is_torn)


def _is_torn(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    return size > 0 and file.read(1) != b"\n"
