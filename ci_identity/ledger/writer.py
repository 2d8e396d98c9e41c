"""Appends to the ledger so that an entry is on disk before what it tells of happens."""

import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import FIRST_PREV, SEAL, Entry, digest, seal

MAX_LINE = 1 << 16
"""Bytes: several times the longest entry that `Entry` can make."""


LOCK_TIMEOUT = 5.0
"""Seconds. The lock is held for less than a millisecond, and never while the disk is waited for:
two hundred jobs at once wait for less than this (benchmarks/reliability.json)."""


class Ledger:
    """The ledger file. Safe for many processes: each append holds a lock on the file itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: tuple[int, bytes] | None = None  # where our last entry is, and its line

    @property
    def place(self) -> int:
        """Where in the file our last entry is; -1 if we wrote none."""
        return self._last[0] if self._last else -1

    def make(self) -> None:
        """Make the file if it is not there. Where it is missing later, somebody has removed it.

        Raises:
            LedgerError: it cannot be made.
        """
        try:
            os.close(_open(self.path))
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def append(self, entry: Entry) -> Entry:
        """Chain `entry` to the last one, write it through to the disk, and return it as written.

        Raises:
            LedgerError: it could not be written. Then nothing may be issued or delivered.
            LedgerTamperedError: the last line is not an entry of an unbroken ledger.
        """
        try:
            fd = _open(self.path)
            try:
                _lock(fd, self.path)
                _check_ours(fd, self.path)
                self._check_last(fd)
                written = entry.chained(_last_hash(fd, self.path))
                line = written.to_line()
                _write(fd, line)
                self._last = (os.fstat(fd).st_size - len(line), line)
                fcntl.flock(fd, fcntl.LOCK_UN)  # nobody has to wait for the disk of another
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        return written

    def _check_last(self, fd: int) -> None:
        """Raise if what we wrote last is not where we wrote it."""
        if self._last and os.pread(fd, len(self._last[1]), self._last[0]) != self._last[1]:
            message = f"{self.path} was changed since we last wrote to it"
            raise LedgerTamperedError(message)


def _unwritable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot write the ledger {path}: {error.strerror}")


def _lock(fd: int, path: Path) -> None:
    """Lock the file; whoever may read it may hold a lock, so no one is waited for for long."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"{path} is locked by another process"
                cause = "a process that reads it for long, or has been stopped"
                raise LedgerError(
                    message, cause=cause, hint="find who holds it: fuser, lsof"
                ) from None
            time.sleep(0.01)
        else:
            return


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except RecursionError:  # a folder in a folder in a folder ...
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from None
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _check_ours(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    if not is_plain or found.st_uid != os.getuid() or found.st_mode & 0o022:
        message = f"{path} is not a file that only this user can write"
        raise LedgerError(message, cause="another user's file, a link, or open to others")


def _last_hash(fd: int, path: Path) -> str:
    size = os.fstat(fd).st_size
    start = max(0, size - 2 * MAX_LINE)
    tail = os.pread(fd, size - start, start)
    whole = tail[: tail.rfind(b"\n") + 1]
    if not whole and start:
        raise _broken(path)
    if len(whole) < len(tail):  # a writer was killed in mid-line, and with it whoever waited for it
        os.ftruncate(fd, start + len(whole))
    if not whole:
        return FIRST_PREV
    last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
    hash_ = digest(last[:-SEAL])
    if last[-SEAL:] != seal(hash_):
        raise _broken(path)
    return hash_


def _broken(path: Path) -> LedgerTamperedError:
    return LedgerTamperedError(
        f"the last line of {path} is not an entry that ci-identity wrote",
        hint="keep the file as evidence, and point CI_IDENTITY_LEDGER at a new one",
    )


def _write(fd: int, line: bytes) -> None:
    if os.write(fd, line) != len(line):  # a full disk may take a part; the next append repairs it
        message = "no space left for a whole entry"
        raise LedgerError(message)
