"""The step's own token: what it is, what it may do, and what it may not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hvac
import hvac.exceptions
import pytest

from ci_identity._network import Network
from ci_identity.errors import (
    ProviderAnswerError,
    TokenLifeError,
    VaultNarrowingError,
    VaultPolicyError,
)
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.vault import VaultExchanger
from ci_identity.exchangers.vault.sdk import hvac_client
from ci_identity.model import Grant, Outcome, Wanted
from tests.audit import is_alive
from tests.exchangers.front import Front, with_
from tests.exchangers.shop import CREATE, Shop, references


def looked_up(shop: Shop, accessor: str) -> dict[str, Any]:
    """Return what the server says of the token."""
    found: dict[str, Any] = shop.root.auth.token.lookup_accessor(accessor)["data"]
    return found


def may_read(client: Any, path: str) -> bool:
    """True if the server lets this client read `path`."""
    try:
        client.read(path)
    except hvac.exceptions.Forbidden:
        return False
    return True


def test_child_has_exactly_the_policies_of_the_grant(shop: Shop) -> None:
    """The step's token has what the grant says, without the default policy, and no more."""
    with shop.exchange() as seen:
        found = looked_up(shop, seen.accessors()[1])
    assert found["policies"] == [f"{shop.name}-step"]
    assert found["type"] == "service"
    assert found["orphan"] is False


def test_child_lives_no_longer_than_asked_and_is_not_renewable(shop: Shop) -> None:
    """Its life and its longest possible life are the ttl."""
    with shop.exchange(ttl=timedelta(seconds=90)) as seen:
        found = looked_up(shop, seen.accessors()[1])
        latest = datetime.now(UTC) + timedelta(seconds=90)
        assert seen.credential.expires_at <= latest
    assert (found["creation_ttl"], found["explicit_max_ttl"]) == (90, 90)
    assert found["renewable"] is False


def test_child_says_whose_it_is(shop: Shop) -> None:
    """Its metadata, and so every line about it in the server's log, has job, step and lease."""
    with shop.exchange() as seen:
        found = looked_up(shop, seen.accessors()[1])
    assert found["meta"] == {
        "repository": "acme/shop",
        "run": "9001/1",
        "job": "31337",
        "step": "migrate",
        "grant": "migrate-db",
        "lease": f"lease-of-{shop.name}",
    }
    reads = [
        entry
        for entry in shop.openbao.audit()
        if entry["request"]["path"] == shop.path and entry["request"]["operation"] == "read"
    ]
    assert reads
    assert all(entry["auth"]["metadata"]["lease"] == found["meta"]["lease"] for entry in reads)


def test_child_cannot_read_what_the_login_could(shop: Shop) -> None:
    """The login's policies reach further than the step's token."""
    other = f"{shop.path}-other"
    shop.store({"password": "of-another-step"}, other)
    other_policy = shop.policy("other", shop.may_read(other))
    shop.role(token_policies=[f"{shop.name}-ci", f"{shop.name}-step", other_policy])
    with shop.exchange() as seen:
        assert seen.credential.login is not None
        assert seen.credential.step is not None
        assert may_read(seen.credential.login.hvac(), other)
        assert may_read(seen.credential.step.hvac(), shop.path)
        assert not may_read(seen.credential.step.hvac(), other)


def test_child_cannot_make_tokens_or_end_leases(shop: Shop) -> None:
    """What the login needs for its work is not passed on."""
    with shop.exchange() as seen:
        assert seen.credential.step is not None
        step = seen.credential.step.hvac()
        with pytest.raises(hvac.exceptions.Forbidden):
            step.auth.token.create(policies=[f"{shop.name}-step"])
        with pytest.raises(hvac.exceptions.Forbidden):
            step.sys.revoke_lease("database/creds/shop/x")


def test_values_are_read_by_the_child(shop: Shop) -> None:
    """The one token that reads is the narrow one: what it may not, the step does not get."""
    shop.policy("other", shop.may_read(shop.path))
    shop.policy("step", shop.may_read("secret/data/nothing"))
    shop.role(token_policies=[f"{shop.name}-{what}" for what in ("ci", "step", "other")])
    error = shop.refuse()
    assert isinstance(error, VaultPolicyError)
    assert f"may not read {shop.path}" in str(error)
    assert error.hint.endswith(shop.may_read(shop.path))
    assert f"{shop.name}-step" in error.hint


