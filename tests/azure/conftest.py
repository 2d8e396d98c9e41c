"""A job in the sandbox's world, an Entra that trusts it, and the internet in between."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from ci_identity.sources.subject_token import parse
from tests.azure.entra import AUDIENCE, CLIENT, STORAGE, TENANT, VAULT, Entra
from tests.azure.storage import Storage
from tests.azure.tls import Internet
from tests.step import Job

LOGIN, KEY_VAULT = "login.microsoftonline.com", "shop.vault.azure.net"
ACCOUNT = "shopstate.blob.core.windows.net"


@pytest.fixture
def entra(world: World) -> Iterator[Entra]:
    """An Entra whose application has a federated credential for the sandbox's jobs."""
    claims = parse(world.issuer.github_token(AUDIENCE), origin="the test")
    with Entra(world.issuer.address, str(claims["sub"])) as entra:
        yield entra


@pytest.fixture
def storage(entra: Entra) -> Iterator[Storage]:
    """A storage account that takes that Entra's tokens for storage."""
    with Storage(lambda token: entra.accepts(token, STORAGE)) as storage:
        yield storage


@pytest.fixture
def internet(entra: Entra, storage: Storage, tmp_path: Path) -> Iterator[Internet]:
    """The addresses that everybody knows, led to these two."""
    servers = {LOGIN: entra.netloc, KEY_VAULT: entra.netloc, ACCOUNT: storage.netloc}
    with Internet(servers, tmp_path) as internet:
        yield internet


@pytest.fixture
def job(world: World, internet: Internet, tmp_path: Path) -> Job:
    """A job with grants for one application: `rotate` for the Key Vault, `both` for storage too."""
    issuer = json.dumps(world.issuer.address)
    lines = ["version: 1", "grants:"]
    for name, resources in (("rotate", [VAULT]), ("both", [STORAGE, VAULT])):
        lines += [f"  {name}:", f"    for: {{issuer: {issuer}, repository: acme/shop}}"]
        lines += ["    azure:", f"      tenant: {TENANT}", f"      client: {CLIENT}"]
        lines += [f"      resources: [{', '.join(resources)}]"]
    (tmp_path / "grants.yml").write_text("\n".join(lines))
    made = Job.of(world, tmp_path / "state")
    made.environ.update(internet.environ, CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"))
    return made
