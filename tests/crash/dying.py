"""Runs a command of ci-identity in this process, and kills that at one point of its work.

    python -B dying.py LOG POINT WORD...

A point lies after an effect: half or all of a ledger's entry is written, a request is sent, its
answer has come and nothing is done with it, a server listens, takes a client, has answered it or
stops, a program is started, a file is made, is in its place or removed, somebody is told that we
are ready. They are seen from outside, as what the interpreter calls (`sys.setprofile`): nothing in
the package knows of this. Each is told to LOG when it is passed; POINT, `name #2` for the second of
a name, is the last one.
"""

import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

SENDS = {"send", "sendall", "sendmsg", "write"}  # the last one, and `read`, of TLS
RECEIVES = {"recv", "recv_into", "read"}
CHANGES = {"mkdir", "unlink", "remove", "rmdir", "rename", "posix_spawn", "setsid", "chdir"}
CHANGES |= {"listen", "_accept", "shutdown"}  # of a socket
SAYS = {("send", "_write"), ("write", "_leave")}  # to a client; that the agent is ready
REQUEST = re.compile(rb"(GET|POST|PUT|DELETE|LIST) (\S+) HTTP/")
LEASE = re.compile("[0-9a-f]{16}")
EVENT = re.compile(rb'"event":"([a-z]+)"')


class Watch:
    """Sees every call into C, of every thread."""

    def __init__(self, log: Path, last: str) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._last = last
        self._seen: Counter[str] = Counter()
        self._asked: dict[int, str] = {}  # by the descriptor that it was sent on
        self._lock = threading.RLock()

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            self._before(function.__name__, frame)
        elif event == "c_return":
            self._after(function, frame)

    def _before(self, name: str, frame: FrameType) -> None:
        if name == "write" and frame.f_code.co_filename.endswith("writer.py"):
            self._at_entry(frame.f_locals)
        elif _is_of_path(name, frame):
            self._pass(f"aside: {Path(frame.f_locals['target']).name}")

    def _after(self, function: Any, frame: FrameType) -> None:
        name, within = function.__name__, frame.f_code.co_name
        if name == "fdatasync":
            self._pass(f"written: {_event(frame.f_locals['line'])}")
        elif _is_of_path(name, frame):
            self._pass(f"in place: {Path(frame.f_locals['target']).name}")
        elif (name, within) in SAYS:
            self._pass(f"said in {within}")
        elif name in SENDS | RECEIVES:
            if peer := _socket(function.__self__, frame):
                (self._at_sent if name in SENDS else self._at_answer)(peer.fileno(), frame)
        elif name in CHANGES and _is_ours(frame):
            self._pass(f"{name} in {within}")

    def _at_entry(self, names: dict[str, Any]) -> None:
        fd, line = names["fd"], names["line"]
        self._pass(f"half written: {_event(line)}", lambda: os.write(fd, line[: len(line) // 2]))

    def _at_sent(self, fd: int, frame: FrameType) -> None:
        if found := _request(frame):
            self._asked[fd] = found
        if fd in self._asked:
            self._pass(f"sent: {self._asked[fd]}")

    def _at_answer(self, fd: int, _: FrameType) -> None:
        if asked := self._asked.pop(fd, ""):
            self._pass(f"answered: {asked}")

    def _pass(self, name: str, just_before: Any = lambda: None) -> None:
        with self._lock:
            self._seen[name] += 1
            point = f"{name} #{self._seen[name]}"
            os.write(self._log, f"{point}\n".encode())
            if point == self._last:
                just_before()
                os.kill(os.getpid(), signal.SIGKILL)


def _event(line: bytes) -> str:
    found = EVENT.search(line)
    return found[1].decode() if found else "?"


def _is_of_path(name: str, frame: FrameType) -> bool:
    """Whether a file takes the place of another; a text has such a method, too."""
    return name == "replace" == frame.f_code.co_name


def _socket(of: object, frame: FrameType) -> socket.socket | None:
    """Return the socket whose method is called, or under TLS the one of who calls."""
    if type(of).__name__ == "_SSLSocket":
        of = frame.f_locals.get("self")
    return of if isinstance(of, socket.socket) else None


def _request(frame: FrameType) -> str | None:
    """Return the request in what the caller has in hand, whichever client that is."""
    for value in frame.f_locals.values():
        is_data = isinstance(value, bytes | bytearray | memoryview)
        if is_data and (found := REQUEST.match(bytes(value[:4096]))):
            path = found[2].decode().partition("?")[0]
            return f"{found[1].decode()} {LEASE.sub('LEASE', path)}"
    return None


def _is_ours(frame: FrameType | None) -> bool:
    while frame:
        if "/ci_identity/" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    from ci_identity.cli import whole_process

    log, last, *sys.argv[1:] = sys.argv[1:]
    watch = Watch(Path(log), last)
    threading.setprofile(watch)
    sys.setprofile(watch)
    whole_process()