def test_policy_that_the_login_has_not(shop: Shop) -> None:
    """A step's policy must be one of the login's; the error names it and says where it goes."""
    foreign = shop.policy("foreign", shop.may_read(shop.path))
    error = shop.refuse(shop.target(policies=(foreign,)))
    assert isinstance(error, VaultPolicyError)
    assert foreign in str(error)
    assert "token_policies" in error.hint


def test_both_tokens_are_recorded_with_handles(shop: Shop) -> None:
    """Login and child are recorded, each with what ends it and the fingerprint of the token."""
    with shop.exchange() as seen:
        tokens = [looked_up(shop, accessor) for accessor in seen.accessors()]
        assert [token["path"] for token in tokens] == ["auth/jwt/login", "auth/token/create"]
        assert seen.credential.step is not None
        assert seen.credential.login is not None
        bearers = [client.hvac().token for client in (seen.credential.login, seen.credential.step)]
    assert len({handle.fingerprint for handle in seen.handles}) == 2
    for handle, bearer in zip(seen.handles, bearers, strict=True):
        assert handle.fingerprint
        assert len(handle.fingerprint) == 64
        assert bearer not in f"{handle!r}{handle}"


def test_grant_without_secrets_gives_a_token_only(shop: Shop) -> None:
    """A grant may be for the token alone: nothing is read."""
    with shop.exchange(shop.target(secrets={})) as seen:
        assert seen.credential.variables == {}
        assert is_alive(shop.openbao, seen.accessors()[1])


def test_policies_of_the_identity_are_not_handed_out(shop: Shop) -> None:
    """A child has its entity's policies too, whatever was asked: that is not what was granted."""
    with shop.exchange() as seen:
        entity = shop.root.auth.token.lookup_accessor(seen.accessors()[0])["data"]["entity_id"]
    shop.root.secrets.identity.update_entity(entity_id=entity, policies=["prod-admin"])
    error = shop.refuse()
    assert isinstance(error, VaultNarrowingError)
    assert "prod-admin" in str(error)
    shop.root.secrets.identity.update_entity(entity_id=entity, policies=[])
    with shop.exchange() as seen:
        assert seen.values == {"PASSWORD": shop.password}


@pytest.mark.parametrize(
    ("field", "lie"),
    [
        ("token_policies", ["root"]),
        ("identity_policies", ["more"]),
        ("renewable", True),
        ("lease_duration", 0),
        ("lease_duration", -5),
        ("lease_duration", 10**9),
        ("client_token", "s.a\nb"),
    ],
)
def test_a_server_that_does_not_narrow_is_not_believed(shop: Shop, field: str, lie: object) -> None:
    """What the answer says of the child is checked against what was asked."""
    with Front(shop.openbao.address) as front:
        front.faults["auth/token/create"] = [with_(value=lie, path=("auth", field))]
        error = shop.refuse(shop.target(address=front.address))
    assert isinstance(error, VaultNarrowingError | TokenLifeError | ProviderAnswerError)


def test_login_goes_with_the_child(shop: Shop) -> None:
    """Ending the login ends the step's token."""
    with shop.exchange() as seen:
        login, child = seen.accessors()
        assert is_alive(shop.openbao, child)
        assert seen.credential.revoke(budget=5.0).outcome is Outcome.REVOKED
        assert not is_alive(shop.openbao, login)
        assert not is_alive(shop.openbao, child)


# ── what is missing is said so that it can be pasted ─────────────────────────────────────────

_RIGHTS = {
    "auth/token/create": CREATE,
    "auth/token/revoke-self": 'path "auth/token/revoke-self" { capabilities = ["update"] }',
    "sys/capabilities-self": 'path "sys/capabilities-self" { capabilities = ["update"] }',
}


