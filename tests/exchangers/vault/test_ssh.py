"""SSH certificates of a real engine, as OpenSSH reads them: they end by themselves, and in time."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from ci_identity.errors import TokenLifeError, VaultSecretError
from ci_identity.exchangers.vault.ssh import valid_before
from ci_identity.model import Outcome
from tests.exchangers.front import Front, with_
from tests.exchangers.shop import CREATE, REVOKE_LEASE, Shop, written

EcKey = ec.EllipticCurvePrivateKey
TTL = timedelta(minutes=5)
ROLE = {
    "key_type": "ca",
    "allow_user_certificates": True,
    "allowed_users": "deploy",
    "default_user": "deploy",
    "max_ttl": "1h",
}
KEYS: dict[str, Callable[[], rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | EcKey]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "nistp256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "nistp384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "nistp521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


@pytest.fixture
def mount(shop: Shop) -> Iterator[str]:
    """Where a CA of the test's own is, whose role `web` is for the user `deploy`."""
    mount = shop.mount("ssh")
    shop.root.write_data(
        f"{mount}/config/ca", data={"generate_signing_key": True, "key_type": "ed25519"}
    )
    shop.root.write_data(f"{mount}/roles/web", data=ROLE)
    shop.root.write_data(
        f"{mount}/roles/once",
        data={"key_type": "otp", "default_user": "deploy", "cidr_list": "10.0.0.0/8"},
    )
    yield mount
    shop.root.sys.disable_secrets_engine(mount)


def shown(certificate: str, folder: Path) -> str:
    """Return what OpenSSH says of a certificate."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    file = folder / "key-cert.pub"
    file.write_text(certificate)
    command = ["ssh-keygen", "-L", "-f", str(file)]
    done = subprocess.run(command, env={"TZ": "UTC"}, capture_output=True, text=True, check=True)
    return done.stdout


def ends(said: str) -> datetime:
    """Return until when it is valid, by OpenSSH."""
    (text,) = re.findall(r"Valid: from \S+ to (\S+)", said)
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_issue_gives_a_key_and_its_certificate(shop: Shop, mount: str, tmp_path: Path) -> None:
    """`ssh/issue` makes the pair; the certificate ends within the ask, and cannot be revoked."""
    path = f"{mount}/issue/web"
    shop.policy("step", shop.may_write(path))
    given = {"key_type": "ed25519", "valid_principals": "deploy"}
    secrets = {
        name: written(f"{path}#{field}", given)
        for name, field in {"KEY": "private_key", "CERT": "signed_key"}.items()
    }
    before = datetime.now(UTC)
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        said = shown(seen.values["CERT"], tmp_path)
        ending = seen.credential.revoke(budget=10.0)
    assert "PRIVATE KEY" in seen.values["KEY"]
    assert "deploy" in said
    assert timedelta(minutes=4) < ends(said) - before <= TTL + timedelta(seconds=30)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "not-revocable")
    (serial,) = re.findall(r"Serial: ([0-9]+)", said)
    name = f"{path}#{int(serial):x}"
    assert ending.detail == f"{name}: an SSH certificate, which ends at {ends(said):%H:%M:%S} UTC"
    assert str(seen.handles[2]) == f"expiring:{name}"
    assert seen.handles[2].expires_at == ends(said)


@pytest.mark.parametrize("kind", KEYS)
def test_sign_takes_a_public_key(shop: Shop, mount: str, tmp_path: Path, kind: str) -> None:
    """`ssh/sign` certifies the key in `with`; its end is read as OpenSSH reads it."""
    path = f"{mount}/sign/web"
    shop.policy("step", shop.may_write(path))
    key = KEYS[kind]().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    secrets = {"CERT": written(f"{path}#signed_key", public_key=key)}
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        said = shown(seen.values["CERT"], tmp_path)
    assert seen.handles[2].expires_at == ends(said)


def test_leases_need_not_be_ended_where_there_are_none(shop: Shop, mount: str) -> None:
    """But an SSH engine may have some (one-time passwords), and so the right is asked for."""
    path = f"{mount}/creds/once"
    shop.policy("step", shop.may_write(path))
    secrets = {"OTP": written(f"{path}#key", ip="10.1.2.3")}
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        otp = seen.values["OTP"]
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
    refused = pytest.raises(Exception, match="OTP not found")
    with refused:
        shop.root.write_data(f"{mount}/verify", data={"otp": otp})
    shop.policy("ci", CREATE)
    error = shop.refuse(shop.target(secrets=secrets))
    assert REVOKE_LEASE in getattr(error, "hint", "")


def test_role_with_a_shorter_life_says_so(shop: Shop, mount: str) -> None:
    """This engine refuses a ttl above its role's instead of giving less; the hint knows."""
    shop.root.write_data(f"{mount}/roles/web", data=ROLE | {"max_ttl": "60s"})
    path = f"{mount}/issue/web"
    shop.policy("step", shop.may_write(path))
    given = {"key_type": "ed25519"}
    secrets = {"CERT": written(f"{path}#signed_key", given)}
    error = shop.refuse(shop.target(secrets=secrets), ttl=TTL)
    assert isinstance(error, VaultSecretError)
    assert "`max_ttl`" in error.cause
    brief = {"CERT": written(f"{path}#signed_key", given, ttl=timedelta(seconds=60))}
    with shop.exchange(shop.target(secrets=brief), ttl=TTL) as seen:
        assert seen.handles[2].expires_at is not None


