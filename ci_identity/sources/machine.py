"""Tokens by which a cloud vouches for a machine or an account of its own: never for one CI job.

No source here asks a metadata endpoint: every process of the machine could. Such a token is handed
over in `CI_IDENTITY_TOKEN_FILE` or `CI_IDENTITY_TOKEN`, and taken only for a grant that says
`source: machine`.
"""

from collections.abc import Mapping
from pathlib import Path

from ci_identity._record import Record, field, replace
from ci_identity.errors import IdTokenMissingError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.subject_token import Clock, utc_now
from ci_identity.sources.token_file import (
    FILE_VARIABLE,
    VARIABLE,
    TokenFileSource,
    TokenVariableSource,
)

DIALECT = Dialect(
    ci=SourceName.MACHINE,
    mark="`iss` is Google's, Entra's or AWS STS's own",
    is_workload=True,
)


class MachineSource(Record):
    """A machine's token that was handed over in a file or a variable."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.MACHINE

    def fetch(self, audience: str | None) -> SubjectToken:
        """Return the token.

        Raises:
            IdTokenMissingError: none was handed over.
            TokenFileError: the file that is named cannot be read.
            MalformedTokenError, AudienceError, ExpiredTokenError: the token cannot be used.
        """
        if path := self.environ.get(FILE_VARIABLE):
            found = TokenFileSource(Path(path), now=self.now).fetch(audience)
            return replace(found, source=self.name)
        if handed := TokenVariableSource(self.environ, now=self.now).fetch(audience):
            return replace(handed, source=self.name)
        message = f"no token of the machine was handed over: no {FILE_VARIABLE} and no {VARIABLE}"
        raise IdTokenMissingError(
            message,
            cause="no source of ours asks a machine's metadata endpoint",
            hint=f"ask it in the job, for the grant's audience, and set {VARIABLE}",
        )