def narrow(shop: Shop, *, without: str) -> str:
    """Give the login just what it needs, without one right; return the text of that right."""
    rights = _RIGHTS | {shop.path: shop.may_read(shop.path)}
    lacking = rights.pop(without)
    shop.policy("ci", "\n".join(rights.values()))
    shop.policy("step", shop.may_read(f"{shop.path}-none"))
    shop.role(token_no_default_policy=True)
    return lacking


@pytest.mark.parametrize("right", [*_RIGHTS, "the secret"])
def test_missing_right_is_named_with_the_text_to_add(shop: Shop, right: str) -> None:
    """A right that the login lacks is refused before anything is read; its text makes it work."""
    text = narrow(shop, without=shop.path if right == "the secret" else right)
    target = shop.target() if right == "auth/token/create" else shop.target(policies=())
    error = shop.refuse(target)
    assert isinstance(error, VaultPolicyError)
    assert "add to a policy of the role:\n" in error.hint
    assert text in error.hint.splitlines()
    for accessor in shop.last.accessors() if right == "auth/token/revoke-self" else ():
        shop.root.auth.token.revoke_accessor(accessor)  # it could not do so itself
    shop.policy("step", f"{error.hint.partition(chr(10))[2]}\n{shop.may_read(shop.path)}")
    with shop.exchange(target) as seen:
        assert seen.values == {"PASSWORD": shop.password}


def test_policy_that_is_forgotten_in_the_role(shop: Shop) -> None:
    """It is that, and no path, that is missing: who added the path would widen the login."""
    shop.role(token_policies=[f"{shop.name}-ci"])
    error = shop.refuse()
    assert isinstance(error, VaultPolicyError)
    assert f"names the policies {shop.name}-step, which the role {shop.name} does" in str(error)
    assert f"add {shop.name}-step to token_policies" in error.hint
    assert shop.path not in error.hint


def test_token_that_may_not_end_itself_is_said_to_be_alive(shop: Shop) -> None:
    """Nothing was read with it, but it lives: the ending says so, and its handle can end it."""
    narrow(shop, without="auth/token/revoke-self")
    shop.refuse(shop.target(policies=()))
    ending = shop.last.credential.revoke(budget=5.0)
    assert ending.outcome is Outcome.FAILED
    assert ending.detail == "login token: the server could not revoke it, or would not"
    assert shop.last.credential.variables == {}
    (accessor,) = shop.last.accessors()
    assert is_alive(shop.openbao, accessor)
    shop.root.auth.token.revoke_accessor(accessor)


def test_every_missing_right_is_named_at_once(shop: Shop) -> None:
    """Nobody has to come back for each line."""
    shop.policy("ci", _RIGHTS["auth/token/revoke-self"])
    shop.policy("step", shop.may_read(f"{shop.path}-none"))
    error = shop.refuse()
    assert isinstance(error, VaultPolicyError)
    text = error.hint.partition("\n")[2]
    assert text.splitlines() == [CREATE, shop.may_read(shop.path)]


def test_static_secrets_need_no_right_to_end_leases(shop: Shop) -> None:
    """KV gives no leases, so the role needs no `sys/leases/revoke`."""
    shop.policy("ci", CREATE)
    with shop.exchange() as seen:
        assert seen.values == {"PASSWORD": shop.password}
        assert seen.warnings == []


# ── too much is said too ─────────────────────────────────────────────────────────────────────


