"""From the child's output to ours: redacted, whole, and never in anybody's way."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ci_identity.redaction.relay import Relay
from ci_identity.redaction.stream import Redactor

SECRET = "correct-horse-battery"


class Pipe:
    """A pipe whose ends can be closed once each."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def close(self) -> None:
        for end in (self.reader, self.writer):
            if end >= 0:
                os.close(end)

    def close_writer(self) -> None:
        os.close(self.writer)
        self.writer = -1

    def close_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Where our output goes."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def started(sink: int, done: threading.Event | None = None) -> tuple[Relay, int]:
    """A running relay, and the end that the child has."""
    source, child = os.pipe()
    relay = Relay(Redactor([SECRET]), source, sink, done=(done or threading.Event()).set)
    relay.start()
    return relay, child


def fill(child: int, relay: Relay, sink: int) -> None:
    """Write until no pipe takes any more and the relay waits for its reader."""
    os.set_blocking(child, False)
    room = select.poll()
    for pipe in (child, sink):
        room.register(pipe, select.POLLOUT)
    is_stuck = 0
    for _ in range(500):
        while room.poll(0):
            is_stuck = 0
            with suppress(BlockingIOError):
                os.write(child, bytes(1 << 16))
        time.sleep(0.02)
        is_stuck = is_stuck + 1 if relay.silence == 0.0 else 0
        if is_stuck > 5:  # and it has not taken another piece meanwhile
            return
    pytest.fail("the relay does not say that it waits for its reader")


def test_secrets_are_masked_across_writes(pipe: Pipe) -> None:
    """What comes in pieces goes out masked, all of it, and the end is told."""
    done = threading.Event()
    relay, child = started(pipe.writer, done)
    for piece in (b"it is correct-hor", b"se-battery, yes", b" and corr"):
        os.write(child, piece)
    os.close(child)
    assert done.wait(10)
    relay.stop(timeout=10)
    assert not relay.is_running
    assert os.read(pipe.reader, 1000) == b"it is [MASKED], yes and corr"
    assert relay.problem is None


def test_beginning_of_a_secret_at_the_end_is_masked(pipe: Pipe) -> None:
    """A child that dies in the middle of a secret shows none of it."""
    relay, child = started(pipe.writer)
    os.write(child, b"it is correct-horse")
    os.close(child)
    relay.stop(timeout=10)
    assert os.read(pipe.reader, 1000) == b"it is [MASKED]"


def test_lines_are_not_held_back(pipe: Pipe) -> None:
    """What cannot become a secret any more is shown at once, while the child goes on."""
    relay, child = started(pipe.writer)
    os.write(child, b"password: ")
    assert os.read(pipe.reader, 1000) == b"password: "
    assert relay.is_running
    os.close(child)
    relay.stop(timeout=10)


def test_reader_that_has_gone(pipe: Pipe) -> None:
    """Without a reader the relay ends, which is no problem, and the child learns it by EPIPE."""
    done = threading.Event()
    relay, child = started(pipe.writer, done)
    pipe.close_reader()
    os.write(child, b"line\n")
    assert done.wait(10)
    with pytest.raises(BrokenPipeError):
        os.write(child, b"line\n")
    os.close(child)
    assert relay.problem is None


def test_full_device() -> None:
    """Output that cannot be written ends the relay, which says why."""
    done = threading.Event()
    full = os.open("/dev/full", os.O_WRONLY)
    relay, child = started(full, done)
    os.write(child, b"line\n")
    assert done.wait(10)
    os.close(child)
    os.close(full)
    assert relay.problem == "No space left on device"


def test_a_redactor_that_fails(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, nothing is shown unredacted, and that output was lost is said."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Redactor, "feed", fail)
    done = threading.Event()
    relay, child = started(pipe.writer, done)
    os.write(child, SECRET.encode())
    assert done.wait(10)
    os.close(child)
    pipe.close_writer()
    assert os.read(pipe.reader, 100) == b""
    assert relay.problem == "the redactor failed (MemoryError)"


def test_non_blocking_output(pipe: Pipe) -> None:
    """An output that is non-blocking gets everything, however slow its reader is."""
    os.set_blocking(pipe.writer, False)
    relay, child = started(pipe.writer)
    size, got = 3 << 20, 0
    writer = threading.Thread(target=os.write, args=(child, bytes(size)))
    writer.start()
    while got < size:
        got += len(os.read(pipe.reader, 1 << 12))
    writer.join()
    os.close(child)
    relay.stop(timeout=10)
    assert got == size
    assert not os.get_blocking(pipe.writer)


def test_silence_is_the_childs_not_the_readers(pipe: Pipe) -> None:
    """While our reader lets us wait, the child does not count as silent."""
    relay, child = started(pipe.writer)
    fill(child, relay, pipe.writer)
    assert relay.silence == 0.0
    os.close(child)
    os.set_blocking(pipe.reader, False)
    while relay.is_running:
        with suppress(BlockingIOError):
            os.read(pipe.reader, 1 << 20)
    assert relay.silence > 0.0


def test_stop_does_not_wait_for_a_stuck_reader(pipe: Pipe) -> None:
    """Told to stop, the relay lets us go on although its reader does not read."""
    relay, child = started(pipe.writer)
    fill(child, relay, pipe.writer)
    relay.stop(timeout=0.01)
    assert relay.is_running
    pipe.close_reader()
    relay.stop(timeout=10)
    os.close(child)
    assert not relay.is_running


def test_stop_ends_a_silent_relay(pipe: Pipe) -> None:
    """Told to stop, the relay ends although a stray still holds the child's end."""
    relay, child = started(pipe.writer)
    relay.stop(timeout=10)
    assert not relay.is_running
    os.close(child)


def test_abort_closes_our_end(pipe: Pipe) -> None:
    """A relay whose child could not be started leaves no descriptor open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    source, child = os.pipe()
    Relay(Redactor([SECRET]), source, pipe.writer, done=lambda: None).abort()
    os.close(child)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
