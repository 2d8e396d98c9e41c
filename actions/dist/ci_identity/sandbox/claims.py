"""What a job of GitHub Actions or GitLab CI looks like: its token's claims and its variables."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

Claims = Mapping[str, Any]

GITHUB_LIFE = 300
"""Seconds. A real GitHub token also has `nbf = iat - 300` (google-github-actions/auth#474)."""

GITLAB_LIFE = 3600
"""Seconds: GitLab's default job timeout, which is the life of an id token."""

_SHA = "3f1c0f2f5e0a4b8d9c7e6a5b4c3d2e1f0a9b8c7d"
_GITHUB_WORKFLOW = ".github/workflows/deploy.yml"


def github_claims(issuer: str, audience: str | None, overrides: Claims) -> dict[str, Any]:
    """Return the claims of a GitHub Actions token; `None` in `overrides` removes a claim.

    `sub` follows the other claims as GitHub builds it, in the immutable format that repositories
    made after 2026-07-15 have (docs.github.com/actions/reference/security/oidc).

    Args:
        issuer: `iss`.
        audience: `aud`, or `None` for GitHub's default, the owner's address.
        overrides: claims to set or to remove. All of GitHub's values are text.
    """
    claims: dict[str, Any] = {
        "repository": "acme/shop",
        "repository_id": "42",
        "repository_owner": str(overrides.get("repository", "acme")).partition("/")[0],
        "repository_owner_id": "7",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": _SHA,
        "head_ref": "",
        "base_ref": "",
        "workflow": "deploy",
        "workflow_sha": _SHA,
        "job_workflow_sha": _SHA,
        "run_id": "9001",
        "run_number": "17",
        "run_attempt": "1",
        "check_run_id": "31337",
        "event_name": "push",
        "runner_environment": "github-hosted",
        "actor": "octocat",
        "actor_id": "583231",
        **overrides,
    }
    workflow_ref = f"{claims.get('repository')}/{_GITHUB_WORKFLOW}@{claims.get('ref')}"
    derived = {
        "workflow_ref": workflow_ref,
        "job_workflow_ref": workflow_ref,
        "sub": github_subject(claims),
        "aud": audience or f"https://github.com/{claims.get('repository_owner')}",
    }
    return _token_claims(issuer, derived | claims, life=GITHUB_LIFE, not_before=-300)


def github_subject(claims: Claims, *, is_legacy: bool = False) -> str:
    """Return `sub` as GitHub builds it from the other claims.

    Args:
        claims: the claims of a GitHub token.
        is_legacy: the format without ids, which older repositories still have.
    """
    repository = str(claims.get("repository"))
    if not is_legacy:
        owner, _, name = repository.partition("/")
        owner_id, repository_id = claims.get("repository_owner_id"), claims.get("repository_id")
        repository = f"{owner}@{owner_id}/{name}@{repository_id}"
    if environment := claims.get("environment"):
        return f"repo:{repository}:environment:{str(environment).replace(':', '%3A')}"
    if claims.get("event_name") == "pull_request":
        return f"repo:{repository}:pull_request"
    return f"repo:{repository}:ref:{claims.get('ref')}"


def gitlab_claims(issuer: str, audience: str, overrides: Claims) -> dict[str, Any]:
    """Return the claims of a GitLab id token; `None` in `overrides` removes a claim.

    docs.gitlab.com/ci/secrets/id_token_authentication, as of 18.9.
    """
    claims: dict[str, Any] = {
        "namespace_id": "70",
        "namespace_path": str(overrides.get("project_path", "acme")).partition("/")[0],
        "project_id": "1234",
        "project_path": "acme/shop",
        "user_id": "5",
        "user_login": "octavia",
        "user_email": "octavia@acme.example",
        "user_access_level": "maintainer",
        "pipeline_id": "9002",
        "pipeline_source": "push",
        "job_id": "31338",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "sha": _SHA,
        "runner_id": 11,
        "runner_environment": "self-hosted",
        "ci_config_sha": _SHA,
        "project_visibility": "private",
        **overrides,
    }
    project_path, ref = claims.get("project_path"), claims.get("ref")
    where_it_runs = ("project_id", "project_path", "namespace_id", "namespace_path")
    derived = {f"job_{name}": claims.get(name) for name in where_it_runs} | {
        "ci_config_ref_uri": f"{issuer}/{project_path}//.gitlab-ci.yml@{claims.get('ref_path')}",
        "sub": f"project_path:{project_path}:ref_type:{claims.get('ref_type')}:ref:{ref}",
        "aud": audience,
    }
    return _token_claims(issuer, derived | claims, life=GITLAB_LIFE, not_before=-5)


def _token_claims(issuer: str, claims: Claims, *, life: int, not_before: int) -> dict[str, Any]:
    now = int(time.time())
    every = {
        "iss": issuer,
        "iat": now,
        "nbf": now + not_before,
        "exp": now + life,
        "jti": str(uuid.uuid4()),
        **claims,
    }
    return {name: value for name, value in every.items() if value is not None}


def github_variables(claims: Claims) -> dict[str, str]:
    """Return the variables that a GitHub Actions job with these claims has, but for the token's."""
    same_as_claims = (
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "ref",
        "ref_type",
        "ref_protected",
        "sha",
        "head_ref",
        "base_ref",
        "workflow",
        "workflow_ref",
        "workflow_sha",
        "run_id",
        "run_number",
        "run_attempt",
        "event_name",
        "actor",
        "actor_id",
    )
    return {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_API_URL": "https://api.github.com",
        "GITHUB_ACTION": "migrate",
        "GITHUB_JOB": "deploy",
        "GITHUB_REF_NAME": str(claims.get("ref", "")).partition("/")[2].partition("/")[2],
        "RUNNER_ENVIRONMENT": str(claims.get("runner_environment", "")),
        "RUNNER_OS": "Linux",
    } | {f"GITHUB_{name.upper()}": str(claims.get(name, "")) for name in same_as_claims}


def gitlab_variables(claims: Claims) -> dict[str, str]:
    """Return the predefined variables of a GitLab job with these claims, but for its token's."""
    from_claims = {
        "CI_SERVER_URL": "iss",
        "CI_PROJECT_ID": "job_project_id",
        "CI_PROJECT_PATH": "job_project_path",
        "CI_PROJECT_NAMESPACE": "job_namespace_path",
        "CI_PIPELINE_ID": "pipeline_id",
        "CI_PIPELINE_SOURCE": "pipeline_source",
        "CI_JOB_ID": "job_id",
        "CI_COMMIT_REF_NAME": "ref",
        "CI_COMMIT_REF_PROTECTED": "ref_protected",
        "CI_COMMIT_SHA": "sha",
        "GITLAB_USER_LOGIN": "user_login",
    }
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_JOB_NAME": "migrate",
        "CI_JOB_STAGE": "deploy",
    } | {variable: str(claims.get(name, "")) for variable, name in from_claims.items()}
