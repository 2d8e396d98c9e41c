"""Compiles on first use what an agent needs last, in the process that only waits for it.

Where the package has never run, as on every new runner, half of the start is spent compiling it.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Self

import ci_identity

LAST = (
    "session",
    "redaction.mask",
    "redaction.needles",
    "recording",
    "ledger.writer",
    "ledger.entry",
    "renewal",
    "grants.decide",
    "delivery.offers",
    "delivery.handover",
    "delivery.environ",
    "clients",
    "sources.actions",
    "_answer",
    "_call",
    "_http",
    "_wire",
    "_network",
)
"""Modules of the package, the one that is needed last first."""


class Ahead:
    """A thread that compiles `names`, one after the other; what is compiled stays as it is.

    Args:
        folder: the package's folder.
        names: its modules.
    """

    def __init__(
        self, folder: Path = Path(ci_identity.__file__).parent, names: Sequence[str] = LAST
    ) -> None:
        self._files = {
            f"{ci_identity.__name__}.{name}": str(folder / f"{name.replace('.', '/')}.py")
            for name in names
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # no more threads: slower, that is all
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after the module that is under way: none is left half written."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait until nothing is left to do."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        for name, file in self._files.items():
            if self._stop.is_set():
                return
            with suppress(OSError):
                SourceFileLoader(name, file).get_code(name)
