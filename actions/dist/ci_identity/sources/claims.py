"""From each CI's claims to one `JobIdentity`: a table per CI, and what its claims say of forks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ci_identity._text import printable
from ci_identity.model import JobIdentity, SubjectToken, UnverifiedClaims
from ci_identity.sources import subject_token

# ── GitHub: docs.github.com, "OpenID Connect reference" and "Events that trigger workflows" ──────

_OWN_EVENTS = {
    "push",
    "create",
    "release",
    "schedule",
    "workflow_dispatch",
    "repository_dispatch",
    "merge_group",
    "pull_request_target",
    "workflow_run",
}
"""Events that only somebody with write access causes, and that run a branch or tag of the
repository itself.

`merge_group` too: what runs may come from a fork, but a maintainer has put it in the queue.
`pull_request_target` and `workflow_run` run the base's own code; that an outsider can cause them
is what they have refusals of their own for. Not here are the other events that an outsider can
cause (`issue_comment`), and `deployment`, which may run any commit that GitHub has, a fork's
included.
"""


def _github_fork(claims: UnverifiedClaims) -> bool | None:
    # No claim names the head repository of a pull request, so `pull_request*` stays unknown: a
    # fork's run has no id token today, but that is a rule of GitHub's and not a claim.
    event, ref = _text(claims, "event_name"), _text(claims, "ref") or ""
    is_own_ref = ref.startswith(("refs/heads/", "refs/tags/"))
    return False if event in _OWN_EVENTS and is_own_ref else None


def _github_run(claims: UnverifiedClaims) -> str | None:
    run, attempt = _text(claims, "run_id"), _text(claims, "run_attempt")
    return f"{run}/{attempt}" if run and attempt else run


# ── GitLab: docs.gitlab.com, "ID tokens"; gitlab-org/gitlab, lib/gitlab/ci/jwt.rb ────────────────

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


def _gitlab_fork(claims: UnverifiedClaims) -> bool | None:
    # `project_id` is the project the code comes from since 18.2.2, when the same claims could no
    # longer pass a fork's code for the project's own (gitlab#548165); `job_project_id` is the one
    # that the job runs in, since 18.4 (gitlab#563038). They differ for forks only.
    code, job = _text(claims, "project_id"), _text(claims, "job_project_id")
    if code and job and code != job:
        return True
    event = _text(claims, "pipeline_source")
    if event not in _PIPELINE_SOURCES or not code:
        return None
    ref_path = _text(claims, "ref_path") or ""
    is_merge_request = event in _MERGE_REQUEST_SOURCES or ref_path.startswith(
        "refs/merge-requests/"
    )
    return None if is_merge_request and not job else False


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """How one CI says who a job is.

    Attributes:
        mark: the claim that only its tokens have.
        fields: field of `JobIdentity` to the claims that give it, the first one there is taken.
        run: gives the run's id.
        fork: whether the run comes from a fork, as far as the claims can tell.
    """

    mark: str
    fields: Mapping[str, tuple[str, ...]]
    run: Callable[[UnverifiedClaims], str | None]
    fork: Callable[[UnverifiedClaims], bool | None]


_DIALECTS = (
    _Dialect(
        mark="repository",
        fields={
            "repository": ("repository",),
            "repository_id": ("repository_id",),
            "ref": ("ref",),
            "environment": ("environment",),
            "job": ("check_run_id",),
            "event": ("event_name",),
            "actor": ("actor",),
        },
        run=_github_run,
        fork=_github_fork,
    ),
    _Dialect(
        mark="project_path",
        fields={
            "repository": ("job_project_path", "project_path"),
            "repository_id": ("job_project_id", "project_id"),
            "ref": ("ref",),
            "environment": ("environment",),
            "job": ("job_id",),
            "event": ("pipeline_source",),
            "actor": ("user_login",),
        },
        run=lambda claims: _text(claims, "pipeline_id"),
        fork=_gitlab_fork,
    ),
)
_UNKNOWN = _Dialect(mark="", fields={}, run=lambda _: None, fork=lambda _: None)


def identify(token: SubjectToken) -> JobIdentity:
    """Return who the job is, by the claims of its token.

    The CI is told by the shape of the claims, not by the source, so that a token handed over by
    hand says as much. A token of no CI we know gives issuer, subject and audience, and `fork`
    unknown. `run` is `RUN_ID/ATTEMPT` on GitHub and the pipeline's id on GitLab. Texts are made
    printable; `claims` are as in the token.

    Raises:
        MalformedTokenError: a claim that every id token has is missing.
    """
    claims, origin = token.claims, f"the token from {token.source}"
    dialect = next((one for one in _DIALECTS if _text(claims, one.mark)), _UNKNOWN)
    found = {
        name: next((text for claim in claim_names if (text := _text(claims, claim))), None)
        for name, claim_names in dialect.fields.items()
    }
    return JobIdentity(
        source=token.source,
        issuer=subject_token.issuer(claims, origin=origin),
        subject=subject_token.subject(claims, origin=origin),
        audience=subject_token.audiences(claims, origin=origin),
        **found,
        run=dialect.run(claims),
        step=token.step,
        fork=dialect.fork(claims),
        debug=token.debug,
        expires_at=subject_token.expires_at(claims, origin=origin),
        claims=claims,
    )


def _text(claims: UnverifiedClaims, name: str) -> str | None:
    """Return a claim as printable text, numbers and booleans as in JSON; `None` if it is none."""
    value = claims.get(name)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str) and value:
        return printable(value)
    return None
