"""A job whose every server can fail, and what must hold of it however it ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_identity import errors
from ci_identity.errors import CiIdentityError
from ci_identity.ledger.verify import read, verify
from ci_identity.sandbox.world import World
from tests.audit import is_alive
from tests.faults.between import Between
from tests.step import Job, Watch

IS_THOROUGH = os.environ.get("CI_IDENTITY_TESTS") == "thorough"
"""Every fault at every place, and more examples: minutes instead of seconds."""

LONGEST = 100
"""Seconds until a test calls a run stuck: ten times what it takes on a slow machine."""

IMPATIENT = (
    sys.executable,
    "-IB",  # or Python itself would keep pieces of modules on a disk that is full
    "-c",
    """
import sys
from importlib import import_module
from ci_identity import cli

for name, limit, seconds in (
    ("_call", "CONNECT_TIMEOUT", 1.5),
    ("_call", "READ_TIMEOUT", 1.5),
    ("_http", "TOTAL_TIMEOUT", 2.0),
    ("sources.endpoint", "MINT_BUDGET", 2.0),
    ("exchangers.aws.exchange", "RETRY_BUDGET", 2.0),
    ("exchangers.vault.client", "RETRY_BUDGET", 2.0),
    ("ending", "BUDGET", 2.0),
    ("session", "BUDGET", 2.0),
):
    module = import_module(f"ci_identity.{name}")
    assert getattr(module, limit) > seconds
    setattr(module, limit, seconds)
sys.argv[0] = "ci-identity"
cli.whole_process()
""",
)
"""Our command, which gives up on a server sooner."""

CODES = {
    kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CiIdentityError)
}
SAID_TO_BE_ALIVE = ("NOT revoked", "a token that nobody has lives until")
WORDS = "hvs.SECRET"
"""What faulty servers say, and nobody repeats."""


class Faulty:
    """A job of the sandbox's world with something between it and each of its servers.

    Attributes:
        world: whose job it is.
        job: the job, whose state folder may not be there yet.
        tokens: between it and its CI's token endpoint.
        vault: between it and OpenBao.
    """

    def __init__(self, world: World, folder: Path, tokens: Between, vault: Between) -> None:
        self.world = world
        self.job = Job.of(world, folder / "state")
        self.folder = folder
        self.tokens, self.vault = tokens, vault
        own, at = world.grants_path.read_text(), world.openbao.address
        grants = own.replace(f"address: {at}", f"address: {vault.address}").replace(
            "    vault:\n", f"    audience: {at}\n    vault:\n"
        )
        (folder / "grants.yml").write_text(grants)
        url = self.job.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
        self.job.environ.update(
            CI_IDENTITY_GRANTS=str(folder / "grants.yml"),
            ACTIONS_ID_TOKEN_REQUEST_URL=url.replace(world.issuer.address, tokens.address),
        )
        self.mark = folder / "ran"
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what has happened so far."""
        self.watch = Watch(self.world.openbao)
        shutil.rmtree(self.job.state, ignore_errors=True)
        self.mark.unlink(missing_ok=True)

    @property
    def has_run(self) -> bool:
        """Whether the command was started."""
        return self.mark.exists()

    def exec(self, script: str = "", *before: str, **options: Any) -> "Ended":
        """Run a script with the grant, under a command that gives up soon.

        Args:
            script: what the step does, in shell; it leaves a mark first.
            before: what to start the command by: a wrapper and its arguments.
            options: for `subprocess.run`.
        """
        argv = [*IMPATIENT, "exec", "--grant", "migrate-db", "--", "sh", "-c"]
        done = self.job.run(
            [*before, *argv, f": >{self.mark}; {script or 'true'}"], timeout=LONGEST, **options
        )
        return Ended(done)

    @property
    def secrets(self) -> set[str]:
        """What nobody may show: tokens of the job and of the server, values, the bearer."""
        asked = [entry["request"].get("data") or {} for entry in self.watch.entries]
        values = {self.world.secrets[name].reveal() for name in ("password", "licence")}
        return {
            *(data["jwt"] for data in asked if "jwt" in data),
            *self.watch.tokens,
            *values,
            self.job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
            WORDS,
        }

    @property
    def events(self) -> list[str]:
        """What the ledger has, but for a line that could not be written whole."""
        path = self.job.state / "ledger.jsonl"
        return [str(entry["event"]) for entry in read(path)] if path.exists() else []

    def assert_sound(self, ended: "Ended", *, torn_end: bool = False) -> None:
        """Assert what must hold, whatever has failed.

        Args:
            ended: how the run went.
            torn_end: the disk was full, so the ledger may end within a line.
        """
        ended.assert_sound(self.secrets)
        events = self.events
        # Nothing is delivered without an entry; nothing is issued without an intent.
        assert self.has_run == ("delivered" in events)
        assert not self.has_run or events[:2] == ["requested", "issued"]
        assert not self.watch.logins or events[0] == "requested"
        assert not events or verify(self.job.state / "ledger.jsonl").is_torn == torn_end
        # What was issued has ended, or that it may not have is loud.
        alive = [a for a in self._issued() if is_alive(self.world.openbao, a)]
        if alive:
            assert any(words in ended.stderr for words in SAID_TO_BE_ALIVE), ended.stderr
            for accessor in alive:
                self.world.openbao.client().auth.token.revoke_accessor(accessor)
        # Nothing of ours is left but the ledger.
        left = {path.name for path in self.job.state.glob("*")}
        assert left <= {"ledger.jsonl"}

    def _issued(self) -> Iterable[str]:
        for entry in self.watch.entries:
            if entry["type"] == "response" and entry["request"]["path"].endswith(
                ("login", "create")
            ):
                auth = (entry.get("response") or {}).get("auth") or {}
                if "accessor" in auth:
                    yield auth["accessor"]


class Ended:
    """How a run of our command went.

    Attributes:
        code: its exit code, or minus the signal it died by.
        stdout, stderr: what it wrote, but for what GitHub's runner is told to mask.
    """

    def __init__(self, done: "subprocess.CompletedProcess[bytes]") -> None:
        self.code = done.returncode
        said = (done.stdout or b"").decode(errors="replace").split("\n")
        self.stdout = "\n".join(line for line in said if not line.startswith("::add-mask::"))
        self.stderr = (done.stderr or b"").decode(errors="replace")

    @property
    def errors(self) -> list[str]:
        """The codes of the errors that it printed."""
        return re.findall(r"^error\[([\w-]+)\]", self.stderr, re.MULTILINE)

    def assert_sound(self, secrets: Iterable[str]) -> None:
        """Assert that it ended as a command of ours does, and told nobody anything."""
        said = self.stdout + self.stderr
        assert "Traceback" not in said, said
        assert "Exception in" not in said, said
        assert self.code >= 0, f"{signal.Signals(-self.code).name}: {said}"
        assert set(self.errors) <= CODES - {"internal"}, said
        assert (self.code == 125) == (len(self.errors) == 1), said
        for secret in secrets:
            assert secret not in said, "a secret was shown"
        assert "\x1b" not in said


@pytest.fixture
def faulty(world: World, tmp_path: Path) -> Iterator[Faulty]:
    """A job of the sandbox's world, whose servers fail as they are told."""
    with Between(world.issuer.address) as tokens, Between(world.openbao.address) as vault:
        yield Faulty(world, tmp_path, tokens, vault)
