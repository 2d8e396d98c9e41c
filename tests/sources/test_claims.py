"""One identity from each CI's claims, and what they say of forks."""

from datetime import UTC, datetime

import pytest

from ci_identity.errors import MalformedTokenError
from ci_identity.model import SubjectToken, UnverifiedClaims
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify

_BASE: dict[str, object] = {
    "iss": "https://issuer.example",
    "sub": "who",
    "aud": "vault",
    "exp": 1793534700,
}
_GITHUB = _BASE | {
    "repository": "acme/shop",
    "repository_id": "42",
    "ref": "refs/heads/main",
    "environment": "production",
    "run_id": "9001",
    "run_attempt": "2",
    "check_run_id": "31337",
    "event_name": "push",
    "actor": "octocat",
}
_GITLAB = _BASE | {
    "project_path": "acme/shop",
    "project_id": "42",
    "job_project_path": "acme/shop",
    "job_project_id": "42",
    "ref": "main",
    "ref_path": "refs/heads/main",
    "environment": "production",
    "pipeline_id": "9001",
    "pipeline_source": "push",
    "job_id": "31337",
    "user_login": "octocat",
}


def _token(claims: dict[str, object], *, source: str = "token-file") -> SubjectToken:
    present = {name: value for name, value in claims.items() if value is not None}
    return SubjectToken(token=Secret("x"), claims=UnverifiedClaims(present), source=source)


def test_a_github_token_gives_a_job() -> None:
    """Every field is filled from GitHub's own claims."""
    job = identify(_token(_GITHUB, source="github"))
    assert (job.source, job.issuer, job.subject) == ("github", "https://issuer.example", "who")
    assert job.audience == ("vault",)
    assert (job.repository, job.repository_id) == ("acme/shop", "42")
    assert (job.ref, job.environment) == ("refs/heads/main", "production")
    assert (job.run, job.job, job.event, job.actor) == ("9001/2", "31337", "push", "octocat")
    assert job.expires_at == datetime(2026, 11, 1, 12, 5, tzinfo=UTC)
    assert job.claims["repository"] == "acme/shop"


def test_a_gitlab_token_gives_a_job() -> None:
    """Every field is filled from GitLab's own claims."""
    job = identify(_token(_GITLAB, source="gitlab"))
    assert (job.repository, job.repository_id) == ("acme/shop", "42")
    assert (job.ref, job.environment) == ("main", "production")
    assert (job.run, job.job, job.event, job.actor) == ("9001", "31337", "push", "octocat")


def test_the_repository_is_the_one_that_the_job_runs_in() -> None:
    """In a fork's merge request, GitLab's `project_*` is the fork; the job runs elsewhere."""
    claims = _GITLAB | {"project_path": "mallory/shop", "project_id": "666"}
    job = identify(_token(claims))
    assert (job.repository, job.repository_id) == ("acme/shop", "42")
    older = identify(_token(claims | {"job_project_path": None, "job_project_id": None}))
    assert (older.repository, older.repository_id) == ("mallory/shop", "666")


def test_the_step_and_the_debug_run_come_from_the_source() -> None:
    """No claim tells them."""
    claims = UnverifiedClaims(_GITHUB)
    token = SubjectToken(
        token=Secret("x"), claims=claims, source="github", step="deploy", debug=True
    )
    assert (identify(token).step, identify(token).debug) == ("deploy", True)


def test_a_token_of_another_issuer_gives_what_every_token_has() -> None:
    """Nothing is guessed of it."""
    job = identify(_token(_BASE | {"aud": ["a", "b"], "ref": "main", "run_id": "1"}))
    assert job.audience == ("a", "b")
    fields = (job.repository, job.repository_id, job.ref, job.environment, job.run, job.job)
    assert fields == (None,) * 6
    assert (job.event, job.actor, job.fork) == (None, None, None)


def test_numbers_become_text_and_other_kinds_nothing() -> None:
    """Claims that are numbers are the same ids; lists, nulls and empty texts are no value."""
    odd = {"repository_id": 42, "run_id": 9001, "run_attempt": 1, "ref": "", "actor": ["x"]}
    job = identify(_token(_GITHUB | odd))
    assert (job.repository_id, job.run, job.ref, job.actor) == ("42", "9001/1", None, None)


def test_without_an_attempt_the_run_is_its_id() -> None:
    """Older servers have no run_attempt."""
    assert identify(_token(_GITHUB | {"run_attempt": None})).run == "9001"
    assert identify(_token(_GITHUB | {"run_id": None})).run is None


