"""CIs that hand one token over in a variable: Bitbucket, Semaphore, Jenkins."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.errors import (
    AudienceError,
    ExpiredTokenError,
    IdTokenMissingError,
    MalformedTokenError,
    TokenFileError,
)
from ci_identity.model import JobIdentity
from ci_identity.sources.bitbucket import BitbucketSource
from ci_identity.sources.claims import identify
from ci_identity.sources.interface import Source
from ci_identity.sources.jenkins import JenkinsSource
from ci_identity.sources.semaphore import SemaphoreSource

Sign = Callable[..., str]
BITBUCKET = {"BITBUCKET_PIPELINE_UUID": "{9001}"}
SEMAPHORE = {"SEMAPHORE": "true"}
JENKINS = {"JENKINS_URL": "https://jenkins.acme.example/", "BUILD_TAG": "jenkins-shop-7"}
JOBS = [
    pytest.param(BitbucketSource, BITBUCKET, "BITBUCKET_STEP_OIDC_TOKEN", id="bitbucket"),
    pytest.param(SemaphoreSource, SEMAPHORE, "SEMAPHORE_OIDC_TOKEN", id="semaphore"),
    pytest.param(JenkinsSource, JENKINS, "CI_IDENTITY_TOKEN", id="jenkins"),
]
HINTS = {
    "BITBUCKET_STEP_OIDC_TOKEN": ("oidc: true", "audiences"),
    "SEMAPHORE_OIDC_TOKEN": ("docs.semaphore.io", "semaphoreci.com"),
    "CI_IDENTITY_TOKEN": ("withCredentials", "Jenkins credential"),
}


def _job(source: Source) -> JobIdentity:
    found = source.fetch(None)
    assert found is not None
    assert found.source == source.name
    return identify(found)


@pytest.mark.parametrize(("make", "job", "variable"), JOBS)
def test_the_variables_token_is_given(
    make: Callable[..., Source],
    job: dict[str, str],
    variable: str,
    sign: Sign,
    now: datetime,
) -> None:
    """With the white space that a shell may leave taken off, and not outside that CI."""
    token = sign()
    found = make(job | {variable: f"{token}\n"}, now=lambda: now).fetch("vault")
    assert found is not None
    assert found.token.reveal() == token
    assert (found.step, found.debug) == (None, False)
    assert make({variable: token}, now=lambda: now).fetch("vault") is None


@pytest.mark.parametrize(("make", "job", "variable"), JOBS)
def test_what_is_wrong_is_told_with_what_to_do(
    make: Callable[..., Source],
    job: dict[str, str],
    variable: str,
    sign: Sign,
    now: datetime,
) -> None:
    """No token, another's token, no token at all, an old one."""
    add, audience = HINTS[variable]
    with pytest.raises(IdTokenMissingError, match=rf"no {variable}$") as caught:
        make(job, now=lambda: now).fetch("vault")
    assert add in caught.value.hint
    with pytest.raises(AudienceError, match=rf"^{variable} is made for x;") as wrong:
        make(job | {variable: sign(aud="x")}, now=lambda: now).fetch("vault")
    assert audience in wrong.value.hint
    with pytest.raises(MalformedTokenError, match=rf"^{variable} is not"):
        make(job | {variable: "hunter2"}, now=lambda: now).fetch("vault")
    with pytest.raises(ExpiredTokenError, match=rf"^{variable} ended"):
        make(job | {variable: sign(exp=1)}, now=lambda: now).fetch("vault")
    assert "ey" not in repr(make(job | {variable: sign()}))


# ── Bitbucket ────────────────────────────────────────────────────────────────────────────────


def test_bitbuckets_claims_give_a_job(sign: Sign, now: datetime) -> None:
    """Its ids are in braces; a step is what other CIs call a job. A fork runs in itself."""
    token = sign(
        iss="https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
        sub="{42}:{7}:{31337}",
        repositoryUuid="{42}",
        workspaceUuid="{1}",
        pipelineUuid="{9001}",
        stepUuid="{31337}",
        branchName="main",
        deploymentEnvironmentUuid="{7}",
    )
    job = _job(BitbucketSource(BITBUCKET | {"BITBUCKET_STEP_OIDC_TOKEN": token}, now=lambda: now))
    assert (job.repository, job.repository_id, job.ref) == (None, "{42}", "main")
    assert (job.environment, job.run, job.job) == ("{7}", "{9001}", "{31337}")
    assert (job.fork, job.debug, job.workload) == (False, False, None)


