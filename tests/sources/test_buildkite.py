"""Buildkite's source, with a program in the agent's place."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.errors import AudienceError, TokenCommandError
from ci_identity.sources.buildkite import BuildkiteSource
from ci_identity.sources.claims import identify

Sign = Callable[..., str]
Tool = Callable[..., Path]
CLAIMS: dict[str, object] = {
    "iss": "https://agent.buildkite.com",
    "sub": "organization:acme:pipeline:shop:ref:refs/heads/main:commit:3f1c:step:deploy",
    "jti": "0194b014-8517-7cef-b232-76a827315f08",
    "organization_slug": "acme",
    "pipeline_slug": "shop",
    "build_number": 5,
    "build_branch": "main",
    "build_tag": None,
    "build_commit": "3f1c",
    "step_key": "deploy",
    "job_id": "01945ecf-80f0-41e8-9b83-a2970a9305a1",
    "agent_id": "01945ecf-8bcf-40a6-9d70-a765db9a0928",
    "build_source": "webhook",
    "runner_environment": "self-hosted",
}
"""As in a real token that Buildkite has published (rubygems/rubygems.org#5412)."""


def _source(agent: Path, now: datetime, **environ: str) -> BuildkiteSource:
    job = {"BUILDKITE": "true", "PATH": str(agent.parent), **environ}
    return BuildkiteSource(job, now=lambda: now)


def test_the_agent_is_asked_for_the_audience(tool: Tool, sign: Sign, now: datetime) -> None:
    """With a fixed command, each word by itself, and five minutes of life."""
    token = sign(**CLAIMS)
    agent = tool("buildkite-agent", f"printf '%s\\n' \"$@\" > \"$0.argv\"; echo '{token}'")
    found = _source(agent, now).fetch("vault")
    assert found is not None
    assert found.token.reveal() == token
    assert (found.source, found.step, found.debug) == ("buildkite", None, False)
    words = ["oidc", "request-token", "--audience=vault", "--lifetime=300"]
    assert Path(f"{agent}.argv").read_text().splitlines() == words


def test_a_token_to_be_looked_at_is_for_nobody(tool: Tool, sign: Sign, now: datetime) -> None:
    """It opens nothing; an audience that looks like a flag would be none either."""
    agent = tool("buildkite-agent", f"echo '{sign(**CLAIMS, aud='ci-identity')}'")
    assert _source(agent, now).fetch(None) is not None
    agent = tool("buildkite-agent", f"case $3 in --audience=-x) echo '{sign(aud='-x')}';; esac")
    assert _source(agent, now).fetch("-x") is not None


def test_an_agent_that_cannot_redact_gives_none(tool: Tool, now: datetime) -> None:
    """It fails then, and so do we."""
    with pytest.raises(TokenCommandError, match=r"buildkite-agent ended with 1$"):
        _source(tool("buildkite-agent", "exit 1"), now).fetch("vault")


def test_another_audience_than_was_asked_is_refused(tool: Tool, sign: Sign, now: datetime) -> None:
    """The answer is checked against the question."""
    with pytest.raises(AudienceError, match=r"^what buildkite-agent prints is made for x;"):
        _source(tool("buildkite-agent", f"echo '{sign(aud='x')}'"), now).fetch("vault")


def test_its_claims_give_a_job(tool: Tool, sign: Sign, now: datetime) -> None:
    """A pipeline is what other CIs call a repository or a project."""
    agent = tool("buildkite-agent", f"echo '{sign(**CLAIMS, pipeline_id='c0ffee')}'")
    found = _source(agent, now, BUILDKITE_PULL_REQUEST="false").fetch("vault")
    assert found is not None
    job = identify(found)
    assert (job.repository, job.repository_id, job.ref) == ("acme/shop", "c0ffee", "main")
    assert (job.run, job.event, job.fork) == ("5", "webhook", False)
    assert job.job == "01945ecf-80f0-41e8-9b83-a2970a9305a1"
    assert (job.environment, job.actor, job.workload) == (None, None, None)


@pytest.mark.parametrize(
    ("number", "base", "head", "expected"),
    [
        ("false", "git@github.com:acme/shop.git", "", False),
        ("7", "git@github.com:acme/shop.git", "git://github.com/acme/shop.git", False),
        ("7", "https://github.com/acme/shop", "git@github.com:Acme/Shop.git", False),
        ("7", "git@github.com:acme/shop.git", "git://github.com/mallory/shop.git", True),
        ("7", "git@github.com:acme/shop.git", "", None),
        ("7", "", "git://github.com/acme/shop.git", None),
        ("", "git@github.com:acme/shop.git", "", None),
    ],
)
def test_a_fork_is_told_by_the_pull_requests_repository(  # noqa: PLR0913  # a table's columns
    tool: Tool,
    sign: Sign,
    now: datetime,
    number: str,
    base: str,
    head: str,
    *,
    expected: bool | None,
) -> None:
    """No claim says it; where the variables do not either, it is unknown."""
    agent = tool("buildkite-agent", f"echo '{sign(**CLAIMS)}'")
    variables = {
        "BUILDKITE_PULL_REQUEST": number,
        "BUILDKITE_REPO": base,
        "BUILDKITE_PULL_REQUEST_REPO": head,
    }
    found = _source(agent, now, **variables).fetch("vault")
    assert found is not None
    assert identify(found).fork is expected


def test_the_source_does_not_show_the_environment() -> None:
    """The agent's own token is in it."""
    assert "s3cret" not in repr(BuildkiteSource({"BUILDKITE_AGENT_ACCESS_TOKEN": "s3cret"}))
