"""An earlier step has put something in our way: links, pipes, folders, programs, variables."""

import os
import socket
import subprocess
from pathlib import Path
from threading import Thread

import pytest

from ci_identity.agent.runner_files import append
from ci_identity.errors import DeliveryError
from tests.faults.between import Between, says
from tests.faults.stage import Faulty
from tests.step import COMMAND, EXEC

REFUSED = 125


# ── where we write ───────────────────────────────────────────────────────────────────────────


def plant_link(state: Path) -> None:
    """A link to a folder of the attacker's choice."""
    elsewhere = state.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    state.symlink_to(elsewhere)


def plant_open_folder(state: Path) -> None:
    """A folder that everybody may write to, and so rename files in."""
    state.mkdir()
    state.chmod(0o777)


def plant_strangers_folder(state: Path) -> None:
    """A folder of another user, who may do so too."""
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)


def plant_file(state: Path) -> None:
    """A file."""
    state.touch()


def plant_pipe(state: Path) -> None:
    """A pipe, to make us wait."""
    os.mkfifo(state)


PLANTS = (plant_link, plant_open_folder, plant_strangers_folder, plant_file, plant_pipe)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_planted_state_folder(faulty: Faulty, plant: object) -> None:
    """It is refused before anything is issued: the attacker gets a run that fails."""
    assert callable(plant)
    plant(faulty.job.state)
    ended = faulty.exec()
    ended.assert_sound(faulty.secrets)
    assert (ended.code, ended.errors) == (REFUSED, ["state"])
    assert faulty.watch.logins == 0
    assert not list(faulty.job.state.with_name("elsewhere").glob("*"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_planted_default_folder(faulty: Faulty) -> None:
    """The one in the temporary folder, whose name everybody can guess: likewise."""
    temporary = faulty.folder / "tmp"
    temporary.mkdir(mode=0o777)
    plant_strangers_folder(temporary / f"ci-identity-{os.getuid()}")
    for name in ("CI_IDENTITY_STATE_DIR", "RUNNER_TEMP", "XDG_RUNTIME_DIR"):
        faulty.job.environ.pop(name, None)
    faulty.job.environ["TMPDIR"] = str(temporary)
    ended = faulty.exec()
    assert (ended.code, ended.errors) == (REFUSED, ["state"])
    assert faulty.watch.logins == 0


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_planted_ledger(faulty: Faulty, kind: str) -> None:
    """A link to a file of the user's is neither written to nor read: the run fails."""
    victim = faulty.folder / "bashrc"
    victim.write_text("alias ls=ls\n")
    faulty.job.state.mkdir(mode=0o700)
    ledger = faulty.job.state / "ledger.jsonl"
    (ledger.symlink_to if kind == "symbolic" else ledger.hardlink_to)(victim)
    ended = faulty.exec()
    assert (ended.code, ended.errors) == (REFUSED, ["ledger"])
    assert victim.read_text() == "alias ls=ls\n"
    assert faulty.watch.logins == 0


def test_a_pipe_in_the_place_of_a_runners_file(tmp_path: Path) -> None:
    """Nobody reads it: we do not wait for that with every signal blocked."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeliveryError):
        append("GITHUB_ENV", "A=1\n", {"GITHUB_ENV": str(tmp_path / "pipe")})


PIPES = (
    "CI_IDENTITY_GRANTS",
    "CI_IDENTITY_LEDGER",
    "CI_IDENTITY_STATE_DIR",
    "CI_IDENTITY_TOKEN_FILE",
    "REQUESTS_CA_BUNDLE",
    "VAULT_CACERT",
    "GITHUB_EVENT_PATH",
    "AWS_CONFIG_FILE",
    "BASH_ENV",
    "CI_IDENTITY_AGENT",
    "SOME_FILE",
)


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_that_a_variable_names(faulty: Faulty, name: str) -> None:
    """Nothing waits for a writer who never comes: the run goes on without it, or says no."""
    os.mkfifo(faulty.folder / "pipe")
    faulty.job.environ[name] = str(faulty.folder / "pipe")
    faulty.assert_sound(faulty.exec())


# ── what is left for others ──────────────────────────────────────────────────────────────────


def test_a_later_step_finds_nothing(faulty: Faulty) -> None:
    """What an earlier one was given is over: its folder is gone, its values open nothing."""
    copy = faulty.folder / "copy"
    faulty.job.environ["COPY"] = str(copy)
    assert faulty.exec("env > $COPY").code == 0
    variables = dict(
        line.partition("=")[::2] for line in copy.read_text().splitlines() if "=" in line
    )
    assert not Path(variables["AWS_CONFIG_FILE"]).parent.exists()
    assert [path.name for path in faulty.job.state.iterdir()] == ["ledger.jsonl"]
    faulty.watch.assert_revoked()


# ── what we run ──────────────────────────────────────────────────────────────────────────────

PROGRAMS = ("sh", "bash", "env", "python", "python3", "git", "id", "ps", "ip", "openssl", "bao")


@pytest.mark.parametrize("command", ["exec", "whoami", "doctor", "check"])
def test_a_hostile_path(faulty: Faulty, command: str) -> None:
    """No command of ours runs a program that PATH names, but the one that it was asked to run."""
    planted = faulty.folder / "planted"
    planted.mkdir()
    mark = faulty.folder / "stolen"
    for name in PROGRAMS:
        program = planted / name
        program.write_text(f"#!/bin/sh\necho {name} >> {mark}\n")
        program.chmod(0o755)
    faulty.job.environ["PATH"] = f"{planted}:{faulty.job.environ['PATH']}"
    words = {"exec": [*EXEC, "/bin/true"], "doctor": [*COMMAND, "doctor", "env"]}
    argv = words.get(command, [*COMMAND, command])
    done = subprocess.run(argv, env=faulty.job.environ, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert not mark.exists()
    if command == "exec":  # the log says it, since the command itself may be looked for there
        assert f"an earlier step could run code in this one by PATH {planted}" in (
            done.stderr.decode()
        )


def test_modules_in_the_working_folder(faulty: Faulty) -> None:
    """Nor is a module of the folder that we are started in, or of PYTHONPATH, ours."""
    mark = faulty.folder / "stolen"
    for name in ("json", "requests", "yaml", "ssl", "ci_identity", "sitecustomize"):
        (faulty.folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    faulty.job.environ.update(
        PYTHONPATH=str(faulty.folder), PYTHONSTARTUP=f"{faulty.folder}/json.py"
    )
    done = faulty.job.run([*EXEC, "/bin/true"], cwd=faulty.folder)
    assert done.returncode == 0, done.stderr.decode()
    assert not mark.exists()


# ── where we send tokens ─────────────────────────────────────────────────────────────────────


def test_a_token_endpoint_that_sends_us_elsewhere(faulty: Faulty) -> None:
    """The other server is not even connected to: it gets neither the bearer nor a token."""
    with Between("http://127.0.0.1:1") as thief:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            faulty.tokens.fault = says(status, b"", f"Location: {thief.address}/collect")
            ended = faulty.exec()
            ended.assert_sound(faulty.secrets)
            assert ended.code == REFUSED
            assert thief.address not in ended.stderr
        assert thief.asked == []
    assert faulty.watch.logins == 0


def test_a_token_endpoint_that_gives_anothers_token(faulty: Faulty) -> None:
    """A token for another audience goes nowhere: its endpoint cannot have us carry it."""
    address = faulty.tokens.address.encode()
    stolen = faulty.world.issuer.github_token("https://vault.mallory.example").reveal()
    faulty.tokens.fault = says("200 OK", b'{"value": "' + stolen.encode() + b'"}')
    ended = faulty.exec()
    ended.assert_sound({*faulty.secrets, stolen})
    assert (ended.code, ended.errors) == (REFUSED, ["identity-audience"])
    assert address not in b"".join(faulty.vault.requests)
    assert faulty.vault.asked == []


def test_a_netrc_for_the_providers_host(faulty: Faulty) -> None:
    """Its user is sent to nobody: what we send is what the grant and the job say."""
    netrc = faulty.folder / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password of-mallory\n")
    netrc.chmod(0o600)
    faulty.job.environ.update(HOME=str(faulty.folder), NETRC=str(netrc))
    ended = faulty.exec()
    assert ended.code == 0
    sent = b"".join([*faulty.tokens.requests, *faulty.vault.requests])
    assert b"Basic" not in sent
    bearer = faulty.job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert f"Authorization: bearer {bearer}".encode() in sent


ADDRESSES = (
    "http://vault.acme.example",
    "http://192.0.2.1:8200",
    "file:///etc/passwd",
    "/etc/passwd",
    "ftp://127.0.0.1/",
    "//127.0.0.1/",
    "https://user:password@vault.acme.example",
    "http://127.0.0.1@192.0.2.1/",
    "http://192.0.2.1#@127.0.0.1/",
    "http://192.0.2.1\\\\@127.0.0.1/",
    "http://127.0.0.1.nip.example/",
    "http://localhost.acme.example/",
    "http://0x7f000001.example/",
    "https://[::1",
    "https://vault.acme.example/\\r\\nHost: 127.0.0.1",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_grants_file_that_names_such_an_address(faulty: Faulty, address: str) -> None:
    """No token is minted for it, and nothing is sent anywhere."""
    path = faulty.folder / "grants.yml"
    text = path.read_text().replace(f"address: {faulty.vault.address}", f'address: "{address}"')
    path.write_text(text)
    ended = faulty.exec()
    ended.assert_sound(faulty.secrets)
    assert ended.code == REFUSED
    assert ended.errors == ["grants-invalid"]
    assert "address" in ended.stderr
    assert faulty.tokens.asked == []


@pytest.mark.parametrize("name", ["ACTIONS_ID_TOKEN_REQUEST_URL", "VAULT_ADDR"])
@pytest.mark.parametrize("address", ADDRESSES[:8])
def test_an_environment_that_names_such_an_address(faulty: Faulty, name: str, address: str) -> None:
    """Nor for one that the environment names."""
    path = faulty.folder / "grants.yml"
    text = path.read_text().replace(f"      address: {faulty.vault.address}\n", "")
    path.write_text(text)
    faulty.job.environ.update({"VAULT_ADDR": faulty.vault.address, name: address})
    ended = faulty.exec()
    ended.assert_sound(faulty.secrets)
    assert ended.code == REFUSED
    assert faulty.tokens.asked == []
    assert faulty.vault.asked == []


def test_an_agent_that_was_planted(faulty: Faulty) -> None:
    """An agent that a variable plants is given our bearer for its own endpoint, and no token.

    It may feed us variables, but none that would steer the command.
    """
    with socket.create_server(("127.0.0.1", 0)) as thief:
        heard: list[bytes] = []

        def answer() -> None:
            while True:
                try:
                    client, _ = thief.accept()
                except OSError:
                    return
                with client:
                    heard.append(client.recv(65536))
                    body = b'{"step": "migrate", "grants": ["migrate-db"], "lease": "x", '
                    body += b'"variables": {"LD_PRELOAD": {"value": "/tmp/evil.so"}}}'
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    client.sendall(head + body)

        Thread(target=answer, daemon=True).start()
        instance = faulty.folder / "agent"
        instance.mkdir(mode=0o700)
        (instance / "address").write_text(f"http://127.0.0.1:{thief.getsockname()[1]}")
        (instance / "bearer").write_text("planted-bearer")
        faulty.job.environ["CI_IDENTITY_AGENT"] = str(instance)
        ended = faulty.exec()
        thief.shutdown(socket.SHUT_RDWR)
    ended.assert_sound(faulty.secrets)
    assert ended.code == REFUSED
    said = b"".join(heard)
    assert b"planted-bearer" in said
    assert not any(secret.encode() in said for secret in faulty.secrets)
