"""Bitbucket Pipelines: one id token for each step that says `oidc:`, in a variable.

support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc.
Read, not run.
"""

from collections.abc import Mapping

from ci_identity._record import Record, field
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.handed_over import HandOver
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, utc_now

DIALECT = Dialect(
    ci=SourceName.BITBUCKET,
    mark="`repositoryUuid`",
    fields={
        "repository_id": ("repositoryUuid",),
        "ref": ("branchName",),
        "environment": ("deploymentEnvironmentUuid",),
        "run": ("pipelineUuid",),
        "job": ("stepUuid",),
    },
    # Pipelines run in the repository whose code it is: a fork's name the fork, `repositoryUuid`.
    fork=lambda _: False,
    forks="no: a fork's pipelines are the fork's, with a `repositoryUuid` of its own",
)
_VARIABLE = HandOver(
    ci=SourceName.BITBUCKET,
    variables=("BITBUCKET_STEP_OIDC_TOKEN",),
    missing="the step has no `oidc: true`",
    add="add `oidc: true` to the step in bitbucket-pipelines.yml",
    audience=(
        "write `oidc: {audiences: [AUDIENCE]}` in the step, with the one audience of the grant; "
        "or make the token's audience that of the grant"
    ),
)


class BitbucketSource(Record):
    """The id token of a step of Bitbucket Pipelines."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.BITBUCKET

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the step's token, or `None` outside Bitbucket Pipelines.

        Raises:
            IdTokenMissingError, AudienceError, MalformedTokenError, ExpiredTokenError: see
                `HandOver.receive`.
        """
        if not is_on(SourceName.BITBUCKET, self.environ):
            return None
        return _VARIABLE.receive(self.environ, audience, now=self.now)
