"""A job's step as the tests play it: our command as a real child process, and a runner above it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from ci_identity.sandbox.openbao import AuditEntry, OpenBao
from ci_identity.sandbox.world import CI, GRANT, World
from tests.audit import assert_all_revoked

Stream = int | IO[bytes] | None

COMMAND = (sys.executable, "-I", "-m", "ci_identity")
EXEC = (*COMMAND, "exec", "--grant", GRANT, "--")

IMPATIENT = """
import os, sys
from ci_identity.run import run_sessions
from ci_identity.supervision import Patience
from ci_identity.session import Session, load_grants

def sessions(pause, handover):
    grant = load_grants(None, os.environ).grant("migrate-db")
    return [Session(grant, os.environ, pause=pause, handover=handover)]

patience = Patience(signalled=0.2, draining=1.5, silence=0.2)
finished = run_sessions(
    sys.argv[1:], sessions, os.environ, owns_process=True, patience=patience
)
print(f"finished: code={finished.code} signal={finished.signal}", file=sys.stderr)
"""
SOON = (sys.executable, "-I", "-c", IMPATIENT)
"""What `exec` does, with less patience for what does not end, and saying how it finished."""

_RUNNER = """
import json, os, pty, subprocess, sys
job = json.load(sys.stdin)
if job["terminal"]:
    master, slave = pty.openpty()
    step = subprocess.Popen(
        job["argv"], env=job["env"], cwd=job["cwd"], stdin=slave, stdout=slave, stderr=slave,
        start_new_session=job["terminal"] == "leader",
    )
    os.close(slave)
    stdout, stderr = b"", b""
    try:
        while data := os.read(master, 65536):
            stdout += data
    except OSError:
        pass
else:
    step = subprocess.Popen(
        job["argv"], env=job["env"], cwd=job["cwd"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    stdout, stderr = step.communicate()
said = {"stdout": stdout.decode("latin-1"), "stderr": stderr.decode("latin-1")}
json.dump(said | {"code": step.wait()}, sys.stdout)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job in the sandbox's world, with a state folder of its own."""

    environ: dict[str, str]
    state: Path

    @classmethod
    def of(
        cls, world: World, state: Path, ci: CI = "github", claims: Mapping[str, Any] | None = None
    ) -> Self:
        kept = {n: v for n, v in os.environ.items() if n == "PATH" or n.startswith("COVERAGE_")}
        own = {"CI_IDENTITY_STATE_DIR": str(state)}
        return cls(environ=kept | world.environ(ci, claims) | own, state=state)

    def start(
        self, argv: Sequence[str], *, stdout: Stream = subprocess.PIPE, stderr: Stream = None
    ) -> subprocess.Popen[bytes]:
        """Start `argv`, with signals as a login shell has them, whatever the tests run under."""
        return subprocess.Popen(
            ["env", "--default-signal", *argv],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE if stderr is None else stderr,
        )

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `argv` to its end."""
        streams = {} if "stdout" in options else {"capture_output": True}
        return subprocess.run(
            ["env", "--default-signal", *argv],
            env=self.environ | options.pop("extra", {}),
            input=stdin,
            check=False,
            **(streams | options),
        )

    def ledger(self) -> list[dict[str, Any]]:
        """Return the entries of the job's ledger."""
        path = self.state / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self) -> list[str]:
        """Return what happened in the job, in order."""
        return [entry["event"] for entry in self.ledger()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a runner saw of a step."""

    stdout: str
    stderr: str
    code: int

    @property
    def masks(self) -> list[str]:
        return [line for line in self.stdout.split("\n") if "::add-mask::" in line]


def under_runner(
    environ: Mapping[str, str], *argv: str, terminal: str = "", cwd: Path | None = None
) -> Said:
    """Run a step as a CI's runner does, which has none of the step's variables.

    Args:
        environ: the step's variables.
        argv: the step's top process.
        terminal: give it a terminal instead of pipes: one that it shares (`shared`), or as the
            leader of its session (`leader`).
        cwd: where it runs.
    """
    job = {"argv": argv, "env": dict(environ), "cwd": cwd and str(cwd), "terminal": terminal}
    done = subprocess.run(
        [sys.executable, "-I", "-c", _RUNNER],
        input=json.dumps(job).encode(),
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Said(**json.loads(done.stdout))


class Watch:
    """What a server has recorded since this was made."""

    def __init__(self, openbao: OpenBao) -> None:
        self._openbao = openbao
        self._entries = len(openbao.audit())
        self._logins = len(openbao.logins())

    @property
    def entries(self) -> list[AuditEntry]:
        return self._openbao.audit()[self._entries :]

    @property
    def logins(self) -> int:
        return len(self._openbao.logins()) - self._logins

    @property
    def tokens(self) -> list[str]:
        """The tokens that the server gave to jobs: the logins' and the steps'."""
        issued = [
            (entry.get("response") or {}).get("auth") or entry.get("auth") or {}
            for entry in self.entries
            if entry["type"] == "response"
            and entry["request"]["path"].endswith(("login", "create"))
        ]
        return [auth["client_token"] for auth in issued if "client_token" in auth]

    def assert_revoked(self, logins: int = 1) -> None:
        """Assert that this many logins succeeded, and that each of them was ended."""
        assert self.logins == logins
        assert_all_revoked(self._openbao, logins_before=self._logins)
