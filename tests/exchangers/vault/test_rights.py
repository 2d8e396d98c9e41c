"""Rights as pure text: what is needed, what is missing, and how the login's namespace writes it."""

import pytest

from ci_identity.exchangers.vault.rights import Probe, excess, missing, needed, prefix
from ci_identity.model import VaultTarget


@pytest.mark.parametrize(
    ("namespace", "auth_namespace", "expected"),
    [
        (None, None, ""),
        ("team", None, ""),
        ("team", "team", ""),
        ("team/", "/team", ""),
        ("team", "root", "team/"),
        ("team", "", "team/"),
        ("team/shop", "team", "shop/"),
        ("team/shop/web", "team", "shop/web/"),
        ("team-shop", "team", "team-shop/"),
        (None, "root", ""),
        (None, "team", ""),
    ],
)
def test_prefix(namespace: str | None, auth_namespace: str | None, expected: str) -> None:
    """A policy lives in the login's namespace and names paths below it from there."""
    target = VaultTarget(role="r", namespace=namespace, auth_namespace=auth_namespace)
    assert prefix(target) == expected


def test_child_needs_one_right_more() -> None:
    """Only who makes a child must be able to."""
    assert needed(has_child=False) == ("auth/token/revoke-self",)
    assert needed(has_child=True) == ("auth/token/create", "auth/token/revoke-self")


@pytest.mark.parametrize("capabilities", [["root"], ["update"], ["create", "update"]])
def test_right_that_is_there(capabilities: list[str]) -> None:
    """`root` may do everything."""
    assert missing({"a": capabilities}, update=["a"], read=()) == ""


@pytest.mark.parametrize("capabilities", [[], ["deny"], ["create"], ["sudo"], ["list"]])
def test_right_that_is_missing(capabilities: list[str]) -> None:
    """Another right does not stand in for it, and a path that was not answered is not covered."""
    text = 'path "a" { capabilities = ["update"] }\npath "b" { capabilities = ["read"] }'
    assert missing({"a": capabilities}, update=["a"], read=["b"]) == text


def test_root_is_warned_of_everywhere() -> None:
    """A login with the root policy has each right too much."""
    probe = Probe.of("secret/data/shop", "nonce")
    found = excess(dict.fromkeys(probe.paths, ("root",)), probe)
    assert len(found) == 4


def test_probe_asks_beside_the_path_and_above_it() -> None:
    """A neighbour that nobody has, and the folders where both KV versions list."""
    probe = Probe.of("secret/data/team/shop", "nonce")
    assert probe.neighbours == {
        "secret/data/team/*": "secret/data/team/nonce",
        "+/data/team/shop": "nonce/data/team/shop",
        "secret/+/team/shop": "secret/nonce/team/shop",
        "secret/data/+/shop": "secret/data/nonce/shop",
        "secret/data/team/shop*": "secret/data/team/shopnonce",
    }
    assert probe.folders == ("secret/data/team/", "secret/metadata/team/")


def test_denied_path_is_no_excess() -> None:
    """Nothing that is denied is too much."""
    probe = Probe.of("secret/data/shop", "nonce")
    assert excess(dict.fromkeys(probe.paths, ("deny",)), probe) == ()
