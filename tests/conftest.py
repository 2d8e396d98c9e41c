"""What every test may ask for: one local world a test process, and a real PostgreSQL.

Servers live as long as the test process (one set per xdist worker) and are shared: give what you
make in them names of your own, or a namespace (`openbao_namespace`).
"""

import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.aws import npm
from tests.aws.world import AwsWorld
from tests.postgres import PostgreSQL

# Machines are slow at times; whether code is right does not depend on it.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Take SIGINT where a shell that runs us in the background had it ignored.

    Whatever a test starts would ignore it as well.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The world of `ci-identity sandbox`: an issuer, a real OpenBao that trusts it, one grant.

    `world.environ()` is a new GitHub-shaped job that the grant `migrate-db` is for,
    `world.environ("gitlab")` a GitLab-shaped one, `world.environ(claims={"repository":
    "mallory/shop", "repository_id": "666"})` one that it is not for.
    """
    with World() as world:
        yield world


@pytest.fixture(scope="session")
def issuer(world: World) -> Issuer:
    """The world's OIDC issuer: `github_token(audience, **claims)`, `gitlab_token`, `sign`, ..."""
    return world.issuer


@pytest.fixture(scope="session")
def openbao(world: World) -> OpenBao:
    """The world's OpenBao: `client()` (hvac, root), and `audit()`, its own record of everything."""
    return world.openbao


@pytest.fixture
def openbao_namespace(openbao: OpenBao) -> Iterator[str]:
    """The name of an empty namespace of the test's own: `openbao.client(namespace=...)`."""
    name = f"test-{secrets.token_hex(4)}"
    openbao.client().sys.create_namespace(name)
    yield name
    openbao.client().sys.delete_namespace(name)


@pytest.fixture(scope="session")
def postgres(openbao: OpenBao) -> Iterator[PostgreSQL]:
    """A real PostgreSQL, with OpenBao's `database/creds/shop` making logins in it.

    `postgres.admits(username, password)` tells whether a login works right now. Skips where
    PostgreSQL is not installed. For a namespace: `postgres.mount(openbao.client(namespace=...))`.
    """
    if not PostgreSQL.is_installed():
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    with PostgreSQL() as server:
        server.mount(openbao.client())
        yield server


@pytest.fixture(scope="session")
def aws_world(issuer: Issuer) -> Iterator[AwsWorld]:
    """The AWS of this test process; take `aws`, which is the same one, empty."""
    with AwsWorld(issuer, npm.install(npm.IAM_SIMULATE)) as aws:
        yield aws


@pytest.fixture
def aws(aws_world: AwsWorld) -> AwsWorld:
    """An AWS account of the test's own, that trusts `issuer` and decides as AWS does.

    `aws.role("deploy")` makes a role for the sandbox's jobs, `aws.environ` is what a job needs to
    reach it, `aws.calls()` what it has seen. Skips where npm is missing.
    """
    aws_world.reset()
    return aws_world


@pytest.fixture
def aws_js(tmp_path: Path) -> Callable[[str], list[str]]:
    """Make a command of a JavaScript module that may import the AWS SDK's clients for S3 and STS.

    `subprocess.run(aws_js("import ..."), env=...)`. Skips where npm is missing.
    """
    npm.install(npm.AWS_SDK)
    return lambda source: npm.module(source, npm.AWS_SDK, tmp_path)
