"""Forgejo's source: GitHub's exchange over loopback, another issuer, other advice."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from ci_identity.errors import IdTokenPermissionError, InsecureAddressError, IssuerError
from ci_identity.model import UnverifiedClaims
from ci_identity.sources.actions import check_issuer
from ci_identity.sources.claims import identify
from ci_identity.sources.forgejo import FORGEJO, ForgejoSource

if TYPE_CHECKING:
    from tests.sources.conftest import Endpoint

Sign = Callable[..., str]
FORGEJO_JOB = {"FORGEJO_ACTIONS": "true", "GITEA_ACTIONS": "true"}


def test_a_job_gets_its_token(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """The endpoint is asked as GitHub's is, and the claims are read alike."""
    token = sign(
        iss="https://codeberg.org/api/actions",
        sub="repo:acme-7/shop-42:ref:refs/heads/main",
        repository="acme/shop",
        repository_id="42",
        ref="refs/heads/main",
        event_name="push",
        run_id="9",
        actor="octocat",
    )
    endpoint.gives(token)
    environ = endpoint.environ(GITHUB_ACTION="0", **FORGEJO_JOB)
    found = ForgejoSource(environ, now=lambda: now).fetch("vault")
    assert found is not None
    assert (found.token.reveal(), found.source) == (token, "forgejo")
    assert endpoint.received[0].query["audience"] == ["vault"]
    assert endpoint.received[0].authorization == "bearer runner-bearer-0123456789"
    job = identify(found)
    assert (job.repository, job.repository_id, job.ref) == ("acme/shop", "42", "refs/heads/main")
    assert (job.run, job.event, job.fork, job.workload) == ("9", "push", False, None)


def test_outside_forgejo_it_says_nothing(endpoint: "Endpoint", now: datetime) -> None:
    """GitHub's jobs are GitHub's."""
    assert ForgejoSource(endpoint.environ(), now=lambda: now).fetch("vault") is None
    assert endpoint.received == []


def test_a_job_that_may_not_ask_is_told_what_to_add(now: datetime) -> None:
    """Not GitHub's permission, which Forgejo does not read for it."""
    with pytest.raises(IdTokenPermissionError, match=r"^Forgejo gave this job no way") as caught:
        ForgejoSource(FORGEJO_JOB, now=lambda: now).fetch("vault")
    assert "enable-openid-connect: true" in caught.value.hint


def test_gitea_has_no_id_tokens(now: datetime) -> None:
    """It is said, and no permission is blamed."""
    with pytest.raises(IdTokenPermissionError, match=r"^Gitea gave this job") as caught:
        ForgejoSource({"GITEA_ACTIONS": "true"}, now=lambda: now).fetch("vault")
    assert "Gitea has no id tokens" in caught.value.cause


@pytest.mark.parametrize(
    ("server", "issuer", "is_fit"),
    [
        ("https://codeberg.org", "https://codeberg.org/api/actions", True),
        ("https://git.acme.example/forge/", "https://git.acme.example/forge/api/actions", True),
        ("https://codeberg.org", "https://codeberg.org/api/actions/", False),
        ("https://codeberg.org", "https://evil.example/api/actions", False),
        ("https://codeberg.org", "https://token.actions.githubusercontent.com", False),
    ],
)
def test_the_issuer_is_the_instance(*, server: str, issuer: str, is_fit: bool) -> None:
    """A token of another instance is refused here already."""
    claims = UnverifiedClaims({"iss": issuer})
    if is_fit:
        check_issuer(FORGEJO, claims, server, origin="the token")
        return
    with pytest.raises(IssuerError, match=r"/api/actions$"):
        check_issuer(FORGEJO, claims, server, origin="the token")


def test_the_instance_is_reached_by_https(now: datetime) -> None:
    """The job's bearer crosses no network in the clear."""
    environ = FORGEJO_JOB | {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "http://git.acme.example/token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
    }
    with pytest.raises(InsecureAddressError):
        ForgejoSource(environ, now=lambda: now).fetch("vault")
