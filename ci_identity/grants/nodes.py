"""The tree that a grants file is read into: text and line numbers, and nothing else."""

from collections.abc import Mapping
from typing import Never

from ci_identity._record import Record
from ci_identity.errors import GrantsFileError


class Place(Record):
    """Where something stands: the file, the line (from 1) and the keys that lead to it."""

    file: str
    line: int
    keys: tuple[str, ...] = ()

    def refuse(self, problem: str, *, hint: str | None = None) -> Never:
        """Raise the error for what is wrong here.

        `problem` quotes no value: it may be a secret that somebody pasted into the wrong file.

        Raises:
            GrantsFileError: always.
        """
        match self.keys:
            case ("grants", grant, *keys):
                where = f"grant `{grant}`: " + (f"`{'.'.join(keys)}` " if keys else "")
            case ():
                where = ""
            case keys:
                where = f"`{'.'.join(keys)}` "
        message = f"{self.file}:{self.line}: {where}{problem}"
        raise GrantsFileError(message, hint=hint) from None


class Scalar(Record):
    """One value, as it is written: `true`, `1_000` and `2026-01-01` are text."""

    place: Place
    text: str


class Sequence(Record):
    """A list of nodes."""

    place: Place
    items: "tuple[Node, ...]"


class Table(Record):
    """Nodes by key. The place of each is the line of its key."""

    place: Place
    entries: "Mapping[str, Node]"


Node = Scalar | Sequence | Table
