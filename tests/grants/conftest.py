"""Jobs and grants for this room's tests: right by default, changed by keyword."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ci_identity.grants.load import parse
from ci_identity.model import Grant, JobIdentity, UnverifiedClaims

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:acme/shop:ref:refs/heads/main"

MakeJob = Callable[..., JobIdentity]
MakeGrant = Callable[..., Grant]


@pytest.fixture(scope="session")
def job() -> MakeJob:
    """Make a job of acme/shop on main: `job(fork=None, ref="x")`; other names are claims."""

    def make(**changes: Any) -> JobIdentity:
        own = {
            name: changes.pop(name)
            for name in ("step", "fork", "debug", "event", "issuer", "subject", "audience")
            if name in changes
        }
        claims = {"repository_id": "42", "ref": "refs/heads/main"} | changes
        values = {
            "issuer": ISSUER,
            "subject": SUBJECT,
            "audience": ("https://vault.example",),
            "event": "push",
            "fork": False,
            "expires_at": datetime(2026, 11, 1, tzinfo=UTC),
        }
        return JobIdentity(source="test", claims=UnverifiedClaims(claims), **values | own)

    return make


@pytest.fixture(scope="session")
def grant() -> MakeGrant:
    """Make a grant for acme/shop with these conditions and other keys, as YAML in flow style."""

    def make(
        conditions: str = "repository_id: 42", keys: str = "vault: {role: r}", *, issuer: str = ISSUER
    ) -> Grant:
        text = f"version: 1\ngrants: {{a: {{for: {{issuer: '{issuer}', {conditions}}}, {keys}}}}}\n"
        return parse(text, "grants.yml").grants["a"]

    return make
