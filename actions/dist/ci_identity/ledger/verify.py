"""Reads a ledger back and says whether anything in it was changed, removed or slipped in."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ci_identity._record import Record
from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import FIRST_PREV, digest
from ci_identity.ledger.writer import MAX_LINE

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
    try:
        with open_ledger(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
                if line.endswith(b"\n") or len(line) == MAX_LINE:
                    yield _object(line, number, path)
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
    prev, count, has_head = FIRST_PREV, 0, head is None
    for count, entry in enumerate(read(path), 1):
        if entry.get("prev") != prev or entry.get("hash") != digest(entry):
            message = f"{path}, line {count}: the chain is broken here"
            raise LedgerTamperedError(message)
        prev = str(entry["hash"])
        has_head = has_head or prev == head
    if not has_head:
        message = f"{path} has no entry with the head {head}: entries were cut off, or replaced"
        raise LedgerTamperedError(message)
    return Verification(entries=count, head=prev, is_torn=_is_torn(path))


def _object(line: bytes, number: int, path: Path) -> dict[str, object]:
    try:
        entry = json.loads(line)
        # To the byte: a reader of another kind might see other values in a key that is there twice.
        is_ours = json.dumps(entry, separators=(",", ":")).encode() + b"\n" == line
    except (ValueError, RecursionError):
        entry, is_ours = None, False
    if not isinstance(entry, dict) or not is_ours:
        message = f"{path}, line {number}: this is not an entry"
        raise LedgerTamperedError(message)
    return cast("dict[str, object]", entry)


def _is_torn(path: Path) -> bool:
    with open_ledger(path) as file:
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - 1))
        return size > 0 and file.read(1) != b"\n"
