"""Tokens of a real Kubernetes engine: an account that was made is deleted, another one stays."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ci_identity.errors import TokenLifeError
from ci_identity.model import Outcome, SecretReference
from tests.exchangers.shop import Shop, written
from tests.exchangers.vault.cluster import BEARER, Cluster

TTL = timedelta(minutes=10)
GENERATED = {"kubernetes_role_name": "deployer", "kubernetes_role_type": "Role"}
RULES = {"generated_role_rules": '{"rules": [{"apiGroups": [""], "resources": ["pods"]}]}'}
EXISTING = {"service_account_name": "deployer"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An API server with the account `shop/deployer`."""
    with Cluster() as cluster:
        cluster.add("shop/deployer")
        yield cluster


@pytest.fixture
def mount(shop: Shop, cluster: Cluster) -> Iterator[str]:
    """Where an engine for the cluster is mounted; the step may have tokens of its role `web`."""
    mount = shop.mount("kubernetes")
    shop.root.write_data(
        f"{mount}/config",
        data={
            "kubernetes_host": cluster.address,
            "kubernetes_ca_cert": cluster.ca,
            "service_account_jwt": BEARER,
            "disable_local_ca_jwt": True,
        },
    )
    shop.policy("step", shop.may_write(f"{mount}/creds/web"))
    yield mount
    shop.root.sys.disable_secrets_engine(mount)


def role(shop: Shop, mount: str, settings: dict[str, str]) -> dict[str, SecretReference]:
    """Make the role so, and return what the grant asks of it."""
    data = {"allowed_kubernetes_namespaces": ["shop"]} | settings
    shop.root.write_data(f"{mount}/roles/web", data=data)
    reference = f"{mount}/creds/web#service_account_token"
    return {"TOKEN": written(reference, kubernetes_namespace="shop")}


@pytest.mark.parametrize("settings", [GENERATED, RULES], ids=["bound", "with-rules"])
def test_account_that_was_made_for_it_is_deleted(
    shop: Shop, mount: str, cluster: Cluster, settings: dict[str, str]
) -> None:
    """The API server takes the token during the step, and not after it."""
    secrets = role(shop, mount, settings)
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        assert cluster.admits(seen.values["TOKEN"])
        ending = seen.credential.revoke(budget=10.0)
        assert not cluster.admits(seen.values["TOKEN"])
    assert (ending.outcome, ending.detail) == (Outcome.REVOKED, "")
    assert ("DELETE", "serviceaccounts") in cluster.asked
    assert [handle.kind for handle in seen.handles][2:] == ["lease"]


def test_token_of_an_account_that_was_there_expires(
    shop: Shop, mount: str, cluster: Cluster
) -> None:
    """The server confirms that the lease is revoked, and the token works on."""
    secrets = role(shop, mount, EXISTING)
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        ending = seen.credential.revoke(budget=10.0)
        assert cluster.admits(seen.values["TOKEN"])
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "not-revocable")
    name = f"{mount}/creds/web#shop/deployer"
    assert ending.detail.startswith(f"{name}: a token of an account that stays, which ends at ")
    lease, expiring = seen.handles[2:]
    assert (lease.kind, str(expiring)) == ("lease", f"expiring:{name}")
    assert expiring.expires_at is not None
    assert seen.credential.expires_at >= expiring.expires_at


def test_old_account_with_a_name_as_of_a_made_one_stays(
    shop: Shop, mount: str, cluster: Cluster
) -> None:
    """The time in the name is that of now, or the account was not made now."""
    name = "v-token-ci-web-1700000000-abcdefghijklmnopqrstuvwx"
    cluster.add(f"shop/{name}")
    secrets = role(shop, mount, {"service_account_name": name})
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.EXPIRES


def test_made_account_under_a_name_of_the_roles_own_cannot_be_told(
    shop: Shop, mount: str, cluster: Cluster
) -> None:
    """It is deleted, too; but the answer does not show that it was made, and so it `expires`."""
    named = GENERATED | {"name_template": "ci-{{.RoleName}}-{{random 8 | lowercase}}"}
    with shop.exchange(shop.target(secrets=role(shop, mount, named)), ttl=TTL) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.EXPIRES
        assert not cluster.admits(seen.values["TOKEN"])


def test_token_that_the_cluster_makes_longer_is_refused(
    shop: Shop, mount: str, cluster: Cluster
) -> None:
    """An API server has a shortest life of its own, and the lease does not say it."""
    cluster.least = 3600
    error = shop.refuse(shop.target(secrets=role(shop, mount, EXISTING)), ttl=TTL)
    assert isinstance(error, TokenLifeError)
    assert "a token of an account that stays would live for" in str(error)


def test_made_account_ends_its_token_however_long_that_lives(
    shop: Shop, mount: str, cluster: Cluster
) -> None:
    """With the account goes its token; so a longer life in the token itself is no matter."""
    cluster.least = 3600
    with shop.exchange(shop.target(secrets=role(shop, mount, GENERATED)), ttl=TTL) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
        assert not cluster.admits(seen.values["TOKEN"])
