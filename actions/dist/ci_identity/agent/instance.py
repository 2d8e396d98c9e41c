"""The folder of one agent: how it is found, what leads to it, and how it ended. No secret of a
provider is in it: the bearer opens the loopback endpoint alone, to the steps that it serves.
"""  # noqa: D205  # two sentences

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

from ci_identity._record import Record, asdict
from ci_identity.delivery.interface import ADDRESS_FILE, BEARER_FILE
from ci_identity.delivery.proc import look_at
from ci_identity.errors import StateError
from ci_identity.secret import Secret
from ci_identity.settings import private_directory, remove_folder

MAX_FILE = 1 << 20
"""Bytes. What we write there ourselves is far smaller."""

_RECORD, _REPORT, _LOG = "agent.json", "report.json", "log"
_GRANTS = "grants.yml"


class Held(Record):
    """One lease of an agent, as its folder names it.

    Attributes:
        lease: our id of it.
        grant: the grant's name.
        step: one of the steps that may use it, by which the grant can be decided upon again;
            `None` if the grant names none.
    """

    lease: str
    grant: str
    step: str | None = None


class Running(Record):
    """Which process an agent is, and where it writes: enough to stop it, or to end what it left.

    Attributes:
        pid, started: the process; see `Process`.
        ledger: the ledger that it writes to.
        grants: the grants file; `None` before it is known.
        held: its leases.
    """

    pid: int
    started: int
    ledger: str
    grants: str | None = None
    held: tuple[Held, ...] = ()

    @classmethod
    def of_this_process(cls, *, ledger: Path) -> Self:
        """Return the record of the process that calls this, with no lease yet."""
        pid = os.getpid()
        return cls(pid=pid, started=look_at(pid).started, ledger=str(ledger))


class Instance:
    """The folder of one agent, for this user only.

    Args:
        path: where it is, or is to be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def is_there(self) -> bool:
        """Whether the folder is there, and only we can write to it."""
        is_folder = os.path.isdir(self.path)  # noqa: PTH112  # false of what cannot be looked at
        return is_folder and private_directory(self.path) == self.path

    @property
    def bearer_file(self) -> Path:
        """The file with what the endpoint asks for, as SDKs read it."""
        return self.path / BEARER_FILE

    @property
    def log_file(self) -> Path:
        """What the agent has said since it was ready."""
        return self.path / _LOG

    def make(self) -> None:
        """Make the folder.

        Raises:
            StateError: it is there already, or cannot be made.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700)
        except OSError as error:
            message = f"cannot make the agent's folder {self.path}: {error.strerror}"
            hint = "name a folder that is not there yet, one for each agent"
            raise StateError(message, hint=hint) from None

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder, all of it or nothing.

        Raises:
            StateError: that cannot be done.
        """
        part = self.path / f".{name}.{os.urandom(4).hex()}"
        try:
            part.touch(mode=0o600, exist_ok=False)
            part.write_text(text, encoding="utf-8")
            part.replace(self.path / name)
        except OSError as error:
            message = f"cannot write {self.path / name}: {error.strerror}"
            raise StateError(message) from None

    def write_grants(self, text: str) -> str:
        """Keep the grant that was made of the action's inputs, for whoever must end its lease.

        Returns:
            The path of the grants file.
        """
        self.write(_GRANTS, text)
        return str(self.path / _GRANTS)

    def write_record(self, record: Running) -> None:
        """Say which process the agent is."""
        self.write(_RECORD, json.dumps(asdict(record)))

    def write_door(self, address: str, bearer: Secret) -> None:
        """Say where the agent's endpoint is, and what it asks for."""
        self.write(BEARER_FILE, bearer.reveal())
        self.write(ADDRESS_FILE, address)

    def write_report(self, report: Mapping[str, object]) -> None:
        """Say how it ended."""
        self.write(_REPORT, json.dumps(report))

    def record(self) -> Running | None:
        """Return which process the agent is; `None` if that is not there.

        Raises:
            StateError: what is there is none of ours.
        """
        found = self._object(_RECORD)
        if found is None:
            return None
        try:
            held = tuple(Held(**one) for one in found.pop("held"))
            return Running(**found, held=held)
        except (KeyError, TypeError):
            message = f"{self.path / _RECORD} is none that ci-identity wrote"
            raise StateError(message) from None

    def report(self) -> dict[str, Any] | None:
        """Return how the agent ended; `None` if it has not, or could not say."""
        return self._object(_REPORT)

    def door(self) -> tuple[str, Secret] | None:
        """Return the endpoint's address and what it asks for; `None` if there is none."""
        address, bearer = self._text(ADDRESS_FILE), self._text(BEARER_FILE)
        return (address.strip(), Secret(bearer.strip())) if address and bearer else None

    def log(self) -> str:
        """Return what the agent has said since it was ready."""
        return self._text(_LOG) or ""

    def remove(self, *, but_report: bool = False) -> None:
        """Remove the folder; or only what leads to the agent, and leave what tells of it."""
        if not but_report:
            remove_folder(self.path)
            return
        for name in (ADDRESS_FILE, BEARER_FILE):
            with suppress(OSError):
                (self.path / name).unlink()

    def _text(self, name: str) -> str | None:
        try:
            descriptor = os.open(
                self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with os.fdopen(descriptor, "rb") as file:
                return file.read(MAX_FILE).decode("utf-8", "replace")
        except OSError:
            return None

    def _object(self, name: str) -> dict[str, Any] | None:
        text = self._text(name)
        if text is None:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            message = f"{self.path / name} is none that ci-identity wrote"
            raise StateError(message)
        return cast("dict[str, Any]", found)
