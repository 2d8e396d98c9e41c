"""A session for Google Cloud in Python: credentials that follow it, and end with it."""

import copy
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession

import ci_identity
from ci_identity.errors import ConfigurationError, NotRenewedError
from ci_identity.model import GcpTarget, Grant, Outcome, Wanted
from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.gcp.google import ACCOUNT, BUCKET, PROVIDER
from tests.gcp.server import GcpWorld
from tests.step import Job

OBJECT = f"https://storage.googleapis.com/storage/v1/b/{BUCKET}/o/shop%2Findex.html?alt=media"


@pytest.fixture
def job(world: World, gcp: GcpWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job, and the way to its Google in this process too, where the client reads it."""
    gcp.trust(github_claims(world.issuer.address, None, {})["sub"])
    gcp.google.objects["shop/index.html"] = b"site"
    for name, value in gcp.environ.items():
        monkeypatch.setenv(name, value)
    made = Job.of(world, tmp_path / "state")
    made.environ.update(gcp.environ)
    return made


@pytest.fixture
def grant() -> Grant:
    return Grant(
        name="push",
        conditions={"repository": (Wanted(text="acme/shop"),)},
        target=GcpTarget(provider=PROVIDER, service_account=ACCOUNT),
    )


def fetch(credentials: Credentials) -> requests.Response:
    with AuthorizedSession(credentials) as http:  # type: ignore[no-untyped-call]
        return http.get(OBJECT, timeout=9)


def test_credentials_live_and_end_with_the_session(job: Job, grant: Grant, gcp: GcpWorld) -> None:
    """A client made inside works inside, and sends nothing more outside."""
    with ci_identity.session(grant, environ=job.environ) as session:
        credentials = session.google_credentials()
        assert fetch(credentials).status_code == 200
    assert session.outcome is Outcome.EXPIRES
    asked = len(gcp.calls)
    with pytest.raises(ConfigurationError, match="no open Google Cloud token"):
        fetch(credentials)
    with pytest.raises(ConfigurationError, match="no open Google Cloud token"):
        session.google_credentials()
    assert len(gcp.calls) == asked


def test_credentials_say_what_clients_ask_them(job: Job, grant: Grant) -> None:
    """The universe, and the project, are the grant's."""
    with ci_identity.session(grant, environ=job.environ) as session:
        credentials = session.google_credentials()
        assert credentials.universe_domain == "googleapis.com"
        assert fetch(credentials).status_code == 200
        assert credentials.valid
        assert credentials.token == session.gcp_token().access_token.reveal()


def test_another_universe(world: World, grant: Grant, tmp_path: Path) -> None:
    """Asked at its own addresses; the child's clients, and ours, are told which it is."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    with GcpWorld(world.issuer.address, folder, universe="example.goog") as gcp:
        gcp.trust(github_claims(world.issuer.address, None, {})["sub"])
        environ = Job.of(world, tmp_path / "state").environ | gcp.environ
        environ["GOOGLE_CLOUD_UNIVERSE_DOMAIN"] = "example.goog"
        with ci_identity.session(grant, environ=environ) as session:
            assert "GOOGLE_CLOUD_UNIVERSE_DOMAIN" in session.steered_by
            file = json.loads(Path(session.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
            assert file["universe_domain"] == "example.goog"
            assert session.google_credentials().universe_domain == "example.goog"
        hosts = [call.host for call in gcp.calls]
    assert hosts == ["sts.example.goog", "iamcredentials.example.goog"]


def test_credentials_need_a_gcp_grant(world: World, tmp_path: Path) -> None:
    """A grant for Vault has no token of Google's."""
    with (
        ci_identity.session("migrate-db", environ=Job.of(world, tmp_path / "s").environ) as session,
        pytest.raises(ConfigurationError, match="no open Google Cloud token"),
    ):
        session.google_credentials()


def test_a_token_is_not_copied(job: Job, grant: Grant) -> None:
    """Nor shown."""
    with ci_identity.session(grant, environ=job.environ) as session:
        token = session.gcp_token()
        assert token.access_token.reveal() not in f"{token!r}{session!r}"
        with pytest.raises(TypeError):
            copy.deepcopy(token)


def test_a_token_that_was_not_renewed(job: Job, grant: Grant, gcp: GcpWorld) -> None:
    """What has ended is not given out: it is said that it was not renewed."""
    with ci_identity.session(grant, environ=job.environ, ttl=timedelta(seconds=2)) as session:
        gcp.google.users[ACCOUNT] = set()
        while session.lease.expires_at > datetime.now(UTC):
            time.sleep(0.05)
        with pytest.raises(NotRenewedError):
            session.gcp_token()


def test_the_federated_token_is_minted_anew(job: Job, grant: Grant, gcp: GcpWorld) -> None:
    """A renewal begins with a new token of the job: the old one would end as the first did."""
    with ci_identity.session(grant, environ=job.environ, ttl=timedelta(seconds=2)) as session:
        end = time.monotonic() + 20
        while len(gcp.of("sts")) < 3 and time.monotonic() < end:
            fetch(session.google_credentials())
            time.sleep(0.1)
    assert {call.status for call in gcp.of("storage")} == {200}
    assert len({call.form["subject_token"] for call in gcp.of("sts")}) == len(gcp.of("sts"))


def test_the_token_outright(job: Job, grant: Grant) -> None:
    """With delivery `env` the child has the token itself, and no file."""
    with ci_identity.session(grant, environ=job.environ, delivery="env") as session:
        assert session.promises == ("GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")
        assert "GOOGLE_APPLICATION_CREDENTIALS" not in session.environ
        bearer = {"Authorization": f"Bearer {session.environ['GOOGLE_OAUTH_ACCESS_TOKEN']}"}
        answer = requests.get(OBJECT, headers=bearer, timeout=9)
    assert answer.content == b"site"
