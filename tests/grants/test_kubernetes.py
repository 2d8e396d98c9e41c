"""What is particular in a grant for Kubernetes: the shortest life, and a file beside the file."""

from datetime import timedelta
from pathlib import Path

import pytest

from ci_identity.errors import GrantsFileError
from ci_identity.grants.load import load, parse
from ci_identity.model import Grant, KubernetesTarget

ISSUER = "https://token.actions.githubusercontent.com"


def text(*lines: str, target: str = "") -> str:
    """Return a file with one grant, with these lines and these keys of the target."""
    kubernetes = (
        "kubernetes: {server: 'https://k8s.acme.example', namespace: shop,"
        f" service_account: deployer, audience: acme{target}}}"
    )
    conditions = f"for: {{issuer: {ISSUER}, repository_id: 42, environment: production}}"
    inner = "\n    ".join((conditions, kubernetes, *lines))
    return f"version: 1\ngrants:\n  rollout:\n    {inner}\n"


def grant(*lines: str, target: str = "") -> Grant:
    """Return that grant."""
    return parse(text(*lines, target=target), "grants.yml").grant("rollout")


@pytest.mark.parametrize("ttl", ["9m", "599s", "1s"])
def test_life_that_no_api_server_gives(ttl: str) -> None:
    """Refused where it is written, so by `check` too."""
    with pytest.raises(GrantsFileError, match=r"grants\.yml:6: .*`ttl` is shorter than 10m"):
        grant(f"ttl: {ttl}")


@pytest.mark.parametrize("ttl", ["10m", "600s", "12h"])
def test_life_that_there_is(ttl: str) -> None:
    """Ten minutes and more; without `ttl` a quarter of an hour, as everywhere."""
    assert grant(f"ttl: {ttl}").ttl >= timedelta(minutes=10)
    assert grant().ttl == timedelta(minutes=15)


def test_ca_file_is_looked_for_beside_the_grants_file(tmp_path: Path) -> None:
    """Wherever the command is run; one with a whole path is where it says."""
    path = tmp_path / "grants.yml"
    for written, found in (("ca/prod.pem", tmp_path / "ca/prod.pem"), ("/etc/ca.pem", None)):
        path.write_text(text(target=f", ca_file: {written}"))
        target = load(path).grant("rollout").target
        assert isinstance(target, KubernetesTarget)
        assert target.ca_file == str(found or written)


def test_audiences_of_the_issued_token() -> None:
    """A list; none of them means the API server's own."""
    target = grant(target=", token_audiences: [vault, 'https://k8s.acme.example']").target
    assert isinstance(target, KubernetesTarget)
    assert target.token_audiences == ("vault", "https://k8s.acme.example")
    with pytest.raises(GrantsFileError, match="empty list"):
        grant(target=", token_audiences: []")
