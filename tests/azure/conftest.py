"""A job in the sandbox's world, an Entra that trusts it, and the internet in between."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from ci_identity.sources.subject_token import parse
from tests.azure.entra import AUDIENCE, CLIENT, STORAGE, TENANT, VAULT, Entra
from tests.azure.tls import Internet
from tests.step import Job

LOGIN, KEY_VAULT = "login.microsoftonline.com", "shop.vault.azure.net"


@pytest.fixture
def entra(world: World) -> Iterator[Entra]:
    """An Entra whose application has a federated credential for the sandbox's jobs."""
    claims = parse(world.issuer.github_token(AUDIENCE), origin="the test")
    with Entra(world.issuer.address, str(claims["sub"])) as entra:
        yield entra


@pytest.fixture
def internet(entra: Entra, tmp_path: Path) -> Iterator[Internet]:
    """The addresses that everybody knows, led to that Entra."""
    with Internet(dict.fromkeys((LOGIN, KEY_VAULT), entra.netloc), tmp_path) as internet:
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
