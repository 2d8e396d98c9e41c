"""Values read at a real server: each path once, each field as its variable."""

import json
from typing import Any

import pytest

from ci_identity.errors import VaultSecretError
from ci_identity.model import SecretReference
from tests.exchangers.shop import Shop, references


def reads(shop: Shop, path: str) -> int:
    """Return how often the server was asked for what is at `path`."""
    return sum(
        entry["request"]["path"] == path and entry["request"]["operation"] == "read"
        for entry in shop.openbao.audit()
        if entry["type"] == "request"
    )


def version_1(shop: Shop, **data: Any) -> str:
    """Store `data` with KV version 1, let the step read it, and return its path."""
    shop.root.sys.enable_secrets_engine("kv", path=shop.name, options={"version": "1"})
    path = f"{shop.name}/db"
    shop.root.write_data(path, data=data)
    shop.policy("step", shop.may_read(path))
    return path


def test_fields_of_one_path_are_one_read(shop: Shop) -> None:
    """Several fields of a path are asked for once: with a dynamic engine each read is a login."""
    secrets = references(A=f"{shop.path}#username", B=f"{shop.path}#password")
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        assert seen.values == {"A": shop.name, "B": shop.password}
    assert reads(shop, shop.path) == 1


def test_public_value_is_marked(shop: Shop) -> None:
    """What the grant calls public is so, and only that."""
    secrets = {
        "DB_USER": SecretReference(path=shop.path, field="username", is_public=True),
        "DB_PASSWORD": SecretReference(path=shop.path, field="password"),
    }
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        is_public = {name: given.is_public for name, given in seen.credential.variables.items()}
    assert is_public == {"DB_USER": True, "DB_PASSWORD": False}


def test_version_1(shop: Shop) -> None:
    """KV version 1 has its fields one level higher."""
    path = version_1(shop, password=shop.password)
    with shop.exchange(shop.target(secrets=references(P=f"{path}#password"))) as seen:
        assert seen.values == {"P": shop.password}


def test_version_1_with_fields_named_as_those_of_version_2(shop: Shop) -> None:
    """A version 1 secret may have fields named `data` and `metadata` of its own."""
    path = version_1(shop, data="first-value", metadata="second-value")
    with shop.exchange(shop.target(secrets=references(D=f"{path}#data"))) as seen:
        assert seen.values == {"D": "first-value"}


def test_version_1_with_objects_named_as_those_of_version_2(shop: Shop) -> None:
    """Even if both are objects."""
    path = version_1(shop, data={"password": "inner"}, metadata={"owner": "acme"})
    with shop.exchange(shop.target(secrets=references(D=f"{path}#data"))) as seen:
        assert seen.values == {"D": '{"password":"inner"}'}


@pytest.mark.parametrize(
    "value", [42, 1.5, True, False, [1, "b"], {"user": "ü", "nested": {"port": 5432}}]
)
def test_what_is_no_text_is_given_as_json(shop: Shop, value: object) -> None:
    """Numbers, booleans, lists and objects are JSON text, as other tools read them."""
    shop.store({"value": value})
    with shop.exchange(shop.target(secrets=references(V=f"{shop.path}#value"))) as seen:
        text = seen.values["V"]
    assert json.loads(text) == value
    assert text == text.strip()


@pytest.mark.parametrize("text", ["line 1\nline 2\n", "  spaced ", "grüße ✓", '"quoted"', "{}"])
def test_text_is_given_as_it_is(shop: Shop, text: str) -> None:
    """Nothing is added to a text, taken away or read into it."""
    shop.store({"value": text})
    with shop.exchange(shop.target(secrets=references(V=f"{shop.path}#value"))) as seen:
        assert seen.values == {"V": text}


def test_missing_field(shop: Shop) -> None:
    """A field that is not there is named with its variable; the values beside it are not."""
    error = shop.refuse(shop.target(secrets=references(TOKEN=f"{shop.path}#tokn")))
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"TOKEN: {shop.path} has no field tokn"
    assert shop.password not in f"{error.cause}{error.hint}"


def test_missing_path(shop: Shop) -> None:
    """A path with nothing is named."""
    path = f"{shop.path}-none"
    shop.policy("step", shop.may_read(path))
    error = shop.refuse(shop.target(secrets=references(P=f"{path}#password")))
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"there is nothing at {path}"


@pytest.mark.parametrize("how", ["delete_latest_version_of_secret", "destroy_secret_versions"])
def test_deleted_version(shop: Shop, how: str) -> None:
    """A deleted version is nothing, though the server still answers with its metadata."""
    extra = {"versions": [1]} if how.startswith("destroy") else {}
    getattr(shop.root.secrets.kv.v2, how)(path=shop.name, mount_point="secret", **extra)
    error = shop.refuse()
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"there is nothing at {shop.path}"


def test_version_2_without_data_in_the_path(shop: Shop) -> None:
    """The usual slip with KV version 2 is refused with the form that a path must have."""
    path = f"secret/{shop.name}"
    shop.policy("step", shop.may_read(path))
    error = shop.refuse(shop.target(secrets=references(P=f"{path}#password")))
    assert isinstance(error, VaultSecretError)
    assert path in str(error)
    assert "MOUNT/data/PATH" in error.hint


def test_engine_that_is_not_mounted(shop: Shop) -> None:
    """A path where no engine is mounted has nothing either."""
    path = f"{shop.name}/nothing"
    shop.policy("step", shop.may_read(path))
    error = shop.refuse(shop.target(secrets=references(P=f"{path}#password")))
    assert isinstance(error, VaultSecretError)
    assert path in str(error)


def test_engine_that_refuses(shop: Shop) -> None:
    """What an engine itself says no to is told apart from a policy; its text is not repeated."""
    shop.root.sys.enable_secrets_engine("transit", path=shop.name)
    shop.root.write_data(f"{shop.name}/keys/k", data={})
    path = f"{shop.name}/export/encryption-key/k"
    shop.policy("step", shop.may_read(path))
    error = shop.refuse(shop.target(secrets=references(P=f"{path}#keys")))
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"reading {path} was refused by the secrets engine that is mounted there"