def test_certificate_that_lives_longer_is_refused(shop: Shop, mount: str) -> None:
    """Its own validity decides, not what the server says of it."""
    path = f"{mount}/issue/web"
    shop.policy("step", shop.may_write(path))
    asked = {"key_type": "ed25519"}
    longer = shop.root.write_data(path, data=asked | {"ttl": "30m"})["data"]["signed_key"]
    with Front(shop.openbao.address) as front:
        front.faults[path] = [with_(path=("data", "signed_key"), value=longer)]
        secrets = {"CERT": written(f"{path}#signed_key", asked)}
        error = shop.refuse(shop.target(address=front.address, secrets=secrets), ttl=TTL)
    assert isinstance(error, TokenLifeError)
    assert "an SSH certificate would live for" in str(error)


def test_certificate_that_cannot_be_read_is_refused(shop: Shop, mount: str) -> None:
    """Nobody could say until when it lives."""
    path = f"{mount}/issue/web"
    shop.policy("step", shop.may_write(path))
    with Front(shop.openbao.address) as front:
        front.faults[path] = [with_(path=("data", "signed_key"), value="ssh-new-cert AAAA")]
        secrets = {"CERT": written(f"{path}#signed_key", key_type="ed25519")}
        error = shop.refuse(shop.target(address=front.address, secrets=secrets))
    assert isinstance(error, TokenLifeError)


@pytest.mark.parametrize("kind", KEYS)
def test_end_of_a_certificate_of_each_kind_of_key(kind: str) -> None:
    """The fields before it differ by the key's type (PROTOCOL.certkeys)."""
    made = (
        SSHCertificateBuilder()
        .public_key(KEYS[kind]().public_key())
        .type(SSHCertificateType.USER)
        .key_id(b"a key")
        .valid_principals([b"deploy", b"other"])
        .serial(7)
        .valid_after(1_000)
        .valid_before(2_000_000_000)
        .sign(ed25519.Ed25519PrivateKey.generate())
    )
    assert valid_before(made.public_bytes().decode()) == 2_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-rsa",
        "ssh-rsa-cert-v01@openssh.com !!!",
        "x AAAA",
        "x AAAAB3NzaC1yc2E=",
        "x /////w==",
    ],
)
def test_what_is_no_certificate_has_no_end(text: str) -> None:
    """Neither a plain key nor noise raises anything."""
    assert valid_before(text) is None
