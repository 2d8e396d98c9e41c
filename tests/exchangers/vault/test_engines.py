"""Engines that need no rule of their own, and answers that leave open what they are."""

import pytest

from ci_identity.errors import TokenLifeError
from ci_identity.exchangers.vault.issued import pki_mount
from ci_identity.model import Outcome
from tests.exchangers.front import Front
from tests.exchangers.shop import CREATE, Shop, references, written

MOUNTS = "sys/internal/ui/mounts"


@pytest.fixture
def transit(shop: Shop) -> str:
    """The mount of an encryption engine with a key to sign and a key to encrypt with."""
    mount = shop.mount("transit")
    shop.root.write_data(f"{mount}/keys/signing", data={"type": "ed25519"})
    shop.root.write_data(f"{mount}/keys/wrapping", data={})
    return mount


def test_transit_is_written_to_and_leaves_nothing_to_end(shop: Shop, transit: str) -> None:
    """A signature or a data key is a value; the right to end leases is not needed for it."""
    paths = [f"{transit}/sign/signing", f"{transit}/datakey/plaintext/wrapping"]
    shop.policy("step", "\n".join(map(shop.may_write, paths)))
    shop.policy("ci", CREATE)
    secrets = {
        "SIGNATURE": written(f"{paths[0]}#signature", input="aGVsbG8="),
        "KEY": written(f"{paths[1]}#plaintext"),
        "WRAPPED": written(f"{paths[1]}#ciphertext"),
    }
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        ending = seen.credential.revoke(budget=10.0)
    assert seen.values["SIGNATURE"].startswith("vault:v1:")
    unwrapped = shop.root.write_data(
        f"{transit}/decrypt/wrapping", data={"ciphertext": seen.values["WRAPPED"]}
    )
    assert unwrapped["data"]["plaintext"] == seen.values["KEY"]
    assert (ending.outcome, ending.detail) == (Outcome.REVOKED, "")


def test_totp_code_is_read(shop: Shop) -> None:
    """A code of the next seconds: nothing of it is at the server."""
    mount = shop.mount("totp")
    key = {"generate": True, "issuer": "acme", "account_name": "ci"}
    shop.root.write_data(f"{mount}/keys/ci", data=key)
    shop.policy("step", shop.may_read(f"{mount}/code/ci"))
    with shop.exchange(shop.target(secrets=references(CODE=f"{mount}/code/ci#code"))) as seen:
        assert len(seen.values["CODE"]) == 6
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED


def test_signed_identity_token_expires(shop: Shop) -> None:
    """Whoever verifies the server's own OIDC tokens does not ask it whether they ended."""
    name = shop.name
    shop.root.write_data(f"identity/oidc/key/{name}", data={"allowed_client_ids": "*"})
    shop.root.write_data(f"identity/oidc/role/{name}", data={"key": name, "ttl": "4m"})
    path = f"identity/oidc/token/{name}"
    shop.policy("step", shop.may_read(path))
    with shop.exchange(shop.target(secrets=references(TOKEN=f"{path}#token"))) as seen:
        ending = seen.credential.revoke(budget=10.0)
    assert ending.outcome is Outcome.EXPIRES
    assert ending.detail.startswith(f"{path}: a signed token, which ends at ")
    shop.root.write_data(f"identity/oidc/role/{name}", data={"key": name, "ttl": "1h"})
    error = shop.refuse(shop.target(secrets=references(TOKEN=f"{path}#token")))
    assert isinstance(error, TokenLifeError)


def test_what_has_no_lease_and_no_end_is_refused(shop: Shop) -> None:
    """The secret id of an AppRole, say: nothing of its answer tells until when it is good."""
    shop.root.sys.enable_auth_method("approle", path=shop.name)
    shop.root.write_data(f"auth/{shop.name}/role/web", data={"token_policies": "default"})
    path = f"auth/{shop.name}/role/web/secret-id"
    shop.policy("step", shop.may_write(path))
    error = shop.refuse(shop.target(secrets={"ID": written(f"{path}#secret_id")}))
    assert isinstance(error, TokenLifeError)
    assert str(error) == f"{path}: the server does not say until when what was issued lives"
    assert shop.last.credential.variables == {}


def test_kind_of_the_engine_is_asked_only_where_the_answer_leaves_it_open(
    shop: Shop, transit: str
) -> None:
    """Not for what is read, nor for what its fields tell: each call is on the way to the step."""
    path = f"{transit}/random"
    shop.policy("step", f"{shop.may_write(path)}\n{shop.may_read(shop.path)}")
    with Front(shop.openbao.address) as front:
        target = shop.target(address=front.address)
        with shop.exchange(target):
            assert not [path for path in front.asked if path.startswith(MOUNTS)]
        secrets = {"R": written(f"{path}#random_bytes")}
        with shop.exchange(shop.target(address=front.address, secrets=secrets)):
            assert [one for one in front.asked if one.startswith(MOUNTS)] == [f"{MOUNTS}/{path}"]


def test_path_that_is_read_and_written_to_needs_both_rights(shop: Shop, transit: str) -> None:
    """And neither of the two is one too many."""
    path = f"{transit}/keys/signing"
    secrets = references(A=f"{path}#name") | {"B": written(f"{path}#name")}
    shop.policy("step", shop.may_read(path))
    hint = getattr(shop.refuse(shop.target(secrets=secrets)), "hint", "")
    assert hint.endswith(f"add to a policy of the role:\n{shop.may_write(path)}")
    both = f'path "{path}" {{ capabilities = ["read", "update", "sudo"] }}'
    shop.policy("step", both)
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        pass
    (warning,) = seen.warnings
    assert warning.endswith(
        f": has sudo on {path}; reading and writing to it needs read and update only"
    )


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("pki/issue/web", "pki"),
        ("team/pki/sign/web", "team/pki"),
        ("pki/issuer/default/issue/web", "pki"),
        ("pki/issuer/default/sign-verbatim/web", "pki"),
        ("pki/sign-verbatim", "pki"),
        ("pki/cel/issue/web", "pki"),
        ("database/creds/shop", None),
        ("issue/web", None),
        ("secret/data/issue/web/x", None),
    ],
)
def test_mount_of_a_path_that_issues(path: str, mount: str | None) -> None:
    """Where its certificates are revoked is beside it."""
    assert pki_mount(path) == mount