# ── Semaphore ────────────────────────────────────────────────────────────────────────────────


def _semaphore(sign: Sign, now: datetime, claims: dict[str, object], **environ: str) -> JobIdentity:
    token = sign(
        **{
            "iss": "https://acme.semaphoreci.com",
            "prj_id": "p-1",
            "prj": "shop",
            "repo": "shop",
            "repo_slug": "acme/shop",
            "ref": "refs/heads/main",
            "ref_type": "branch",
            "wf_id": "w-1",
            "ppl_id": "pp-1",
            "job_id": "j-1",
            "job_type": "pipeline_job",
            "trg": "h:f-i:f",
        }
        | claims
    )
    variables = SEMAPHORE | {"SEMAPHORE_OIDC_TOKEN": token} | environ
    return _job(SemaphoreSource(variables, now=lambda: now))


def test_semaphores_claims_give_a_job(sign: Sign, now: datetime) -> None:
    """Every field is filled from Semaphore's own claims."""
    job = _semaphore(sign, now, {})
    assert (job.repository, job.repository_id) == ("acme/shop", "p-1")
    assert (job.ref, job.run, job.job, job.event) == ("refs/heads/main", "w-1", "j-1", "h:f-i:f")
    assert (job.fork, job.debug) == (False, False)


@pytest.mark.parametrize("kind", ["debug_job", "project_debug_job", "a_kind_of_next_year"])
def test_a_semaphore_debug_job_is_a_debug_run(sign: Sign, now: datetime, kind: str) -> None:
    """`sem debug` gives a shell with all that the job holds."""
    assert _semaphore(sign, now, {"job_type": kind}).debug


@pytest.mark.parametrize(
    ("ref_type", "head", "expected"),
    [
        ("branch", "", False),
        ("tag", "", False),
        ("pull-request", "acme/shop", False),
        ("pull-request", "mallory/shop", True),
        ("pull-request", "", None),
        ("branch", "mallory/shop", True),
        (None, "", None),
    ],
)
def test_semaphore_tells_forks_by_the_pull_requests_repository(
    sign: Sign, now: datetime, *, ref_type: str | None, head: str, expected: bool | None
) -> None:
    """A branch or tag is the repository's own; a yes of either counts."""
    variables = {"SEMAPHORE_GIT_PR_SLUG": head, "SEMAPHORE_GIT_REPO_SLUG": "acme/shop"}
    assert _semaphore(sign, now, {"ref_type": ref_type}, **variables).fork is expected


# ── Jenkins ──────────────────────────────────────────────────────────────────────────────────


def test_jenkins_may_bind_a_file(sign: Sign, now: datetime, tmp_path: Path) -> None:
    """A credential of the kind "file" leaves no token in the environment."""
    file = tmp_path / "token"
    file.write_text(sign(jti="file"))
    environ = JENKINS | {"CI_IDENTITY_TOKEN_FILE": str(file), "CI_IDENTITY_TOKEN": sign()}
    found = JenkinsSource(environ, now=lambda: now).fetch("vault")
    assert found is not None
    assert (found.claims["jti"], found.source) == ("file", "jenkins")
    file.unlink()
    with pytest.raises(TokenFileError):
        JenkinsSource(environ, now=lambda: now).fetch("vault")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BRANCH_NAME": "main"}, False),
        ({"BRANCH_NAME": "PR-7", "CHANGE_ID": "7"}, False),
        ({"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_FORK": "mallory"}, True),
        ({}, None),
    ],
)
def test_jenkins_tells_forks_by_the_change(
    sign: Sign, now: datetime, *, variables: dict[str, str], expected: bool | None
) -> None:
    """Its claims are what an administrator's template says; a build has a number at least."""
    token = sign(iss="https://jenkins.acme.example/oidc", build_number=7)
    environ = JENKINS | {"CI_IDENTITY_TOKEN": token} | variables
    job = _job(JenkinsSource(environ, now=lambda: now))
    assert (job.run, job.repository, job.fork) == ("7", None, expected)
