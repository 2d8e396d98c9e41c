"""The claims and variables of the jobs that the sandbox plays."""

from typing import Any

import pytest

from ci_identity.sandbox.claims import (
    github_claims,
    github_subject,
    github_variables,
    gitlab_claims,
    gitlab_variables,
)

ISSUER = "http://127.0.0.1:1"


def test_github_token_has_the_life_of_a_real_one() -> None:
    """A GitHub token lives for 300 s and is valid from 300 s before it was issued."""
    claims = github_claims(ISSUER, "vault", {})
    assert (claims["exp"] - claims["iat"], claims["nbf"] - claims["iat"]) == (300, -300)


def test_github_values_are_text() -> None:
    """Every claim of a GitHub token but the times is text, ids and booleans too."""
    claims = github_claims(ISSUER, "vault", {})
    others = {name: type(value) for name, value in claims.items() if type(value) is not str}
    assert others == dict.fromkeys(("exp", "iat", "nbf"), int)


@pytest.mark.parametrize(
    ("overrides", "context"),
    [
        ({}, "ref:refs/heads/main"),
        ({"ref": "refs/tags/v1"}, "ref:refs/tags/v1"),
        ({"event_name": "pull_request", "ref": "refs/pull/1/merge"}, "pull_request"),
        ({"environment": "prod"}, "environment:prod"),
        ({"environment": "eu:prod", "event_name": "pull_request"}, "environment:eu%3Aprod"),
    ],
)
def test_github_subject_follows_the_other_claims(overrides: dict[str, Any], context: str) -> None:
    """The environment comes first, then the pull request, then the ref; in both formats."""
    claims = github_claims(ISSUER, "vault", overrides)
    assert claims["sub"] == f"repo:acme@7/shop@42:{context}"
    assert github_subject(claims, is_legacy=True) == f"repo:acme/shop:{context}"


def test_github_default_audience_is_the_owner() -> None:
    """A token asked for without an audience is for the owner's page at GitHub."""
    claims = github_claims(ISSUER, None, {"repository": "mallory/shop"})
    assert claims["aud"] == "https://github.com/mallory"


def test_claims_can_be_set_and_removed() -> None:
    """What a test says about a claim wins over what we would derive; `None` removes it."""
    overrides = {"sub": "me", "iss": "https://elsewhere.example", "ref": None, "exp": 1}
    github, gitlab = (
        github_claims(ISSUER, "vault", overrides),
        gitlab_claims(ISSUER, "vault", overrides),
    )
    for claims in (github, gitlab):
        assert (claims["sub"], claims["iss"], claims["exp"]) == ("me", overrides["iss"], 1)
        assert "ref" not in claims


def test_github_job_without_environment_has_no_such_claim() -> None:
    """The `environment` claim is there only for a job with an environment."""
    assert "environment" not in github_claims(ISSUER, "vault", {})


def test_two_tokens_are_never_the_same_token() -> None:
    """Each token has a `jti` of its own."""
    first, second = (github_claims(ISSUER, "vault", {})["jti"] for _ in range(2))
    assert first != second


def test_gitlab_token_says_where_the_job_runs() -> None:
    """Without a merge request from a fork, the job runs in the project that the token names."""
    claims = gitlab_claims(ISSUER, "vault", {"project_id": "9", "project_path": "mallory/shop"})
    assert (claims["job_project_id"], claims["job_project_path"]) == ("9", "mallory/shop")
    assert claims["sub"] == "project_path:mallory/shop:ref_type:branch:ref:main"
    assert claims["ref_protected"] == "true"


def test_gitlab_merge_request_of_a_fork_can_be_played() -> None:
    """The source project and the project that the job runs in can differ."""
    claims = gitlab_claims(ISSUER, "vault", {"project_id": "9", "job_project_id": "1234"})
    assert (claims["project_id"], claims["job_project_id"]) == ("9", "1234")


def test_variables_agree_with_the_claims() -> None:
    """What the CI's variables say of a job is what its token says."""
    github = github_claims(ISSUER, "vault", {"ref": "refs/heads/fix/it", "run_id": "5"})
    variables = github_variables(github)
    assert variables["GITHUB_REPOSITORY"] == "acme/shop"
    assert variables["GITHUB_REF"] == "refs/heads/fix/it"
    assert variables["GITHUB_REF_NAME"] == "fix/it"
    assert variables["GITHUB_RUN_ID"] == "5"
    gitlab = gitlab_variables(gitlab_claims(ISSUER, "vault", {"job_id": "6"}))
    assert gitlab["CI_JOB_ID"] == "6"
    assert gitlab["CI_SERVER_URL"] == ISSUER
