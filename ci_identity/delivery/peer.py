"""Finds out which process asks: from the socket, by way of the kernel, never from what it says."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Protocol

from ci_identity._record import Record, replace
from ci_identity._text import printable
from ci_identity.delivery import sock_diag
from ci_identity.delivery.proc import Process, look_at, open_files, pids, tree
from ci_identity.delivery.sock_diag import Address, Owned, SocketDiag

_REST = 20
"""How many times as long as it looked for strangers the door looks for none: 5 % of the time."""


class Peer(Record):
    """A process that asked.

    Attributes:
        pid: its number; `None` if it could not be found out.
        uid: the user whose socket it is; `None` if it could not be found out.
        name: the program's name as the kernel has it (`comm`), made printable. The process
            chooses it: for people only.
        started: when it was started, in clock ticks since boot. `pid` and this are unique.
        step: the CI's own id of the job's step that it is of, made printable; `None` if unknown.
    """

    pid: int | None = None
    uid: int | None = None
    name: str = ""
    started: int = 0
    step: str | None = None

    def __str__(self) -> str:
        known = {"pid": self.pid, "uid": self.uid}
        words = [f"{what} {number}" for what, number in known.items() if number is not None]
        who = " ".join([*words, self.name]).strip() or "an unknown process"
        return who if self.step is None else f"{who} of the step {self.step}"


class Peers(Protocol):
    """Which processes are served."""

    def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        """Return, by inode, the process that is served and holds that socket open right now.

        It looks anew at each call. A socket that none of them holds is not in the answer; neither
        is one whose process cannot be told for sure. Of several holders any one will do: who is
        served may hand on a socket, as it may hand on what it got.
        """
        ...


class Tree:
    """A process and everything below it, as it is at the moment of each question.

    Args:
        root: the pid of the process at the top, which must be alive. Where it is a subreaper
            (`delivery.process.adopt_orphans`) a double fork stays in the tree.

    Raises:
        OSError: there is no such process.
    """

    def __init__(self, root: int) -> None:
        self._root = look_at(root)

    def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        """Return, by inode, the process of the tree that holds it open."""
        found: dict[int, Peer] = {}
        # Who asks is mostly at the bottom. The way down misses who is being moved: whose parent has
        # just ended, or, as proc_pid_task(5) warns, whose sibling has. So the rest is looked for
        # everywhere; it is the way up that decides.
        for candidates in (lambda: reversed(tree(self._root.pid)), pids):
            if missing := inodes - found.keys():
                found |= _holders(candidates(), missing, self._contains)
        return found

    def _contains(self, process: Process) -> bool:
        """Whether a process is in the tree now.

        A pid that was read as somebody's parent may be another process a moment later. That one is
        younger than its supposed child, which is how it is known.
        """
        while process.pid != self._root.pid:
            parent = _parent(process)
            if parent is None or parent.started > process.started:
                return False
            process = parent
        return process.started == self._root.started


def _parent(process: Process) -> Process | None:
    """Return its parent, or whose child it has become if that one has ended just now."""
    try:
        return look_at(process.parent)
    except FileNotFoundError:
        adopter = look_at(process.pid).parent
        return look_at(adopter) if adopter not in {process.parent, 0} else None


class Seen(Record):
    """Who is at the other end of a connection.

    Attributes:
        peer: the process, as far as it is known.
        is_served: whether it is one of those that are served.
    """

    peer: Peer
    is_served: bool


class Doorway:
    """Looks who is at the other end of connections to `server`, all that wait at once.

    Args:
        peers: who is served.
        server: our own address and port.

    Raises:
        OSError: this system cannot tell; see `is_available`.
    """

    def __init__(self, peers: Peers, server: Address) -> None:
        self._peers = peers
        self._server = server
        self._diag = SocketDiag()
        self._next_search = 0.0

    def close(self) -> None:
        """Look no more."""
        self._diag.close()

    def look(self, clients: Sequence[Address]) -> list[Seen]:
        """Return who is at each of `clients`. Who has gone, or cannot be told, is not served."""
        sockets = [self._find(client) for client in clients]
        ours = {held.inode for held in sockets if held and held.uid == os.getuid()}
        served: Mapping[int, Peer] = self._peers.owners(ours) if ours else {}
        strangers = {held.inode for held in sockets if held} - served.keys()
        known = {**self._search(strangers), **served}
        return [
            Seen(
                peer=replace(known.get(held.inode, Peer()), uid=held.uid),
                is_served=held.inode in served,
            )
            if held
            else Seen(peer=Peer(), is_served=False)
            for held in sockets
        ]

    def _find(self, client: Address) -> Owned | None:
        try:
            return self._diag.find(client, self._server)
        except OSError:
            return None

    def _search(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        """Return who is refused, unless we looked a moment ago: nobody may keep us busy."""
        started = time.monotonic()
        if not inodes or started < self._next_search:
            return {}
        found = look_everywhere(inodes)
        ended = time.monotonic()
        self._next_search = ended + _REST * (ended - started)
        return found


def look_everywhere(inodes: AbstractSet[int]) -> Mapping[int, Peer]:
    """Return, by inode, any process of this machine that holds it open, as far as we may look.

    For the record of who was refused, and for nothing else: it reads all of /proc.
    """
    return _holders(pids(), inodes, lambda _: True)


def is_available() -> bool:
    """Whether this system can tell which process asks: Linux, with sock_diag(7) and /proc."""
    ours = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    return os.access(ours, os.R_OK) and sock_diag.is_available()


def _holders(
    candidates: Iterable[int], inodes: AbstractSet[int], is_wanted: Callable[[Process], bool]
) -> dict[int, Peer]:
    """Return, by inode, the first of `candidates` that holds it open and is wanted."""
    sockets = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Peer] = {}
    for pid in candidates:
        if not sockets:
            break
        with suppress(OSError):  # it has ended, or is another user's
            if not sockets.keys() & open_files(pid):
                continue
            process = look_at(pid)
            held = sockets.keys() & open_files(pid)
            # Still the one we looked at: the next to have this pid would have started later.
            if is_wanted(process) and look_at(pid).started == process.started:
                peer = Peer(pid=pid, name=printable(process.name), started=process.started)
                found |= {sockets.pop(name): peer for name in held}
    return found