def test_texts_are_made_printable() -> None:
    """An environment's name may hold anything; a terminal or a ledger should not."""
    job = identify(_token(_GITHUB | {"environment": "a\x1b[2J\n"}))
    assert job.environment == "a\\x1b[2J\\n"


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp"])
def test_claims_of_a_foreign_source_are_checked(name: str) -> None:
    """A source that others wrote may give claims that no id token has."""
    with pytest.raises(MalformedTokenError, match=rf"the token from mine .*`{name}`"):
        identify(_token(_GITHUB | {name: None}, source="mine"))


@pytest.mark.parametrize(
    ("event", "ref", "expected"),
    [
        ("push", "refs/heads/main", False),
        ("push", "refs/tags/v1", False),
        ("create", "refs/heads/x", False),
        ("release", "refs/tags/v1", False),
        ("schedule", "refs/heads/main", False),
        ("workflow_dispatch", "refs/heads/x", False),
        ("repository_dispatch", "refs/heads/main", False),
        ("merge_group", "refs/heads/gh-readonly-queue/main/pr-1-abc", False),
        ("push", "refs/pull/1/merge", None),
        ("push", "refs/pull/1/head", None),
        ("push", "main", None),
        ("push", "", None),
        ("push", None, None),
        ("workflow_dispatch", "refs/pull/1/head", None),
        ("pull_request", "refs/pull/1/merge", None),
        ("pull_request", "refs/heads/main", None),
        ("pull_request_target", "refs/heads/main", False),
        ("pull_request_review", "refs/pull/1/merge", None),
        ("pull_request_review_comment", "refs/pull/1/merge", None),
        ("workflow_run", "refs/heads/main", False),
        ("issue_comment", "refs/heads/main", None),
        ("issues", "refs/heads/main", None),
        ("deployment", "refs/heads/main", None),
        ("check_suite", "refs/heads/main", None),
        ("PUSH", "refs/heads/main", None),
        ("an_event_of_next_year", "refs/heads/main", None),
        ("", "refs/heads/main", None),
        (None, "refs/heads/main", None),
    ],
)
def test_github_is_no_fork_only_where_the_event_proves_it(
    *, event: str | None, ref: str | None, expected: bool | None
) -> None:
    """Only events that run the repository's own branches and tags prove that it is no fork."""
    assert identify(_token(_GITHUB | {"event_name": event, "ref": ref})).fork is expected


@pytest.mark.parametrize(
    ("source", "code", "job", "ref_path", "expected"),
    [
        # runs of the project's own branches and tags
        ("push", "42", "42", "refs/heads/main", False),
        ("push", "42", None, "refs/heads/main", False),
        ("push", "42", None, None, False),
        ("web", "42", None, "refs/tags/v1", False),
        ("webide", "42", "42", None, False),
        ("api", "42", None, None, False),
        ("schedule", "42", None, None, False),
        ("trigger", "42", None, None, False),
        ("pipeline", "42", None, None, False),
        ("chat", "42", None, None, False),
        ("security_orchestration_policy", "42", None, None, False),
        # merge requests
        ("merge_request_event", "42", "42", "refs/heads/main", False),
        ("merge_request_event", "666", "42", "refs/heads/main", True),
        ("merge_request_event", "42", None, "refs/heads/main", None),
        ("parent_pipeline", "42", "42", None, False),
        ("parent_pipeline", "666", "42", None, True),
        ("parent_pipeline", "42", None, None, None),
        ("push", "42", None, "refs/merge-requests/1/head", None),
        ("push", "42", "42", "refs/merge-requests/1/head", False),
        # the code is of another project, whatever else is said
        ("push", "666", "42", "refs/heads/main", True),
        ("external_pull_request_event", "666", "42", None, True),
        (None, "666", "42", None, True),
        # nothing is known
        ("external_pull_request_event", "42", "42", None, None),
        ("external", "42", "42", None, None),
        ("unknown", "42", "42", None, None),
        ("a_source_of_next_year", "42", "42", "refs/heads/main", None),
        ("", "42", "42", None, None),
        (None, "42", "42", "refs/heads/main", None),
        ("push", None, "42", None, None),
        ("push", None, None, None, None),
    ],
)
def test_gitlab_tells_forks_by_the_two_projects(
    *,
    source: str | None,
    code: str | None,
    job: str | None,
    ref_path: str | None,
    expected: bool | None,
) -> None:
    """Where the code's project and the job's are both named they decide; else the pipeline does."""
    claims = {
        "pipeline_source": source,
        "project_id": code,
        "job_project_id": job,
        "ref_path": ref_path,
    }
    assert identify(_token(_GITLAB | claims)).fork is expected


def test_ids_are_compared_as_text() -> None:
    """A number in one claim and its text in the other are the same project."""
    claims = {"pipeline_source": "merge_request_event", "project_id": 42, "job_project_id": "42"}
    assert identify(_token(_GITLAB | claims)).fork is False
