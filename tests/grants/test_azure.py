"""What is particular in a grant for Azure: a life that Entra chooses, and the cloud's address."""

from datetime import timedelta

import pytest

from ci_identity.errors import GrantsFileError
from ci_identity.grants.lint import lint
from ci_identity.grants.load import GrantsFile, parse
from ci_identity.model import AzureTarget, Grant

ISSUER = "https://token.actions.githubusercontent.com"
TENANT, CLIENT = "00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111"
VAULT = "https://vault.azure.net"


def file(*lines: str, target: str = "") -> GrantsFile:
    """Return a file with one grant, with these lines and these keys of the target."""
    azure = f"azure: {{tenant: {TENANT}, client: {CLIENT}, resources: [{VAULT}]{target}}}"
    conditions = f"for: {{issuer: {ISSUER}, repository_id: 42, environment: ops}}"
    inner = "\n    ".join((conditions, azure, *lines))
    return parse(f"version: 1\ngrants:\n  rotate:\n    {inner}\n", "grants.yml")


def grant(*lines: str, target: str = "") -> Grant:
    """Return that grant."""
    return file(*lines, target=target).grant("rotate")


def test_without_a_ttl_it_asks_for_what_entra_gives() -> None:
    """90 minutes; and lint does not call that long."""
    found = grant()
    assert found.ttl == timedelta(minutes=90)
    assert found.target == AzureTarget(tenant=TENANT, client=CLIENT, resources=(VAULT,))


@pytest.mark.parametrize(("ttl", "is_long"), [("", False), ("ttl: 90m", False), ("ttl: 24h", True)])
def test_ttl_that_is_long(ttl: str, is_long: bool) -> None:  # noqa: FBT001  # a case
    """A managed identity's 24 hours can be written, and lint says what they are."""
    codes = {finding.code for finding in lint(file(ttl))}
    assert ("ttl-long" in codes) == is_long


def test_day_is_the_most() -> None:
    """Entra gives no more to an application; a longer one is a slip."""
    assert grant("ttl: 24h").ttl == timedelta(hours=24)
    with pytest.raises(GrantsFileError, match="`ttl` is longer than 24h"):
        grant("ttl: 25h")


def test_authority_of_another_cloud() -> None:
    """It is an address that a token may be sent to."""
    url = "https://login.microsoftonline.us"
    found = grant(target=f", authority: '{url}'").target
    assert isinstance(found, AzureTarget)
    assert found.authority == url
    with pytest.raises(GrantsFileError, match="authority` must be an address"):
        grant(target=", authority: 'http://login.microsoftonline.us'")
