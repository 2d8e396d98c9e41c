"""Who asks is found out from the socket, and believed only while it is true."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

import pytest

from ci_identity._record import replace
from ci_identity.delivery import peer, proc, sock_diag
from ci_identity.delivery.peer import Doorway, Peer, Tree, is_available, look_everywhere
from ci_identity.delivery.sock_diag import SocketDiag

HOLDER = """
import os, socket, sys
held = socket.socket()
print(os.fstat(held.fileno()).st_ino, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def diag() -> Iterator[SocketDiag]:
    diag = SocketDiag()
    yield diag
    diag.close()


@pytest.fixture
def holder() -> Iterator[tuple[int, int]]:
    """The pid of another process, and the inode of a socket that it holds."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        process.communicate()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A server that listens, and a client that is connected to it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        yield server, client


def inode_of(held: socket.socket) -> int:
    return os.fstat(held.fileno()).st_ino


# ── sock_diag ────────────────────────────────────────────────────────────────────────────────


def test_socket_at_the_other_end(
    diag: SocketDiag, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The kernel tells inode and user of the client's socket."""
    server, client = pair
    found = diag.find(client.getsockname(), server.getsockname())
    assert found == sock_diag.Owned(inode=inode_of(client), uid=os.getuid())


def test_our_own_end(diag: SocketDiag, pair: tuple[socket.socket, socket.socket]) -> None:
    """The two ends of a connection are told apart."""
    server, client = pair
    with server.accept()[0] as accepted:
        found = diag.find(server.getsockname(), client.getsockname())
        assert found
        assert found.inode == inode_of(accepted)


def test_client_that_has_gone(diag: SocketDiag, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket that nobody has open any more belongs to nobody."""
    server, client = pair
    address = client.getsockname()
    client.close()
    assert diag.find(address, server.getsockname()) is None
    assert diag.find(("127.0.0.1", 1), server.getsockname()) is None


def test_available() -> None:
    """It is tried whether the system can tell, and where these tests run it can."""
    assert is_available()


def test_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without sock_diag is noticed, and nothing can be opened on it."""
    monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", 31)
    assert not is_available()
    with pytest.raises(OSError, match=r".*"):
        SocketDiag()


def test_system_without_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a system that has no such thing at all."""
    monkeypatch.delattr(socket, "AF_NETLINK")
    assert not is_available()


# ── tree ─────────────────────────────────────────────────────────────────────────────────────


def test_process_below(holder: tuple[int, int]) -> None:
    """A process below the root that holds the socket is found, with its name and start."""
    pid, inode = holder
    found = Tree(os.getpid()).owners({inode})
    name = proc.look_at(pid).name
    assert found == {inode: Peer(pid=pid, name=name, started=proc.look_at(pid).started)}


def test_root_itself() -> None:
    """The root is in its tree."""
    with socket.socket() as held:
        found = Tree(os.getpid()).owners({inode_of(held)})
        assert found[inode_of(held)].pid == os.getpid()


def test_several_at_once(holder: tuple[int, int]) -> None:
    """One look answers for every socket, and leaves out what nobody of the tree holds."""
    pid, inode = holder
    with socket.socket() as held:
        found = Tree(os.getpid()).owners({inode, inode_of(held), 1})
        assert {key: one.pid for key, one in found.items()} == {
            inode: pid,
            inode_of(held): os.getpid(),
        }


def test_process_beside(holder: tuple[int, int]) -> None:
    """A process of the same user that is not below the root is not found."""
    pid, _ = holder
    with socket.socket() as held:
        assert Tree(pid).owners({inode_of(held)}) == {}
    assert Tree(pid).owners({0, 1}) == {}


def test_root_that_is_another_process_now(holder: tuple[int, int]) -> None:
    """When the root has ended and its pid has passed to another process, nobody is served."""
    pid, inode = holder
    tree = Tree(pid)
    assert tree.owners({inode})
    tree._root = replace(tree._root, started=tree._root.started - 1)
    assert tree.owners({inode}) == {}


def test_root_that_has_ended() -> None:
    """A tree whose root has ended is empty, and none can be made of it."""
    with subprocess.Popen(["sleep", "300"]) as process:
        tree = Tree(process.pid)
        process.kill()
    with socket.socket() as held:
        assert tree.owners({inode_of(held)}) == {}
    with pytest.raises(FileNotFoundError):
        Tree(process.pid)


def test_pid_that_is_another_process_now(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pid that passes to another process while we look proves nothing."""
    pid, inode = holder
    looks = iter(range(100))

    def look_at(asked: int) -> proc.Process:
        found = proc.look_at(asked)
        return replace(found, started=found.started + next(looks)) if asked == pid else found

    tree = Tree(os.getpid())
    monkeypatch.setattr(peer, "look_at", look_at)
    assert tree.owners({inode}) == {}


def test_parent_that_is_another_process_now(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent that is younger than its child is another process with its pid."""
    pid, inode = holder
    tree = Tree(os.getppid())

    def look_at(asked: int) -> proc.Process:
        found = proc.look_at(asked)
        return replace(found, started=1 << 62) if asked == os.getpid() else found

    assert tree.owners({inode})[inode].pid == pid
    monkeypatch.setattr(peer, "look_at", look_at)
    assert tree.owners({inode}) == {}


def test_process_that_is_being_moved(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the way down misses, while it changes parents, is found all the same."""
    pid, inode = holder
    served = Tree(os.getpid())
    monkeypatch.setattr(peer, "tree", lambda root: [root])
    assert served.owners({inode})[inode].pid == pid


def test_parent_that_ends_meanwhile(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose parent ends while we walk up is in the tree that has adopted it."""
    pid, inode = holder
    served = Tree(os.getpid())
    parents = iter([1 << 30])

    def look_at(asked: int) -> proc.Process:
        found = proc.look_at(asked)
        return replace(found, parent=next(parents, found.parent)) if asked == pid else found

    monkeypatch.setattr(peer, "look_at", look_at)
    monkeypatch.setattr(peer, "pids", list)  # no second chance
    assert served.owners({inode})[inode].pid == pid


# ── everybody ────────────────────────────────────────────────────────────────────────────────


def test_anybody(holder: tuple[int, int]) -> None:
    """For the record, any process that holds the socket is found."""
    pid, inode = holder
    assert look_everywhere({inode})[inode].pid == pid


class Nobody:
    """Serves no process."""

    def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        del inodes
        return {}


def test_flood_of_strangers(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers are named now and then: their number does not keep us busy."""
    server, client = pair
    monkeypatch.setattr(peer, "_REST", 1e9)
    doorway = Doorway(Nobody(), server.getsockname())
    first, second = (doorway.look([client.getsockname()])[0] for _ in range(2))
    doorway.close()
    assert not first.is_served
    assert first.peer.pid == os.getpid()
    assert second.peer == Peer(uid=os.getuid())


def test_another_users_socket(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that another user has made is not served, whoever holds it."""
    server, client = pair
    doorway = Doorway(Tree(os.getpid()), server.getsockname())
    assert doorway.look([client.getsockname()])[0].is_served
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    seen = doorway.look([client.getsockname()])[0]
    doorway.close()
    assert not seen.is_served
    assert (seen.peer.pid, seen.peer.uid) == (os.getpid(), uid)


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (Peer(pid=1, uid=0, name="aws"), "pid 1 uid 0 aws"),
        (Peer(uid=0), "uid 0"),
        (Peer(), "an unknown process"),
    ],
    ids=["known", "user", "unknown"],
)
def test_shown(peer: Peer, shown: str) -> None:
    """A peer is shown as far as it is known."""
    assert str(peer) == shown
