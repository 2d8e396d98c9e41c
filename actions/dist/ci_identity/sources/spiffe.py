"""SPIFFE: a JWT-SVID from the Workload API, which names a workload and no CI job.

SPIFFE_Workload_API.md and JWT-SVID.md of spiffe/spiffe. Taken only for a grant that says
`source: spiffe`; the library (the extra `spiffe`) is imported only then.
"""

from collections.abc import Mapping

from ci_identity._record import Record, field
from ci_identity.errors import MalformedTokenError, MissingDependencyError, TokenRequestError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.secret import Secret
from ci_identity.sources.actions import PROBE_AUDIENCE
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.endpoint import MINT_BUDGET
from ci_identity.sources.subject_token import Clock, read, utc_now

SOCKET = "SPIFFE_ENDPOINT_SOCKET"
_ORIGIN = "the JWT-SVID from the Workload API"

DIALECT = Dialect(
    ci=SourceName.SPIFFE,
    mark="`sub` begins with `spiffe://`",
    is_workload=True,
)


class SpiffeSource(Record):
    """The JWT-SVID of this workload."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.SPIFFE

    def fetch(self, audience: str | None) -> SubjectToken:
        """Return a JWT-SVID for `audience`, of the workload's default SPIFFE ID.

        Raises:
            TokenRequestError: the Workload API cannot be reached, or knows no such workload.
            MissingDependencyError: the library is not installed.
            MalformedTokenError, AudienceError, ExpiredTokenError: its token cannot be used.
        """
        socket = self.environ.get(SOCKET, "")
        if not socket.startswith("unix:"):
            message = f"{SOCKET} names no Unix socket"
            raise _refused(message)
        asked = PROBE_AUDIENCE if audience is None else audience
        token = _fetch(socket, asked)
        try:
            claims = read(token, origin=_ORIGIN, audience=asked, now=self.now())
        except MalformedTokenError as error:
            hint = "SPIRE puts no `iss` into its tokens unless `jwt_issuer` of the server is set"
            raise MalformedTokenError(str(error), hint=hint) from None
        return SubjectToken(token=token, claims=claims, source=self.name)


def _fetch(socket: str, audience: str) -> Secret:
    try:
        from spiffe import WorkloadApiClient  # noqa: PLC0415  # on demand
        from spiffe.errors import PySpiffeError  # noqa: PLC0415  # on demand
    except ImportError:
        message = "the source spiffe needs the library of that name"
        raise MissingDependencyError(message, hint="pip install 'ci-identity[spiffe]'") from None
    try:
        with WorkloadApiClient(socket_path=socket, default_timeout=MINT_BUDGET) as client:
            return Secret(client.fetch_jwt_svid(audience={audience}).token)
    except PySpiffeError:  # its text may be the agent's own, or hold the token's claims
        message = "the Workload API gave no JWT-SVID"
        raise _refused(message) from None


def _refused(message: str) -> TokenRequestError:
    return TokenRequestError(
        message,
        cause=(
            "the agent is not reached at the socket, has no entry for this workload, or its token "
            "is not one"
        ),
        hint=f"set {SOCKET} to unix:///PATH of the agent's socket; the agent's log says why not",
    )
