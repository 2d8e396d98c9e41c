"""What the environment may steer: read once, checked, and said aloud where it comes from it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ci_identity._record import Record
from ci_identity.errors import StateError

GRANTS_FILES = (".ci-identity.yml", ".github/ci-identity.yml")
VARIABLES = (
    "CI_IDENTITY_GRANTS",
    "CI_IDENTITY_STATE_DIR",
    "CI_IDENTITY_LEDGER",
    "CI_IDENTITY_TOKEN_FILE",
)


class Settings(Record):
    """Where we look and where we write.

    Attributes:
        grants: the grants file that the environment names, if any (`CI_IDENTITY_GRANTS`).
        state_dir: our folder for what must outlive a call (`CI_IDENTITY_STATE_DIR`).
        ledger: the ledger file (`CI_IDENTITY_LEDGER`).
        variables: the names of our variables that are set; an earlier step may have set them.
    """

    grants: Path | None
    state_dir: Path
    ledger: Path
    variables: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings of the design's section 6 from `environ`."""
        state_dir = _state_dir(environ)
        grants = environ.get("CI_IDENTITY_GRANTS")
        ledger = environ.get("CI_IDENTITY_LEDGER")
        return cls(
            grants=Path(grants) if grants else None,
            state_dir=state_dir,
            ledger=Path(ledger) if ledger else state_dir / "ledger.jsonl",
            variables=tuple(name for name in VARIABLES if environ.get(name)),
        )


def _state_dir(environ: Mapping[str, str]) -> Path:
    if named := environ.get("CI_IDENTITY_STATE_DIR"):
        return Path(named)
    for variable in ("RUNNER_TEMP", "XDG_RUNTIME_DIR"):
        if base := environ.get(variable):
            return Path(base) / "ci-identity"
    import tempfile  # noqa: PLC0415  # no runner comes this far

    return Path(tempfile.gettempdir()) / f"ci-identity-{os.getuid()}"


def private_directory(path: Path) -> Path:
    """Make `path` (and its parents) if need be, and return it if only we can write to it.

    Raises:
        StateError: it is a link, belongs to another user, or others may write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except (OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is too deep"
        message = f"cannot use the folder {path}: {reason}"
        raise StateError(message) from None
    is_ours = path.is_dir() and not path.is_symlink() and found.st_uid == os.getuid()
    if not is_ours or found.st_mode & 0o022:
        message = f"cannot use the folder {path}: it is not a folder that only this user can write"
        raise StateError(message)
    return path


def remove_folder(path: Path) -> None:
    """Remove a folder of ours and all that is in it, following no link; what cannot go stays."""
    with suppress(OSError):
        for _, folders, files, opened in os.fwalk(path, topdown=False):
            for name in (*folders, *files):
                _remove(name, opened)
        path.rmdir()


def _remove(name: str, folder: int) -> None:
    for remove in (os.rmdir, os.unlink):  # a link to a folder is a folder to `fwalk`
        with suppress(OSError):
            remove(name, dir_fd=folder)
            return
