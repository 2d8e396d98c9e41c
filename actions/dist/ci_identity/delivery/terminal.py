"""A terminal of the child's own, where ours is one: what it prints can be redacted on the way."""

import fcntl
import os
import struct
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from select import POLLIN, poll
from typing import Any

ROWS, COLUMNS = 100, 160
"""The size where ours is not known."""

_CHUNK = 1 << 12
_TICK = 100
"""Milliseconds between two looks at whether to stop."""

_INPUT, _OUTPUT, _LOCAL, _CHARACTERS = 0, 1, 3, 6
"""Places in what `termios.tcgetattr` gives."""


class Terminal:
    """A pseudo-terminal: the child has one end, we read and write the other.

    What is typed goes to it if our stdin is a terminal too; else the child inherits stdin, since a
    terminal would cut long lines of it (4,096 bytes in canonical mode) and echo them.

    Attributes:
        name: the path of the child's end.
        slave: the child's end, to be closed when the child has it: what nobody has open is at its
            end.
        master: our end, for whoever reads it to close.
        has_input: whether what is typed goes to it.
    """

    def __init__(self) -> None:
        self.has_input = os.isatty(0)
        self.master, self.slave = os.openpty()
        self._control = os.dup(self.master)  # the number of the other may be another file's by then
        self.name = os.ttyname(self.slave)
        attributes = termios.tcgetattr(self.slave)
        attributes[_OUTPUT] &= ~termios.OPOST  # ours makes line ends of its own
        if not self.has_input:
            attributes[_LOCAL] &= ~termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)
        self.resize()

    def resize(self) -> None:
        """Make it as large as ours."""
        size = struct.pack("4H", ROWS, COLUMNS, 0, 0)
        with suppress(OSError):
            size = fcntl.ioctl(1, termios.TIOCGWINSZ, size)
        fcntl.ioctl(self._control, termios.TIOCSWINSZ, size)

    @contextmanager
    def typing(self) -> Generator[None]:
        """Pass on what is typed, key by key, while entered; ^C is the child's to take, not ours."""
        if not self.has_input:
            yield
            return
        before = termios.tcgetattr(0)
        stop = threading.Event()
        thread = threading.Thread(target=self._type, args=(stop,), name="typing", daemon=True)
        termios.tcsetattr(0, termios.TCSADRAIN, _keys_only(before))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            thread.join()

    def _type(self, stop: threading.Event) -> None:
        waiting = poll()
        waiting.register(0, POLLIN)
        with suppress(OSError):  # the child has gone
            while not stop.is_set():
                if waiting.poll(_TICK):
                    data = os.read(0, _CHUNK)
                    if not data:
                        return
                    os.write(self._control, data)


def _keys_only(attributes: list[Any]) -> list[Any]:
    """Return the attributes of a terminal that gives each key as it is, and shows none.

    The output's stay, unlike in `tty.setraw`: the child's line ends are made into ours there.
    """
    keys = list(attributes)
    keys[_INPUT] &= ~(termios.BRKINT | termios.ICRNL | termios.ISTRIP | termios.IXON)
    keys[_LOCAL] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
    keys[_CHARACTERS] = list(keys[_CHARACTERS])
    keys[_CHARACTERS][termios.VMIN], keys[_CHARACTERS][termios.VTIME] = 1, 0
    return keys
