"""GitLab CI/CD: the id tokens are variables of the job, one for each entry of its `id_tokens:`.

A job cannot ask for another audience at run time, so the one that fits is looked for among them
(docs.gitlab.com/ci/secrets/id_token_authentication).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from ci_identity._record import Record, field
from ci_identity.errors import AudienceError, IdTokenMissingError, MalformedTokenError
from ci_identity.model import SourceName, SubjectToken, UnverifiedClaims
from ci_identity.secret import Secret
from ci_identity.sources.dialect import Dialect, text
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import (
    Clock,
    audiences,
    expires_at,
    parse,
    quoted,
    read,
    utc_now,
)

PREFERRED = "CI_IDENTITY_TOKEN"
_NOT_ID_TOKENS = ("CI_JOB_TOKEN", "CI_JOB_JWT")
"""GitLab's own tokens, by the start of their names: not made for others, or no longer."""

# ── claims: docs.gitlab.com, "ID tokens"; gitlab-org/gitlab, lib/gitlab/ci/jwt.rb ────────────────

_PIPELINE_SOURCES = {
    "api",
    "chat",
    "merge_request_event",
    "parent_pipeline",
    "pipeline",
    "push",
    "schedule",
    "security_orchestration_policy",
    "trigger",
    "web",
    "webide",
}
"""Sources of pipelines whose code is in a project of this GitLab. `external_pull_request_event` is
not here: its pull request is GitHub's, where we cannot see a fork."""

_MERGE_REQUEST_SOURCES = {"merge_request_event", "parent_pipeline"}
"""A child pipeline keeps the merge request of its parent."""


def _fork(claims: UnverifiedClaims) -> bool | None:
    # `project_id` is the project the code comes from since 18.2.2, when the same claims could no
    # longer pass a fork's code for the project's own (gitlab#548165); `job_project_id` is the one
    # that the job runs in, since 18.4 (gitlab#563038). They differ for forks only.
    code, job = text(claims, "project_id"), text(claims, "job_project_id")
    if code and job and code != job:
        return True
    event = text(claims, "pipeline_source")
    if event not in _PIPELINE_SOURCES or not code:
        return None
    ref_path = text(claims, "ref_path") or ""
    is_merge_request = event in _MERGE_REQUEST_SOURCES or ref_path.startswith(
        "refs/merge-requests/"
    )
    return None if is_merge_request and not job else False


DIALECT = Dialect(
    ci=SourceName.GITLAB,
    mark="`project_path`",
    fields={
        "repository": ("job_project_path", "project_path"),
        "repository_id": ("job_project_id", "project_id"),
        "ref": ("ref",),
        "environment": ("environment",),
        "run": ("pipeline_id",),
        "job": ("job_id",),
        "event": ("pipeline_source",),
        "actor": ("user_login",),
    },
    fork=_fork,
    forks="yes if `project_id` is not `job_project_id`; no for pipelines of the project's own code",
    debugs="by `CI_DEBUG_TRACE` and `CI_DEBUG_SERVICES`",
)


class GitLabSource(Record):
    """The id tokens of a GitLab job, whatever the job named them."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.GITLAB

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the job's token for `audience`, or `None` outside GitLab.

        `CI_IDENTITY_TOKEN` is taken if it fits, else the variable with this audience alone, else
        the one that lives longest.

        Raises:
            IdTokenMissingError: no variable has a token with this audience.
            AudienceError: nor has `CI_IDENTITY_TOKEN`, which is there.
            MalformedTokenError: `CI_IDENTITY_TOKEN` is there, but is not a token.
            ExpiredTokenError: the token has ended.
        """
        if not is_on(SourceName.GITLAB, self.environ):
            return None
        if preferred := self.environ.get(PREFERRED):
            parse(Secret(preferred), origin=PREFERRED)
        found = dict(self._id_tokens())
        fitting = [
            name
            for name, claims in found.items()
            if audience is None or audience in _audiences(claims)
        ]
        if not fitting:
            raise _missing(audience, found)
        best = max(fitting, key=lambda name: _preference(name, found[name]))
        token = Secret(self.environ[best])
        return SubjectToken(
            token=token,
            claims=read(token, origin=best, audience=audience, now=self.now()),
            source=self.name,
            debug=_is_debug(self.environ),
        )

    def _id_tokens(self) -> Iterator[tuple[str, UnverifiedClaims]]:
        for name, value in self.environ.items():
            if name.startswith(_NOT_ID_TOKENS):
                continue
            try:
                yield name, parse(Secret(value), origin=name)
            except MalformedTokenError:
                continue


def _audiences(claims: UnverifiedClaims) -> tuple[str, ...]:
    return audiences(claims, origin="the token")


def _preference(name: str, claims: UnverifiedClaims) -> tuple[bool, bool, datetime]:
    is_narrow = len(_audiences(claims)) == 1
    return name == PREFERRED, is_narrow, expires_at(claims, origin=name)


def _missing(
    audience: str | None, found: Mapping[str, UnverifiedClaims]
) -> AudienceError | IdTokenMissingError:
    listed = "; ".join(
        f"{quoted(name)} for {quoted(*_audiences(claims))}"
        for name, claims in sorted(found.items())
    )
    asked = "any audience" if audience is None else quoted(audience)
    message = f"the job has no id token for {asked}; it has {listed or 'none at all'}"
    if PREFERRED in found:
        return AudienceError(message)
    aud = "<the grant's audience>" if audience is None else asked
    hint = f"add to the job: id_tokens: {{{PREFERRED}: {{aud: {aud}}}}}"
    return IdTokenMissingError(message, hint=hint)


def _is_debug(environ: Mapping[str, str]) -> bool:
    # What the runner would not read as false counts: both print every variable to the log.
    values = (environ.get(name, "") for name in ("CI_DEBUG_TRACE", "CI_DEBUG_SERVICES"))
    return any(value.lower() not in {"", "0", "f", "false"} for value in values)