def test_exact_policy_is_not_warned_of(shop: Shop) -> None:
    """A policy of `read` on the one path has nothing to complain of."""
    with shop.exchange() as seen:
        assert seen.warnings == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'path "secret/metadata/*" {{ capabilities = ["list"] }}',
            "may list secret/metadata/: reading is not enumerating",
        ),
        (
            'path "{path}" {{ capabilities = ["read", "sudo"] }}',
            "has sudo on {path}; reading it needs read only",
        ),
        (
            'path "{path}" {{ capabilities = ["create", "read", "update"] }}',
            "has create, update on {path}; reading it needs read only",
        ),
        (
            'path "secret/data/*" {{ capabilities = ["read"] }}',
            "a wildcard covers {path}: all of secret/data/* can be read",
        ),
        (
            'path "secret/data/+" {{ capabilities = ["read"] }}',
            "a wildcard covers {path}: all of secret/data/* can be read",
        ),
        (
            'path "{path}*" {{ capabilities = ["read"] }}',
            "a wildcard covers {path}: all of {path}* can be read",
        ),
    ],
    ids=["list", "sudo", "write", "wildcard", "plus", "prefix"],
)
def test_excess_right_is_warned_of(shop: Shop, text: str, sentence: str) -> None:
    """A right around the path that the grant does not need is said, and the step runs."""
    shop.policy("step", shop.may_read(shop.path) + "\n" + text.format(path=shop.path))
    with shop.exchange() as seen:
        assert seen.warnings == [f"vault role {shop.name}: {sentence.format(path=shop.path)}"]


def test_right_to_list_version_1_is_warned_of(shop: Shop) -> None:
    """The same for KV version 1, which lists where it reads."""
    shop.root.sys.enable_secrets_engine("kv", path=shop.name, options={"version": "1"})
    path = f"{shop.name}/db"
    shop.root.write_data(path, data={"password": shop.password})
    listing = f'path "{shop.name}/" {{ capabilities = ["list"] }}'
    shop.policy("step", f"{shop.may_read(path)}\n{listing}")
    with shop.exchange(shop.target(secrets=references(P=f"{path}#password"))) as seen:
        assert seen.values == {"P": shop.password}
        assert seen.warnings == [
            f"vault role {shop.name}: may list {shop.name}/: reading is not enumerating"
        ]


# ── what only the grant may say ──────────────────────────────────────────────────────────────


def test_exchanger_is_that_of_the_target(shop: Shop) -> None:
    """A grant for Vault is exchanged there; the default audience is the address."""
    grant = Grant(
        name="g", conditions={"repository": (Wanted(text="acme/shop"),)}, target=shop.target()
    )
    exchanger = exchanger_for(grant, {})
    assert isinstance(exchanger, VaultExchanger)
    assert exchanger.audience == shop.openbao.address
    assert exchanger.target == f"{shop.openbao.address}/v1/auth/jwt/role/{shop.name}"
    assert exchanger.steered_by == ()


def test_environment_cannot_lend_a_token_or_a_namespace(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Neither VAULT_TOKEN, ~/.vault-token nor VAULT_NAMESPACE has a say, nor a client's key."""
    (tmp_path / ".vault-token").write_text(shop.openbao.root_token.reveal())
    environ = {
        "HOME": str(tmp_path),
        "VAULT_TOKEN": shop.openbao.root_token.reveal(),
        "VAULT_NAMESPACE": "elsewhere",
        "VAULT_ADDR": "http://127.0.0.1:9",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hvac.v1.VAULT_CLIENT_CERT", "/nonexistent/cert.pem")
    before = len(shop.openbao.audit())
    with shop.exchange(environ=environ) as seen:
        assert seen.values == {"PASSWORD": shop.password}
        assert VaultExchanger(shop.target(), environ).steered_by == ()
    root = shop.openbao.root_token.reveal()
    for entry in shop.openbao.audit()[before:]:
        assert entry["request"].get("client_token") != root
        assert "elsewhere" not in str(entry["request"]["namespace"])


@pytest.mark.parametrize("name", ["VAULT_ADDR", "BAO_ADDR"])
def test_address_of_the_environment_is_used_and_named(shop: Shop, name: str) -> None:
    """Where the grant has no address the environment's is taken, and it is known that it was."""
    environ = {name: shop.openbao.address}
    target = shop.target(address=None)
    assert VaultExchanger(target, environ).steered_by == (name,)
    with shop.exchange(target, environ=environ) as seen:
        assert seen.values == {"PASSWORD": shop.password}


def test_client_finds_no_token_by_itself(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
    """The client that callers are handed does not read ~/.netrc or the environment either."""
    monkeypatch.setenv("VAULT_TOKEN", shop.openbao.root_token.reveal())
    client = hvac_client(shop.openbao.address, Network(), None, None)
    assert not client.is_authenticated()
