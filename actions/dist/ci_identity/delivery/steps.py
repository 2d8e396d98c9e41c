"""Tells of which step of a GitHub job a process is: by its ancestry, not by what it says of itself.

The runner starts one process for each step, with the step's id in its environment. Every process
below that one is of the step, whatever it has made of its own environment since. A process whose
parents are gone has no way up to the runner, and is of no step.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from ci_identity._record import replace
from ci_identity._text import shortened
from ci_identity.delivery.peer import Peer, Tree
from ci_identity.delivery.proc import Process, environ, look_at

MAX_REMEMBERED = 1024
"""Steps. A job has some hundred at most; beyond it the oldest is forgotten."""

_ID = b"GITHUB_ACTION="
_OF_A_STEP = b"GITHUB_ACTIONS=true"


class Steps:
    """The processes of a job's steps: each of them is served, and known with its step.

    Args:
        runner: the runner's process, which must be alive.

    Raises:
        OSError: there is no such process.
    """

    def __init__(self, runner: int) -> None:
        self._runner = look_at(runner)
        self._tree = Tree(runner)
        self._ids: OrderedDict[tuple[int, int], str | None] = OrderedDict()

    def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        """Return, by inode, the process of a step that holds it open."""
        found: dict[int, Peer] = {}
        for inode, peer in self._tree.owners(inodes).items():
            if step := self._step_of(peer):
                found[inode] = replace(peer, step=shortened(step))
        return found

    def _step_of(self, peer: Peer) -> str | None:
        """Return the id that the runner gave to the step's top process, as it was at its start.

        It is kept from the first look: `ci-identity exec` as a step's shell hides its memory, and
        its environment with it, before it asks for anything secret.
        """
        try:
            top = self._top(peer)
            if top is None:
                return None
            key = (top.pid, top.started)
            if not self._ids.get(key):
                self._remember(key, _id_of(top))
            return self._ids[key]
        except OSError:  # it has ended, or is not ours to look into
            return None

    def _top(self, peer: Peer) -> Process | None:
        """Return the child of the runner that `peer` descends from; `None` for the runner itself.

        As in `Tree`: a parent that is younger than its child is another process by now.
        """
        process = look_at(peer.pid or 0)
        if process.started != peer.started:
            return None
        while process.parent != self._runner.pid:
            parent = look_at(process.parent)
            if parent.started > process.started:
                return None
            process = parent
        is_same_runner = look_at(self._runner.pid).started == self._runner.started
        return process if is_same_runner else None

    def _remember(self, key: tuple[int, int], step: str | None) -> None:
        self._ids[key] = step
        if len(self._ids) > MAX_REMEMBERED:
            self._ids.popitem(last=False)


def _id_of(top: Process) -> str | None:
    """Return what the environment that a process was started with says, if it says one thing."""
    found = {line for line in environ(top.pid) if line.startswith(_ID)}
    if len(found) != 1 or look_at(top.pid).started != top.started:
        return None
    return found.pop().removeprefix(_ID).decode(errors="replace") or None


def find_runner() -> int | None:
    """Return the pid of the runner: of our ancestors the nearest that is of no step.

    `None` if that cannot be told, or if we are not in a step.
    """
    try:
        if _OF_A_STEP not in environ(os.getpid()):
            return None
        process = look_at(os.getpid())
        while process.parent:
            if _OF_A_STEP not in environ(process.parent):
                return process.parent
            process = look_at(process.parent)
    except OSError:
        return None
    return None


def descends_from(ancestor: int) -> bool:
    """Whether we are below the process `ancestor`."""
    try:
        pid = os.getpid()
        while pid not in {0, ancestor}:
            pid = look_at(pid).parent
    except OSError:
        return False
    return pid == ancestor and pid != os.getpid()
