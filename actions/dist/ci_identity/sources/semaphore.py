"""Semaphore: one id token for each job, in a variable, for the organization itself.

docs.semaphore.io/reference/openid. Read, not run.
"""

from collections.abc import Mapping

from ci_identity._record import Record, field, replace
from ci_identity.model import SourceName, SubjectToken, UnverifiedClaims
from ci_identity.sources.dialect import Dialect, text
from ci_identity.sources.handed_over import HandOver
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, utc_now


def _fork_by_claims(claims: UnverifiedClaims) -> bool | None:
    return False if text(claims, "ref_type") in {"branch", "tag"} else None


DIALECT = Dialect(
    ci=SourceName.SEMAPHORE,
    mark="`prj_id` and `wf_id`",
    fields={
        "repository": ("repo_slug", "repo"),
        "repository_id": ("prj_id",),
        "ref": ("ref",),
        "run": ("wf_id",),
        "job": ("job_id",),
        "event": ("trg",),
    },
    fork=_fork_by_claims,
    forks=(
        "no if `ref_type` is `branch` or `tag`; else by `SEMAPHORE_GIT_PR_SLUG` and "
        "`SEMAPHORE_GIT_REPO_SLUG`"
    ),
    debug=lambda claims: (text(claims, "job_type") or "pipeline_job") != "pipeline_job",
    debugs="`job_type` is another than `pipeline_job`",
)
_VARIABLE = HandOver(
    ci=SourceName.SEMAPHORE,
    variables=("SEMAPHORE_OIDC_TOKEN",),
    missing="the organization's plan has no id tokens, or another step has taken the variable away",
    add="see docs.semaphore.io/using-semaphore/openid",
    audience=(
        "Semaphore's tokens are for https://ORGANIZATION.semaphoreci.com and for nobody else: "
        "write that as the grant's `audience`"
    ),
)


class SemaphoreSource(Record):
    """The id token of a Semaphore job."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.SEMAPHORE

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the job's token, or `None` outside Semaphore.

        Raises:
            IdTokenMissingError, AudienceError, MalformedTokenError, ExpiredTokenError: see
                `HandOver.receive`.
        """
        if not is_on(SourceName.SEMAPHORE, self.environ):
            return None
        found = _VARIABLE.receive(self.environ, audience, now=self.now)
        return replace(found, fork=_fork_by_variables(self.environ))


def _fork_by_variables(environ: Mapping[str, str]) -> bool | None:
    head, base = environ.get("SEMAPHORE_GIT_PR_SLUG"), environ.get("SEMAPHORE_GIT_REPO_SLUG")
    return head.lower() != base.lower() if head and base else None
