"""Namespaces: one for everything, or the login in one and the secrets in another below it."""

import secrets
from collections.abc import Iterator

import pytest

from ci_identity.errors import VaultMountError, VaultPolicyError, VaultRoleError
from ci_identity.exchangers.vault import VaultExchanger
from ci_identity.model import Outcome
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from tests.audit import assert_all_revoked
from tests.exchangers.shop import CREATE, Shop


@pytest.fixture
def team(openbao: OpenBao, issuer: Issuer, openbao_namespace: str) -> Iterator[Shop]:
    """A shop that lives in a namespace of its own."""
    before = len(openbao.logins())
    yield Shop(openbao, issuer, namespace=openbao_namespace)
    assert_all_revoked(openbao, logins_before=before)


def namespaces_asked(shop: Shop, since: int) -> dict[str, str]:
    """Return API path to namespace, of the jobs' requests since then."""
    return {
        entry["request"]["path"]: entry["request"]["namespace"].get("path", "").strip("/")
        for entry in shop.openbao.audit()[since:]
        if entry["type"] == "request"
        and entry["request"].get("client_token") != shop.openbao.root_token.reveal()
    }


def test_one_namespace_for_everything(team: Shop) -> None:
    """`namespace` alone is where the login, the step's token, the values and the end are."""
    since = len(team.openbao.audit())
    with team.exchange() as seen:
        assert seen.values == {"PASSWORD": team.password}
        assert seen.credential.revoke(budget=5.0).outcome is Outcome.REVOKED
    asked = namespaces_asked(team, since)
    assert set(asked.values()) == {team.namespace}
    assert {"auth/jwt/login", team.path, "auth/token/revoke-self"} <= asked.keys()


def test_namespace_is_part_of_the_target(team: Shop) -> None:
    """The ledger's target tells roles of the same name in two namespaces apart."""
    target = VaultExchanger(team.target(), {}).target
    assert target == f"{team.openbao.address}/v1/{team.namespace}/auth/jwt/role/{team.name}"


def test_role_of_another_namespace(team: Shop) -> None:
    """A role is looked for in its own namespace only."""
    assert isinstance(team.refuse(team.target(auth_namespace="root")), VaultRoleError)
    assert isinstance(team.refuse(team.target(namespace=None)), VaultRoleError)


def test_missing_namespace_below(team: Shop) -> None:
    """A namespace that is missing below one that is there is named as what is wrong."""
    error = team.refuse(team.target(namespace=f"{team.namespace}/misspelt"))
    assert isinstance(error, VaultMountError)
    assert "no such namespace" in str(error)


@pytest.fixture(params=["root", "", "parent"])
def split(team: Shop, request: pytest.FixtureRequest) -> Iterator[tuple[Shop, str, str]]:
    """A shop, the namespace of its login, and how that one calls the namespace of the secrets."""
    if request.param != "parent":
        yield team, request.param, f"{team.namespace}/"
        return
    below = f"below-{secrets.token_hex(4)}"
    team.root.sys.create_namespace(below)
    inside = team.openbao.client(namespace=f"{team.namespace}/{below}")
    inside.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    inside.write_data(team.path, data={"data": {"password": team.password}})
    parent, team.namespace = str(team.namespace), f"{team.namespace}/{below}"
    yield team, parent, f"{below}/"
    team.root.sys.delete_namespace(below)


def test_login_above_the_secrets(split: tuple[Shop, str, str]) -> None:
    """The login may be in a namespace above; each missing right is named as that one writes it."""
    shop, login, below = split
    root = shop.openbao.client(namespace=None if login in {"", "root"} else login)
    for what, text in (("ci", CREATE), ("step", shop.may_read("nothing"))):
        root.sys.create_or_update_acl_policy(f"{shop.name}-{what}", text)
    shop.role(root=root)
    target, rights = shop.target(auth_namespace=login), [CREATE]
    for expected in (
        f'path "{below}sys/capabilities-self" {{ capabilities = ["update"] }}',
        shop.may_read(f"{below}{shop.path}"),
    ):
        error = shop.refuse(target)
        assert isinstance(error, VaultPolicyError)
        assert expected in error.hint.splitlines()
        rights.append(expected)
        root.sys.create_or_update_acl_policy(f"{shop.name}-ci", "\n".join(rights))
    error = shop.refuse(target)  # the login may read it now, the step's own policy does not say so
    assert isinstance(error, VaultPolicyError)
    assert error.hint.endswith(rights[-1])
    root.sys.create_or_update_acl_policy(f"{shop.name}-step", rights[-1])
    since = len(shop.openbao.audit())
    with shop.exchange(target) as seen:
        assert seen.values == {"PASSWORD": shop.password}
        assert seen.warnings == []
        assert seen.credential.revoke(budget=5.0).outcome is Outcome.REVOKED
    asked = namespaces_asked(shop, since)
    assert asked[shop.path] == shop.namespace
    own = login.removeprefix("root")
    assert (asked["auth/jwt/login"], asked["auth/token/revoke-self"]) == (own, own)
