"""CircleCI's source: variables, and a program in the place of its command."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.errors import AudienceError, IdTokenMissingError, TokenCommandError
from ci_identity.model import JobIdentity
from ci_identity.sources.circleci import CircleCiSource
from ci_identity.sources.claims import identify

Sign = Callable[..., str]
Tool = Callable[..., Path]
ORGANIZATION = "0f1e2d3c-0000-4000-8000-000000000000"
CLAIMS: dict[str, object] = {
    "iss": f"https://oidc.circleci.com/org/{ORGANIZATION}",
    "sub": f"org/{ORGANIZATION}/project/p-1/user/u-1",
    "aud": ORGANIZATION,
    "oidc.circleci.com/project-id": "p-1",
    "oidc.circleci.com/pipeline-id": "pipe-9",
    "oidc.circleci.com/job-id": "job-3",
    "oidc.circleci.com/vcs-origin": "github.com/acme/shop",
    "oidc.circleci.com/vcs-ref": "refs/heads/main",
    "oidc.circleci.com/ssh-rerun": False,
}
PROJECT = {"CIRCLE_PROJECT_USERNAME": "Acme", "CIRCLE_PROJECT_REPONAME": "shop"}


def _source(now: datetime, **environ: str) -> CircleCiSource:
    return CircleCiSource({"CIRCLECI": "true", **environ}, now=lambda: now)


def _job(now: datetime, token: str, **environ: str) -> JobIdentity:
    found = _source(now, CIRCLE_OIDC_TOKEN_V2=token, **environ).fetch(None)
    assert found is not None
    return identify(found)


def test_the_variables_token_is_taken_where_it_fits(sign: Sign, now: datetime) -> None:
    """The second version first: its subject names the ref."""
    environ = {"CIRCLE_OIDC_TOKEN": sign(**CLAIMS, jti="1"), "CIRCLE_OIDC_TOKEN_V2": sign(**CLAIMS)}
    found = _source(now, **environ).fetch(ORGANIZATION)
    assert found is not None
    assert found.token.reveal() == environ.pop("CIRCLE_OIDC_TOKEN_V2")
    older = _source(now, **environ).fetch(ORGANIZATION)
    assert older is not None
    assert older.claims["jti"] == "1"


def test_another_audience_is_asked_for(tool: Tool, sign: Sign, now: datetime) -> None:
    """By CircleCI's own command, with the audience as JSON in one word."""
    audience = 'https://vault.acme.example/"x'
    token = sign(**CLAIMS | {"aud": audience})
    cli = tool("circleci", f"printf '%s\\n' \"$@\" > \"$0.argv\"; echo '{token}'")
    environ = {"CIRCLE_OIDC_TOKEN_V2": sign(**CLAIMS), "PATH": str(cli.parent)}
    found = _source(now, **environ, **PROJECT).fetch(audience)
    assert found is not None
    assert (found.token.reveal(), found.source, found.fork) == (token, "circleci", False)
    *words, claims = Path(f"{cli}.argv").read_text().splitlines()
    assert words == ["run", "oidc", "get", "--claims"]
    assert json.loads(claims) == {"aud": audience}


def test_without_the_command_the_audience_is_the_organization(sign: Sign, now: datetime) -> None:
    """What can be done about it is said."""
    environ = {"CIRCLE_OIDC_TOKEN_V2": sign(**CLAIMS), "PATH": "/nowhere"}
    with pytest.raises(AudienceError, match=rf"is made for {ORGANIZATION}; vault was") as caught:
        _source(now, **environ).fetch("vault")
    assert "`circleci` command" in caught.value.hint


def test_another_program_of_that_name_is_told(tool: Tool, sign: Sign, now: datetime) -> None:
    """The command that people install at home cannot ask for tokens."""
    cli = tool("circleci", "exit 255")
    environ = {"CIRCLE_OIDC_TOKEN_V2": sign(**CLAIMS), "PATH": str(cli.parent)}
    with pytest.raises(TokenCommandError, match=r"ended with 255$") as caught:
        _source(now, **environ).fetch("vault")
    assert "`run oidc get`" in caught.value.hint


def test_a_job_without_a_token_is_told_why(now: datetime) -> None:
    """A fork's pull request has none."""
    with pytest.raises(
        IdTokenMissingError, match=r"no CIRCLE_OIDC_TOKEN_V2 and no CIRCLE_"
    ) as caught:
        _source(now).fetch("vault")
    assert "fork" in caught.value.cause


def test_its_claims_give_a_job(sign: Sign, now: datetime) -> None:
    """What is missing in a custom webhook's pipeline stays unknown."""
    job = _job(now, sign(**CLAIMS), **PROJECT)
    assert (job.repository, job.repository_id) == ("github.com/acme/shop", "p-1")
    assert (job.ref, job.run, job.job) == ("refs/heads/main", "pipe-9", "job-3")
    assert (job.fork, job.debug) == (False, False)
    hook = {f"oidc.circleci.com/{name}": None for name in ("vcs-origin", "vcs-ref", "ssh-rerun")}
    job = _job(now, sign(**CLAIMS | hook), **PROJECT)
    assert (job.repository, job.ref, job.fork, job.debug) == (None, None, None, False)


@pytest.mark.parametrize("value", [True, "true", 1, "yes"])
def test_a_rerun_with_ssh_is_a_debug_run(sign: Sign, now: datetime, value: object) -> None:
    """Somebody has a shell in it; anything but a plain no counts."""
    assert _job(now, sign(**CLAIMS | {"oidc.circleci.com/ssh-rerun": value})).debug


@pytest.mark.parametrize(
    ("origin", "variables", "expected"),
    [
        ("github.com/acme/shop", PROJECT, False),
        ("github.com/mallory/shop", PROJECT, None),
        ("github.com/evil-acme/shop", PROJECT, None),
        ("github.com/acme/shop", {}, None),
        ("github.com/acme/shop", {**PROJECT, "CIRCLE_PR_USERNAME": "mallory"}, True),
        ("github.com/mallory/shop", {**PROJECT, "CIRCLE_PR_REPONAME": "shop"}, True),
    ],
)
def test_a_fork_is_told_by_the_repository_that_started_it(
    sign: Sign, now: datetime, *, origin: str, variables: dict[str, str], expected: bool | None
) -> None:
    """Only the project's own repository is no fork."""
    token = sign(**CLAIMS | {"oidc.circleci.com/vcs-origin": origin})
    assert _job(now, token, **variables).fork is expected
