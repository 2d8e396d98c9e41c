"""A job in the sandbox's world, a partner that trusts it, and the internet in between."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.azure.tls import Internet
from tests.step import Job
from tests.token_exchange.server import API, AuthorizationServer

STS = "sts.partner.example"


@pytest.fixture
def server(world: World) -> Iterator[AuthorizationServer]:
    """An authorization server that trusts the sandbox's jobs."""
    subject = github_claims(world.issuer.address, None, {})["sub"]
    with AuthorizationServer(world.issuer.address, subject) as server:
        yield server


@pytest.fixture
def job(world: World, server: AuthorizationServer, tmp_path: Path) -> Iterator[Job]:
    """A job with the grants `partner`, `plain` (nobody ends its tokens), and `again`."""
    issuer = json.dumps(world.issuer.address)
    target = f"url: https://{STS}/token, audience: '{API}', scope: upload"
    revoke = f"revoke_url: https://{STS}/revoke"
    lines = ["version: 1", "grants:"]
    for name, keys in (
        ("partner", f"{target}, {revoke}"),
        ("plain", target),
        ("again", f"{target}, {revoke}, variable: PARTNER_TOKEN"),
    ):
        lines += [f"  {name}:", f"    for: {{issuer: {issuer}, repository: acme/shop}}"]
        lines += [f"    token_exchange: {{{keys}}}"]
    (tmp_path / "grants.yml").write_text("\n".join(lines))
    with Internet({STS: server.netloc}, tmp_path) as internet:
        made = Job.of(world, tmp_path / "state")
        made.environ.update(internet.environ, CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"))
        yield made
