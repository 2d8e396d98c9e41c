"""A token_exchange grant under `ci-identity exec`: a real child, at a partner's public address."""

import re
from pathlib import Path

import pytest

import ci_identity
from ci_identity.errors import TokenLifeError
from ci_identity.ledger.verify import verify
from tests.agent.job import GitHubJob
from tests.step import COMMAND, Job
from tests.token_exchange.server import API, AuthorizationServer

KEEP = 'echo "the token is $PARTNER_TOKEN"; printf %s "$PARTNER_TOKEN" > "$0"'


def exec_with(*grants: str) -> list[str]:
    named = [word for grant in grants for word in ("--grant", grant)]
    return [*COMMAND, "exec", *named, "--"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where a step puts what it was given."""
    return tmp_path / "kept"


def test_a_step_has_the_token_and_loses_it(
    job: Job, server: AuthorizationServer, kept: Path
) -> None:
    """It is in one variable, masked in the log, alive while the step runs, and dead after."""
    done = job.run([*exec_with("partner"), "sh", "-c", KEEP, str(kept)])
    assert done.returncode == 0, done.stderr.decode()
    token = kept.read_text()
    shown = [line for line in done.stdout.decode().splitlines() if "add-mask" not in line]
    assert shown == ["the token is [MASKED]"]
    assert token.startswith("opaque-")
    assert not server.accepts(token)
    assert token not in done.stderr.decode() + (job.state / "ledger.jsonl").read_text()
    said = done.stderr.decode()
    assert re.search("^ci-identity: partner: gives .* PARTNER_TOKEN$", said, re.MULTILINE)
    assert "partner: revoked; the server was asked to end the token" in said
    assert job.events() == ["requested", "issued", "delivered", "revoked"]
    assert job.ledger()[0]["target"] == f"{API} at sts.partner.example"
    assert verify(job.state / "ledger.jsonl").entries == 4


def test_a_step_whose_token_nobody_ends(job: Job, server: AuthorizationServer, kept: Path) -> None:
    """`exec` succeeds, and says until when a copy lives."""
    done = job.run([*exec_with("plain"), "sh", "-c", 'printf %s "$PLAIN_TOKEN" > "$0"', str(kept)])
    assert done.returncode == 0, done.stderr.decode()
    assert "the grant has no revoke_url" in done.stderr.decode()
    assert server.accepts(kept.read_text())
    assert job.events()[-1] == "expires"


def test_a_server_that_does_not_end_it(job: Job, server: AuthorizationServer) -> None:
    """The command succeeded, and `exec` does not: a token may live, and until when is said."""
    server.ends_tokens = False
    done = job.run([*exec_with("partner"), "true"])
    assert done.returncode == 125
    said = done.stderr.decode()
    assert "NOT revoked (the revocation endpoint refused (unsupported_token_type))" in said
    assert job.events()[-1] == "failed"


def test_two_grants_that_give_one_variable(job: Job, server: AuthorizationServer) -> None:
    """Neither is asked for."""
    done = job.run([*exec_with("partner", "again"), "true"])
    assert done.returncode == 125
    assert b"partner and again both deliver PARTNER_TOKEN" in done.stderr
    assert server.calls == []


def test_a_token_that_lives_too_long_is_ended(job: Job, server: AuthorizationServer) -> None:
    """What was refused does not live on, and both are on record."""
    server.life = 3600
    with (
        pytest.raises(TokenLifeError, match="lives for 60 min"),
        ci_identity.session("partner", environ=job.environ),
    ):
        pass
    assert server.live == 0
    assert job.events() == ["requested", "issued", "revoked"]
    assert job.ledger()[-1]["reason"] == "exchange-life"


def test_a_step_that_was_killed(job: Job, server: AuthorizationServer) -> None:
    """Only the token would end it, and nobody has that any more: `revoke` says so."""
    done = job.run([*exec_with("partner"), "sh", "-c", "kill -KILL $PPID"])
    assert done.returncode == -9
    revoked = job.run([*COMMAND, "revoke"])
    assert revoked.returncode == 0, revoked.stderr.decode()
    assert "(only the token itself would end it, and nobody keeps that)" in revoked.stderr.decode()
    assert job.events()[-1] == "expires"
    assert server.live == 1


def test_a_later_step_has_it_of_the_agent(
    job: Job, server: AuthorizationServer, tmp_path: Path, kept: Path
) -> None:
    """By `exec`, which asks; nothing of it is in the job's environment; the end ends it."""
    with GitHubJob(job.environ, tmp_path) as github:
        assert github.start_agent("partner").code == 0
        assert "PARTNER_TOKEN" not in github.told("GITHUB_ENV")
        said = github.run("deploy", *exec_with("partner"), "sh", "-c", KEEP, str(kept))
        assert "the token is [MASKED]" in said.stdout, said.log
        assert server.accepts(kept.read_text())
        assert github.stop_agent().code == 0
    assert not server.accepts(kept.read_text())
    assert len(server.of("/token")) == 1
