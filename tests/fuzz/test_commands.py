"""Command lines and variables of every kind: always a code of ours, never a traceback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.cli import COMMANDS
from ci_identity.ledger.entry import Event
from ci_identity.sandbox.world import World
from tests.faults.stage import CODES
from tests.fuzz.shapes import NASTY_TEXTS, some
from tests.reaping.vaults import target, tell
from tests.step import Job

_SERVER = """
import json, os, signal, sys, tempfile, traceback
from importlib import import_module
from ci_identity import cli
for name in "check exec explain audit whoami doctor revoke credential reap".split():
    import_module(f"ci_identity.cli.{name}")
os.setsid()
for line in sys.stdin:
    asked = json.loads(line)
    out = tempfile.TemporaryFile()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        os.environ.update({name: value for name, value in asked["environ"].items()})
        signal.alarm(60)
        code = 70
        try:
            code = cli.main(asked["words"])
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    out.seek(0)
    print(json.dumps({"code": code, "said": out.read().decode("latin-1")}), flush=True)
"""

Ask = Callable[..., "tuple[int, str]"]


@pytest.fixture(scope="module")
def ask(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Run a command line of ours in a job, and return its code and what it said."""
    folder = tmp_path_factory.mktemp("commands")
    job = Job.of(world, folder / "state")
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", _SERVER],
        env=job.environ,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    secret = job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]

    def asked(words: list[str], environ: dict[str, str] | None = None) -> tuple[int, str]:
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({"words": words, "environ": environ or {}}) + "\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline())
        said = "\n".join(
            line for line in answer["said"].split("\n") if not line.startswith("::add-mask::")
        )
        assert "Traceback" not in said, said
        assert "error[internal]" not in said, said
        assert secret not in said
        assert set(re.findall(r"^error\[([\w-]+)\]", said, re.MULTILINE)) <= CODES | {"usage"}
        assert answer["code"] in {*range(10), 125, 126, 127}, said
        return answer["code"], said

    yield asked
    server.communicate()


@pytest.fixture(scope="module")
def ledger(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a job that was killed; the token that it tells of is nobody's."""
    path = tmp_path_factory.mktemp("ledgers") / "job.jsonl"
    for event, handle in ((Event.REQUESTED, None), (Event.ISSUED, "accessor:nobody-s")):
        age, where = timedelta(hours=1), target(world.openbao)
        tell(path, event, "0" * 16, age=age, target=where, handle=handle)
    return path


OPTIONS = (
    *("--grant", "--grants", "--ttl", "--step", "--delivery", "--json", "--ledger", "--head"),
    *("--lease", "--all", "--audience", "--trust-policy", "--reveal", "--format", "--tty"),
    *("--no-tty", "--quiet", "-q", "--help", "--open", "--live", "--dry-run", "--instance"),
    *("--", "-", "--ttl=1s", "--grant=migrate-db", "--deny", "--dead-after", "--dead-after=1m"),
)
VALUES = (
    *("migrate-db", "migrate-dbx", "endpoint", "env", "show", "verify", "status", "stop", "1s"),
    *("5m", "999999h", "0s", "\u0661m", "migrate", "true", "/nonexistent", "/dev/null"),
    *("/dev/full", ".", "0" * 64, "\udcff"),
)
QUIET = sorted(set(COMMANDS) - {"sandbox", "demo"})
"""Commands that start no server, and speak to none but the job's."""
words = st.lists(
    (
        st.sampled_from(OPTIONS)
        | st.sampled_from(VALUES)
        | st.sampled_from(NASTY_TEXTS).map(lambda text: text.replace("\ud800", "")[:200])
        | st.text(max_size=10)
    ).filter(lambda word: "\0" not in word),  # no process can be given one
    max_size=7,
)


@some
@given(st.sampled_from(QUIET) | st.text(max_size=8), words)
def test_command_lines(ask: Ask, command: str, rest: list[str]) -> None:
    """Whatever words there are, in whatever order."""
    if command in {"sandbox", "demo"} or (command == "agent" and "start" in rest):
        return
    if command == "reap" and is_far(rest):
        return
    ask([command, *rest])


@some
@given(words)
def test_command_lines_of_exec(ask: Ask, rest: list[str]) -> None:
    """So for what stands between `exec --grant` and the command."""
    ask(["exec", "--grant", "migrate-db", *rest, "--", "true"])


def is_far(rest: list[str]) -> bool:
    """Whether a word is a folder that has all others: every ledger of the machine is looked for."""
    return any(word != "." and word.strip("/.") == "" for word in rest)


@some
@given(words)
def test_command_lines_of_reap(ask: Ask, ledger: Path, rest: list[str]) -> None:
    """So for what stands between `reap --grant` and a ledger with a lease that is alive."""
    if not is_far(rest):
        ask(["reap", "--grant", "migrate-db", *rest, str(ledger)])


STEERING = (
    *("ACTIONS_ID_TOKEN_REQUEST_URL", "CI_IDENTITY_GRANTS", "CI_IDENTITY_STATE_DIR"),
    *("CI_IDENTITY_LEDGER", "CI_IDENTITY_TOKEN", "CI_IDENTITY_TOKEN_FILE", "CI_IDENTITY_AGENT"),
    *("CI_IDENTITY_ENDPOINT", "GITHUB_ACTION", "GITHUB_SERVER_URL", "GITHUB_EVENT_PATH"),
    *("RUNNER_DEBUG", "RUNNER_TEMP", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"),
    *("VAULT_CACERT", "AWS_ENDPOINT_URL", "PATH", "HOME", "GITLAB_CI", "TF_BUILD", "CIRCLECI"),
    *("BUILDKITE", "TERM", "NO_COLOR", "FORCE_COLOR", "TMPDIR", "XDG_RUNTIME_DIR"),
)
EXEC = ["exec", "--grant", "migrate-db", "--", "/bin/true"]
settable = (
    st.sampled_from(NASTY_TEXTS) | st.text(max_size=20) | st.sampled_from(["true", "1", "/", "."])
).map(lambda text: os.fsdecode(text.encode("utf-8", "replace")).replace("\0", ""))


@pytest.mark.parametrize("path", ["a" * 5000, "/" + "a" * 300, "a/" * 2000], ids=range(3))
def test_paths_that_can_be_none(ask: Ask, path: str) -> None:
    """Too long for the system, which says so where it would else say that nothing is there."""
    for name in ("GRANTS", "LEDGER", "STATE_DIR", "TOKEN_FILE"):
        for words in (EXEC, ["check"], ["audit", "show"], ["revoke"], ["revoke", "--all"]):
            ask(words, {f"CI_IDENTITY_{name}": path})
    for name in ("HOME", "RUNNER_TEMP"):
        ask(["doctor", "env"], {name: path})
    for words in (["reap", "--grant", "migrate-db", path], ["agent", "status", "--instance", path]):
        ask(words)


@some
@given(
    st.sampled_from(["exec", "whoami", "explain", "check", "doctor", "audit", "revoke"]),
    st.dictionaries(st.sampled_from(STEERING), settable, min_size=1, max_size=3),
)
def test_variables(ask: Ask, command: str, environ: dict[str, str]) -> None:
    """Whatever an earlier step has set."""
    more = {
        "exec": EXEC[1:],
        "explain": ["migrate-db"],
        "doctor": ["env"],
        "audit": ["show"],
        "revoke": ["--all"],
    }
    ask([command, *more.get(command, [])], environ)
    assert not Path("/etc/passwd.jsonl").exists()
