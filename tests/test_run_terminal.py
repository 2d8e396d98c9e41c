"""`exec` where our stdout is a terminal: the child has one too, and its output is redacted."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest

from ci_identity.sandbox.world import GRANT, World

EXEC = (sys.executable, "-I", "-m", "ci_identity", "exec", "-q", "--grant", GRANT)
WAIT = 60.0


class Person:
    """Somebody at a terminal of 33 by 77, who runs a script under `exec` there.

    `stdin` is where the script's input comes from if not from the keys. On GitLab, so that no
    `::add-mask::` is on the screen.
    """

    def __init__(self, world: World, script: str, *, stdin: int | None = None) -> None:
        self.seen = b""
        self.master, slave = os.openpty()
        self.resize(33, 77)
        session = ["setsid", "--ctty"] if stdin is None else ["setsid"]
        self.process = subprocess.Popen(
            [*session, *EXEC, "--", "bash", "-c", script],
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **world.environ("gitlab")},
            stdin=slave if stdin is None else stdin,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Make the window another size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Press these keys."""
        os.write(self.master, keys)

    def watch(self, until: Callable[[], bool]) -> None:
        """Look at the screen until something is so, or nobody has the terminal open any more."""
        deadline = time.monotonic() + WAIT
        while not until() and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 1 << 16)
                except OSError:
                    return

    def wait_for(self, text: bytes) -> None:
        """Wait until the screen shows `text`."""
        self.watch(lambda: text in self.seen)
        assert text in self.seen

    def leave(self) -> tuple[int, bytes]:
        """Wait for the end; return the exit code (-N for signal N) and what was on the screen."""
        self.watch(lambda: False)
        os.close(self.master)
        return self.process.wait(WAIT), self.seen


def test_the_child_has_a_terminal_of_its_own(world: World) -> None:
    """All three streams are a terminal of our size, and not ours; its output is redacted."""
    script = "test -t 0 && test -t 1 && test -t 2 && stty size; echo $DB_PASSWORD; exit 5"
    assert Person(world, script).leave() == (5, b"33 77\r\n[MASKED]\r\n")


def test_what_is_typed_reaches_the_child(world: World) -> None:
    """Keys go to the child, whose terminal shows them, as one without us would."""
    person = Person(world, "echo ready; read line; echo got $line")
    person.wait_for(b"ready")
    person.press(b"hello\r")
    assert person.leave() == (0, b"ready\r\nhello\r\ngot hello\r\n")


def test_a_typed_secret_is_not_shown(world: World) -> None:
    """Its echo is output like any other."""
    password = world.secrets["password"].reveal().encode()
    person = Person(world, "echo ready; read line; echo done")
    person.wait_for(b"ready")
    person.press(password + b"\r")
    assert person.leave() == (0, b"ready\r\n[MASKED]\r\ndone\r\n")


@pytest.mark.parametrize(
    ("trap", "code"), [("true", -2), ("trap 'exit 9' INT", 9)], ids=["dies", "trapped"]
)
def test_interrupt_key_is_the_childs(world: World, trap: str, code: int) -> None:
    """^C interrupts the child, once; how it ends is how we end."""
    person = Person(world, f"{trap}; echo ready; while :; do sleep 0.05; done")
    person.wait_for(b"ready")
    person.press(b"\x03")
    assert person.leave()[0] == code


def test_a_signal_to_us_reaches_the_child(world: World) -> None:
    """The child is in a session of its own, and is told all the same."""
    person = Person(world, "echo ready; exec sleep 60")
    person.wait_for(b"ready")
    person.process.terminate()
    assert person.leave()[0] == -15


def test_the_window_changes_its_size(world: World) -> None:
    """The child's terminal follows ours, and the child is told."""
    person = Person(
        world, "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done"
    )
    person.wait_for(b"ready")
    person.resize(20, 50)
    assert person.leave() == (3, b"ready\r\n20 50\r\n")


def test_input_from_elsewhere_is_inherited(world: World) -> None:
    """A pipe stays a pipe: no line of it is cut by a terminal, and none is echoed."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as source:
        source.write(b"x" * 20_000 + b"\n")
    person = Person(world, "test -t 1 && wc -c", stdin=reading)
    os.close(reading)
    assert person.leave() == (0, b"20001\r\n")


def test_our_terminal_is_left_as_it_was(world: World) -> None:
    """Keys are shown and lines are edited again afterwards."""
    person = Person(world, "echo ready; read line")
    before = termios.tcgetattr(person.master)
    person.wait_for(b"ready")
    assert termios.tcgetattr(person.master) != before
    person.press(b"\r")
    person.process.wait(WAIT)
    assert termios.tcgetattr(person.master) == before
    os.close(person.master)


@pytest.mark.parametrize(
    ("flag", "shown"), [("--tty", b"a terminal\n"), ("--no-tty", b"a pipe\n"), (None, b"a pipe\n")]
)
def test_a_terminal_can_be_asked_for(world: World, flag: str | None, shown: bytes) -> None:
    """`--tty` gives one where ours is none, and its line ends are left alone."""
    script = "test -t 1 && echo a terminal || echo a pipe"
    done = subprocess.run(
        [*EXEC, *([flag] if flag else []), "--", "sh", "-c", script],
        env={"PATH": os.environ["PATH"], **world.environ("gitlab")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=WAIT,
        check=True,
    )
    assert done.stdout == shown
