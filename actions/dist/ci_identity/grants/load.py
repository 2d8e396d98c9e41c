"""Finds the grants file and reads it strictly, so that a slip never widens a grant."""

from collections.abc import Mapping
from pathlib import Path

from ci_identity._record import Record
from ci_identity.errors import GrantsFileError, GrantsFileMissingError, UnknownGrantError
from ci_identity.grants.format import FILE
from ci_identity.grants.kinds import nearest
from ci_identity.grants.nodes import Place, Table
from ci_identity.model import Grant
from ci_identity.settings import GRANTS_FILES

MAX_FILE = 1 << 20
"""Bytes. A grant has about 500, so this is some two thousand of them."""


class GrantsFile(Record):
    """The grants of one file, by name, in its order.

    Attributes:
        name: the file, as messages name it.
        grants: never empty.
    """

    name: str
    grants: Mapping[str, Grant]

    def grant(self, name: str) -> Grant:
        """Return the grant called `name`.

        Raises:
            UnknownGrantError: there is none; the message has the nearest name.
        """
        if found := self.grants.get(name):
            return found
        message = f"{self.name} has no grant {name!r}{nearest(name, self.grants)}"
        raise UnknownGrantError(message)


def find(explicit: Path | None, settings_grants: Path | None, cwd: Path) -> Path:
    """Return the path of the grants file.

    Args:
        explicit: what `--grants` names, if it was given.
        settings_grants: what `CI_IDENTITY_GRANTS` names, if it is set.
        cwd: the folder whose `.ci-identity.yml`, then `.github/ci-identity.yml`, come next.

    Raises:
        GrantsFileMissingError: there is none. One that was named is never replaced by another.
    """
    for named, by in ((explicit, "--grants"), (settings_grants, "CI_IDENTITY_GRANTS")):
        if named is not None:
            path = cwd / named
            if _is_file(path):
                return path
            message = f"{named}, named by {by}, is not a file"
            raise GrantsFileMissingError(
                message, cause="the path is misspelt, or relative to another folder"
            )
    candidates = [cwd / name for name in GRANTS_FILES]
    for path in filter(_is_file, candidates):
        return path
    message = f"no grants file; looked for {' and '.join(map(str, candidates))}"
    raise GrantsFileMissingError(message)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a path, or in a folder that is closed to us
        return False


def load(path: Path) -> GrantsFile:
    """Return the grants in the file at `path`.

    Raises:
        GrantsFileMissingError: it cannot be read.
        GrantsFileError: it breaks a rule; the message names the grant, the key and the line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise GrantsFileMissingError(
            message, cause="the file is not there or not readable"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        Place(file=str(path), line=line).refuse("is not UTF-8")
    return parse(text, str(path))


def parse(text: str, name: str) -> GrantsFile:
    """Return the grants in `text`.

    Args:
        text: the content of a grants file.
        name: what messages call it.

    Raises:
        GrantsFileError: it breaks a rule; the message names the grant, the key and the line.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_FILE:
        message = f"{name}: larger than {MAX_FILE} bytes"
        raise GrantsFileError(message)
    from ci_identity.grants.compose import compose  # noqa: PLC0415  # PyYAML, on demand

    root = compose(text, name)
    if isinstance(root, Table) and "version" in root.entries:
        # First of all: what else is wrong in a file of another version is not ours to say.
        FILE.keys["version"].of.read(root.entries["version"])
    return GrantsFile(name=name, grants=FILE.read(root))
