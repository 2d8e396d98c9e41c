"""A token handed over by hand, in a file or in a variable: other CIs, pods, a local try.

Nothing here knows which step runs or whether it is a debug run: the claims are all there is.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ci_identity._record import Record, field
from ci_identity.errors import TokenFileError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import Clock, read, utc_now

MAX_FILE = 64 << 10
"""Bytes of a token file that we read."""

VARIABLE = "CI_IDENTITY_TOKEN"
FILE_VARIABLE = "CI_IDENTITY_TOKEN_FILE"


class TokenFileSource(Record):
    """A file that holds a token and may be written anew, as a kubelet does for its pods."""

    path: Path = field(kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.TOKEN_FILE

    def fetch(self, audience: str | None) -> SubjectToken:
        """Read the file again and return its token.

        Raises:
            TokenFileError: it is not a regular file of at most `MAX_FILE` bytes that we can read,
                or everybody may write to it.
            MalformedTokenError, AudienceError, ExpiredTokenError: its token cannot be used.
        """
        token = Secret(_read_text(self.path))
        claims = read(token, origin=f"the token in {self.path}", audience=audience, now=self.now())
        return SubjectToken(token=token, claims=claims, source=self.name)


class TokenVariableSource(Record):
    """The token in `CI_IDENTITY_TOKEN`, if there is one."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.TOKEN_VARIABLE

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the variable's token, or `None` if the variable is unset or empty.

        Raises:
            MalformedTokenError, AudienceError, ExpiredTokenError: the token cannot be used.
        """
        if not (value := self.environ.get(VARIABLE)):
            return None
        token = Secret(value.strip())
        claims = read(token, origin=VARIABLE, audience=audience, now=self.now())
        return SubjectToken(token=token, claims=claims, source=self.name)


def _read_text(path: Path) -> str:
    """Return the file's text. Links are followed: a kubelet's path is a chain of them."""
    try:
        # Without O_NONBLOCK a named pipe would hold us here before we can see what it is.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _unusable(path, "it is not a regular file")
            if found.st_mode & stat.S_IWOTH:
                raise _unusable(path, "everybody may write to it")
            body = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be opened") from None
    if not body.strip():
        raise _unusable(path, "it is empty")
    if len(body) > MAX_FILE:
        raise _unusable(path, f"it is larger than {MAX_FILE} bytes")
    return body.decode("ascii", errors="replace").strip()


def _unusable(path: Path, reason: str) -> TokenFileError:
    return TokenFileError(f"the token file {path} cannot be used: {reason}")
