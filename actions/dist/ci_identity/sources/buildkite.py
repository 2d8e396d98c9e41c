"""Buildkite: the job's agent is asked for an id token, for any audience.

buildkite.com/docs/agent/cli/reference/oidc; buildkite/agent, clicommand/oidc_request_token.go. The
agent redacts the token in the log by itself (from 3.104), and gives none if it cannot.
Read, not run.
"""

from collections.abc import Mapping

from ci_identity._record import Record, field
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources.actions import PROBE_AUDIENCE
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, read, utc_now
from ci_identity.sources.token_command import run

AGENT = "buildkite-agent"
LIFETIME = 300
"""Seconds of the token: Buildkite's own default, asked for so that it stays."""

DIALECT = Dialect(
    ci=SourceName.BUILDKITE,
    mark="`pipeline_slug`",
    fields={
        "repository_id": ("pipeline_id",),
        "ref": ("build_branch",),
        "job": ("job_id",),
        "event": ("build_source",),
    },
    joined={
        "repository": ("organization_slug", "pipeline_slug"),
        "run": ("build_number",),
    },
    forks="by `BUILDKITE_PULL_REQUEST_REPO` and `BUILDKITE_REPO`; no claim tells",
)


class BuildkiteSource(Record):
    """The id token of a Buildkite job."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.BUILDKITE

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return a new token for `audience`, or `None` outside Buildkite.

        Raises:
            TokenCommandError: the agent gave none.
            MalformedTokenError, AudienceError, ExpiredTokenError: it gave one that cannot be used.
        """
        if not is_on(SourceName.BUILDKITE, self.environ):
            return None
        asked = PROBE_AUDIENCE if audience is None else audience
        # With `=`, an audience that begins with `-` is still an audience.
        words = ("oidc", "request-token", f"--audience={asked}", f"--lifetime={LIFETIME}")
        token = run((AGENT, *words), self.environ)
        origin = f"what {AGENT} prints"
        return SubjectToken(
            token=token,
            claims=read(token, origin=origin, audience=asked, now=self.now()),
            source=self.name,
            fork=_fork(self.environ),
        )


def _fork(environ: Mapping[str, str]) -> bool | None:
    # buildkite.com/docs/pipelines/environment-variables: "false", or a number and its repository.
    if environ.get("BUILDKITE_PULL_REQUEST") == "false":
        return False
    base, head = environ.get("BUILDKITE_REPO"), environ.get("BUILDKITE_PULL_REQUEST_REPO")
    return _path(base) != _path(head) if base and head else None


def _path(address: str) -> str:
    """Return OWNER/NAME of a repository's address, however it is written."""
    return "/".join(address.removesuffix(".git").replace(":", "/").split("/")[-2:]).lower()
