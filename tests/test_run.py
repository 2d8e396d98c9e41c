"""How a run ends and what it exits with; what the step's process is given; what failures say."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ci_identity
from ci_identity.errors import ConfigurationError, DeniedError
from ci_identity.sandbox.world import World
from tests.proxy import Proxy
from tests.step import COMMAND, EXEC, SOON, Job, Watch


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return Job.of(world, tmp_path / "state")


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(world.openbao)


@pytest.fixture
def proxy(world: World, job: Job, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before the server, and a job whose grant goes by way of it."""
    with Proxy(world) as proxy:
        grants = tmp_path / "by-proxy.yml"
        grants.write_text(proxy.grants)
        job.environ["CI_IDENTITY_GRANTS"] = str(grants)
        yield proxy


def errors(stderr: bytes) -> list[str]:
    """The codes of the errors that were printed; also asserts that there is no traceback."""
    assert b"Traceback" not in stderr
    return re.findall(r"^error\[([a-z-]+)\]", stderr.decode(), re.MULTILINE)


# ── exit codes ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_is_the_commands(job: Job, watch: Watch, code: int) -> None:
    """exec exits with the code of the command, and everything is revoked."""
    done = job.run([*EXEC, "sh", "-c", f"exit {code}"])
    assert done.returncode == code
    assert job.events() == ["requested", "issued", "issued", "delivered", "revoked"]
    watch.assert_revoked()


@pytest.mark.parametrize("name", ["KILL", "TERM", "ABRT", "SEGV"])
def test_death_by_signal_is_passed_on(job: Job, watch: Watch, name: str) -> None:
    """When the command dies by a signal, exec dies by the same one, having revoked."""
    done = job.run([*EXEC, "sh", "-c", f"kill -{name} $$"])
    assert done.returncode == -signal.Signals[f"SIG{name}"]
    assert errors(done.stderr) == []
    watch.assert_revoked()


def test_python_run_returns_the_code(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ci_identity.run` returns the code, looks on the PATH that it is given, and revokes."""
    program = tmp_path / "bin" / "only-here"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    job, watch = Job.of(world, tmp_path / "state"), Watch(world.openbao)
    environ = job.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    monkeypatch.delenv("PATH")
    assert ci_identity.run(["only-here"], grants=["migrate-db"], environ=environ) == 9
    watch.assert_revoked()


def test_python_run_raises(world: World, tmp_path: Path, watch: Watch) -> None:
    """`ci_identity.run` raises what went wrong; the server is not asked."""
    other = Job.of(world, tmp_path, claims={"repository_id": "666"})
    with pytest.raises(DeniedError, match="repository_id"):
        ci_identity.run(["true"], grants=["migrate-db"], environ=other.environ)
    with pytest.raises(ConfigurationError, match="no grant"):
        ci_identity.run(["true"], grants=[], environ=other.environ)
    assert watch.entries == []


# ── what cannot be started ───────────────────────────────────────────────────────────────────


def test_missing_command(job: Job, watch: Watch) -> None:
    """A command that is not there is 127, as env(1) has it; nothing was asked for."""
    done = job.run([*EXEC, "no-such-command"])
    assert (done.returncode, watch.entries) == (127, [])
    assert b"cannot run no-such-command: not found" in done.stderr


@pytest.mark.parametrize("name", ["plain", "folder", "on-path"])
def test_what_is_no_program(job: Job, watch: Watch, tmp_path: Path, name: str) -> None:
    """A file without the x bit and a folder are 126, as env(1) has it; nothing was asked for."""
    (tmp_path / "plain").touch()
    (tmp_path / "on-path").touch()
    (tmp_path / "folder").mkdir()
    path = {"PATH": f"{os.environ['PATH']}:{tmp_path}"}
    program = name if name == "on-path" else str(tmp_path / name)
    done = job.run([*EXEC, program], extra=path)
    assert (done.returncode, watch.entries) == (126, [])
    assert f"cannot run {program}: Permission denied".encode() in done.stderr


def test_script_without_interpreter_line(job: Job, tmp_path: Path) -> None:
    """A script without `#!` is run by sh, as env(1) and every shell do."""
    script = tmp_path / "script"
    script.write_text('echo "$0 $1 $DB_USER"')
    script.chmod(0o755)
    done = job.run([*EXEC, str(script), "one"])
    assert (done.returncode, done.stdout.split(b"\n")[-2]) == (0, f"{script} one shop".encode())


def test_script_whose_interpreter_is_missing(job: Job, watch: Watch, tmp_path: Path) -> None:
    """A script with CRLF is 127, as env(1) has it; that it is not the script is said."""
    script = tmp_path / "script"
    script.write_bytes(b"#!/bin/sh\r\necho\r\n")
    script.chmod(0o755)
    done = job.run([*EXEC, str(script)])
    assert done.returncode == 127
    assert b"script: not found\nci-identity: it is there, but what its #! line" in done.stderr
    watch.assert_revoked()


def test_too_large_environment(job: Job, world: World, watch: Watch, tmp_path: Path) -> None:
    """A value larger than the system takes is a clear line and 126, and is revoked."""
    root = world.openbao.client()
    root.write_data("secret/data/shop-large", data={"data": {"value": "x1" * 80_000}})
    rule = 'path "secret/data/shop-large" { capabilities = ["read"] }'
    root.write_data("sys/policies/acl/shop-large", data={"policy": rule})
    role = root.read("auth/jwt/role/shop-migrate")["data"]
    root.write_data(
        "auth/jwt/role/shop-large", data=role | {"token_policies": ["ci", "shop-large"]}
    )
    grants = tmp_path / "large.yml"
    text = world.grants_path.read_text().partition("      secrets:")[0]
    text = text.replace("shop-migrate", "shop-large").replace("shop-db", "shop-large")
    grants.write_text(f"{text}      secrets:\n        LARGE: secret/data/shop-large#value\n")
    done = job.run([*EXEC[:-1], "--grants", str(grants), "--", "true"])
    assert (done.returncode, errors(done.stderr)) == (126, [])
    assert b"cannot run true: Argument list too long" in done.stderr
    watch.assert_revoked()


# ── our own failures ─────────────────────────────────────────────────────────────────────────


ASKED = "--grant migrate-db"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (f"{ASKED} --no-such-option -- touch started", "usage"),
        (ASKED, "usage"),
        ("-- touch started", "usage"),
        (f"{ASKED} touch started", "usage"),
        (f"{ASKED} --ttl soon -- touch started", "usage"),
        (f"{ASKED} --ttl 2h -- touch started", "configuration"),
        ("--grant migrate -- touch started", "grant-unknown"),
        (f"{ASKED} --step other -- touch started", "denied"),
        (f"{ASKED} --grants none.yml -- touch started", "grants-missing"),
    ],
)
def test_wrong_command_line(
    job: Job, watch: Watch, tmp_path: Path, options: str, code: str
) -> None:
    """What was asked wrongly is one clear error and 125; no server is asked and nothing runs."""
    done = job.run([*COMMAND, "exec", *options.split()], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, [code])
    assert b"\n  fix: " in done.stderr
    assert watch.entries == []
    assert not (tmp_path / "started").exists()


def _rewrite_grants(job: Job, rewrite: Callable[[str], str]) -> None:
    path = job.state.parent / "own.yml"
    path.write_text(rewrite(Path(job.environ["CI_IDENTITY_GRANTS"]).read_text()))
    job.environ["CI_IDENTITY_GRANTS"] = str(path)


def _bad_grants_file(job: Job) -> None:
    _rewrite_grants(job, lambda text: text.replace("vault:", "valut:"))


def _nothing_to_give(job: Job) -> None:
    _rewrite_grants(job, lambda text: text.partition("      secrets:")[0])


def _no_permission(job: Job) -> None:
    del job.environ["ACTIONS_ID_TOKEN_REQUEST_URL"], job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]


def _no_ci(job: Job) -> None:
    for name in list(job.environ):
        if name == "CI" or name.startswith(("GITHUB_", "ACTIONS_")):
            del job.environ[name]


def _no_ledger(job: Job) -> None:
    job.environ["CI_IDENTITY_LEDGER"] = str(job.state.parent)


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (_bad_grants_file, "grants-invalid"),
        (_nothing_to_give, "delivery-nothing"),
        (_no_permission, "identity-permission"),
        (_no_ci, "identity-none"),
        (_no_ledger, "ledger"),
    ],
)
def test_job_that_cannot_be_served(
    job: Job, watch: Watch, tmp_path: Path, prepare: Callable[[Job], None], code: str
) -> None:
    """What is wrong with the job or its files is an error and 125, before any server is asked."""
    prepare(job)
    done = job.run([*EXEC, "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, [code])
    assert watch.entries == []
    assert not (tmp_path / "started").exists()


def _and_again(text: str, **renamed: str) -> str:
    """The grants file with its grant once more, as `again`."""
    again = text.partition("grants:\n")[2].replace("  migrate-db:", "  again:")
    for old, new in renamed.items():
        again = again.replace(old, new)
    return text + again


def test_variables_in_conflict(job: Job, watch: Watch, tmp_path: Path) -> None:
    """Two grants that deliver the same variable are refused before anything is issued."""
    _rewrite_grants(job, _and_again)
    done = job.run([*EXEC[:-1], "--grant", "again", "--", "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, ["delivery-conflict"])
    assert b"migrate-db and again both deliver DB_USER" in done.stderr
    assert watch.entries == []
    assert not (tmp_path / "started").exists()


def test_denied_job(world: World, watch: Watch, tmp_path: Path) -> None:
    """A job that the grant is not for is denied: 125, on record, and the server never asked."""
    job = Job.of(world, tmp_path, claims={"repository": "mallory/shop", "repository_id": "666"})
    done = job.run([*EXEC, "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, ["denied"])
    assert job.events() == ["denied"]
    assert watch.entries == []


def test_refused_exchange(job: Job, proxy: Proxy, watch: Watch, tmp_path: Path) -> None:
    """A login that the provider refuses is 125 and on record as failed; nothing runs."""
    proxy.refused = "/login"
    done = job.run([*EXEC, "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, ["vault-mount"])
    assert job.events() == ["requested", "failed"]
    assert not (tmp_path / "started").exists()
    watch.assert_revoked(0)


def test_refused_read(job: Job, proxy: Proxy, watch: Watch, tmp_path: Path) -> None:
    """When the exchange fails half way, what was issued by then is revoked."""
    proxy.refused = "/secret/data/shop"
    done = job.run([*EXEC, "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, ["vault-policy"])
    assert job.events() == ["requested", "issued", "issued", "revoked"]
    assert not (tmp_path / "started").exists()
    watch.assert_revoked()


def test_ledger_that_fills_up(job: Job, watch: Watch, tmp_path: Path) -> None:
    """When the second entry cannot be written, what was issued is revoked and nothing runs."""
    limited = 'ulimit -f 1; exec "$@"'  # of 512 or 1024 bytes: the first entry fits
    done = job.run(["sh", "-c", limited, "sh", *EXEC, "touch", "started"], cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (125, ["ledger"])
    assert not (tmp_path / "started").exists()
    watch.assert_revoked(watch.logins)


# ── failed revocation ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("childs", "ours"), [(0, 125), (3, 3), (125, 125)])
def test_failed_revocation(job: Job, proxy: Proxy, childs: int, ours: int) -> None:
    """A revocation that fails is loud, names handle and expiry, and is never a success."""
    proxy.refused = "/revoke-self"
    done = job.run([*EXEC, "sh", "-c", f"exit {childs}"])
    last = job.ledger()[-1]
    assert (done.returncode, last["event"], last["outcome"]) == (ours, "failed", "failed")
    line = re.search(r"migrate-db: NOT revoked .* until (.*) UTC; .*", done.stderr.decode())
    assert line
    assert last["handle"].startswith("accessor:")
    assert last["handle"] in line[0]
    assert line[1] == last["expires_at"][:19].replace("T", " ")
    assert errors(done.stderr) == (["revocation"] if childs == 0 else [])


def test_server_gone_at_the_end(job: Job, proxy: Proxy) -> None:
    """With the server gone and the job cancelled, exec gives up in seconds and says it failed."""
    step = job.start([*EXEC, "sh", "-c", "echo ready; exec sleep 60"])
    assert step.stdout
    while step.stdout.readline() != b"ready\n":
        pass
    proxy.close()
    step.terminate()
    _, stderr = step.communicate()
    assert step.returncode == -signal.SIGTERM
    assert b"NOT revoked (login token: " in stderr
    assert job.ledger()[-1]["outcome"] == "failed"


# ── what the step is given ───────────────────────────────────────────────────────────────────

CLOUD_FILES = (
    "AWS_CONFIG_FILE",
    "CLOUDSDK_CONFIG",
    "AZURE_CONFIG_DIR",
    "KUBECONFIG",
)


def environ_of_step(job: Job, command: tuple[str, ...] = EXEC) -> dict[str, str]:
    """Return the environment that the step's process has, by way of a file, unredacted."""
    copy = job.state.parent / "environ"
    done = job.run([*command, "cp", "/proc/self/environ", str(copy)])
    assert done.returncode == 0, done.stderr.decode()
    pairs = copy.read_bytes().rstrip(b"\0").decode().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs)


def test_grants_variables_reach_the_step(job: Job, world: World) -> None:
    """The step has the grant's variables, and the job's own ones that hold no credential."""
    environ = environ_of_step(job)
    assert environ["DB_USER"] == "shop"
    assert environ["DB_PASSWORD"] == world.secrets["password"].reveal()
    assert environ["LICENCE"] == world.secrets["licence"].reveal()
    assert environ["GITHUB_REPOSITORY"] == "acme/shop"


def test_ways_to_other_credentials_are_gone(job: Job, world: World) -> None:
    """Nothing that mints, holds or leads to another credential reaches the step."""
    held = {
        "CI_IDENTITY_TOKEN": world.issuer.github_token(world.openbao.address).reveal(),
        "SOME_NAME": world.issuer.github_token().reveal(),
        "AWS_SECRET_ACCESS_KEY": "ambient",
        "AWS_PROFILE": "ambient",
        "VAULT_TOKEN": "ambient",
        "GOOGLE_APPLICATION_CREDENTIALS": "/ambient",
    }
    job.environ.update(held)
    job.environ.update({"AWS_REGION": "eu-west-1", "GITHUB_TOKEN": "the job's own"})
    minting = [name for name in job.environ if name.startswith("ACTIONS_ID_TOKEN_REQUEST_")]
    environ = environ_of_step(job)
    assert len(minting) == 2
    assert environ.keys().isdisjoint({*held, *minting})
    assert (environ["AWS_REGION"], environ["GITHUB_TOKEN"]) == ("eu-west-1", "the job's own")


def test_gitlab_token_is_gone(world: World, tmp_path: Path) -> None:
    """GitLab's id token does not reach the step."""
    job = Job.of(world, tmp_path / "state", "gitlab")
    assert "CI_IDENTITY_TOKEN" not in environ_of_step(job)


def test_private_files(job: Job, tmp_path: Path) -> None:
    """The clouds' tools are pointed to a private folder, which is gone afterwards."""
    script = "ls -ld {} > {}".format(" ".join(f'"${name}"' for name in CLOUD_FILES), "listing")
    assert job.run([*EXEC, "sh", "-c", script], cwd=tmp_path).returncode == 0
    listing = (tmp_path / "listing").read_text().splitlines()
    assert len(listing) == len(CLOUD_FILES)
    assert all(re.match(r"[-d]rw[-x]------", line) for line in listing)
    environ = environ_of_step(job)
    assert all(environ[name].startswith(f"{job.state}/") for name in CLOUD_FILES)
    assert not any(Path(environ[name]).exists() for name in CLOUD_FILES)
    assert [path.name for path in job.state.iterdir()] == ["ledger.jsonl"]


def test_two_grants(job: Job, world: World, watch: Watch) -> None:
    """A step may have two grants; both are revoked, and the head printed last is the ledger's."""
    _rewrite_grants(job, lambda text: _and_again(text, DB_="DB2_", LICENCE="LICENCE2"))
    command = (*COMMAND, "exec", "--grant", "migrate-db", "--grant", "again", "--")
    environ = environ_of_step(job, command)
    assert environ["DB_PASSWORD"] == environ["DB2_PASSWORD"] == world.secrets["password"].reveal()
    done = job.run([*command, "true"])
    heads = re.findall(rb"ledger head: ([0-9a-f]{64})", done.stderr)
    assert heads == [job.ledger()[-1]["hash"].encode()]
    assert job.events()[-2:] == ["revoked", "revoked"]
    watch.assert_revoked(4)


def test_steps_id_goes_into_the_record(world: World, tmp_path: Path) -> None:
    """GitHub's own step id is recorded, and a label where the CI has no step ids."""
    github = Job.of(world, tmp_path / "github")
    command = (*COMMAND, "exec", "--grant", "migrate-db")
    github.run([*command, "--step", "migrate", "--", "true"])
    gitlab = Job.of(world, tmp_path / "gitlab", "gitlab")
    gitlab.run([*command, "--step", "my-label", "--", "true"])
    assert {entry["step"] for entry in github.ledger()} == {"migrate"}
    assert {entry["step"] for entry in gitlab.ledger()} == {"my-label"}


def test_step_starts_as_it_would_without_us(job: Job, tmp_path: Path) -> None:
    """Signals blocked before stay blocked, SIGPIPE kills, open descriptors and folder are kept."""
    (tmp_path / "three").write_text("by descriptor 3\n")
    probe = "grep -E 'Sig(Blk|Ign)' /proc/self/status; cat <&3; pwd"  # sh would unblock
    wrapped = 'exec 3<three; exec env --block-signal=USR1 "$@"'
    done = job.run(["bash", "-c", wrapped, "-", *EXEC, "bash", "-c", probe], cwd=tmp_path)
    lines = [line for line in done.stdout.decode().splitlines() if "add-mask" not in line]
    bits = {name: int(value, 16) for name, _, value in (li.partition(":") for li in lines[:2])}
    assert bits["SigBlk"] == 1 << (signal.SIGUSR1 - 1)
    assert not bits["SigIgn"] & 1 << (signal.SIGPIPE - 1)
    assert lines[2:] == ["by descriptor 3", str(tmp_path)]


def test_real_time_signals(job: Job) -> None:
    """A blocked signal that has no name does not confuse us, and stays blocked."""
    block = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {40})\n"
    block += "os.execv(sys.argv[1], sys.argv[1:])"
    probe = ("grep", "SigBlk", "/proc/self/status")
    done = job.run([COMMAND[0], "-I", "-c", block, *EXEC, *probe])
    assert done.returncode == 0
    assert int(done.stdout.split()[-1], 16) == 1 << (40 - 1)


def test_ignored_sigchld(job: Job) -> None:
    """Started with SIGCHLD ignored, which makes the kernel reap, exec still knows the code."""
    done = job.run(["env", "--ignore-signal=CHLD", *EXEC, "sh", "-c", "exit 3"])
    assert done.returncode == 3


def test_code_that_somebody_else_took(job: Job) -> None:
    """When something else in the process has reaped the child, the code is not 0."""
    thief = SOON[-1].replace(
        "finished = ",
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfinished = ",
    )
    done = job.run([*SOON[:-1], thief, "true"])
    assert b"finished: code=125 signal=None" in done.stderr


def test_our_own_process_is_hidden(job: Job) -> None:
    """exec turns its own core dumps and memory access off."""
    script = "import ctypes; from ci_identity.cli import main; import sys\n"
    script += "from ci_identity import run; code = main(['exec', *sys.argv[1:]])\n"
    script += "print('dumpable:', ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)); sys.exit(code)"
    done = job.run([COMMAND[0], "-I", "-c", script, "--grant", "migrate-db", "--", "true"])
    assert done.stdout.endswith(b"dumpable: 0\n")


def test_network_is_the_loopback() -> None:
    """Tests cannot reach beyond this machine: what passes here needs no network."""
    with pytest.raises(Exception, match="A test tried to use socket"):
        socket.create_connection(("192.0.2.1", 443), timeout=0.1)


def test_ledger_holds_no_secret_field(job: Job) -> None:
    """Every entry has the contract's fields and no other."""
    job.run([*EXEC, "true"])
    fields = (
        "v at event grant step target lease expires_at identity fingerprint handle outcome reason"
        " peer packed_policy steered_by prev hash"
    )
    assert {tuple(entry) for entry in job.ledger()} == {tuple(fields.split())}
    assert json.dumps(job.ledger())


def test_a_slow_server_keeps_no_other_lease_alive(
    job: Job, world: World, proxy: Proxy, watch: Watch
) -> None:
    """Leases end side by side: one provider that hangs is none of the others' concern."""
    direct = world.grants_path.read_text().partition("grants:\n")[2]
    for ours, other in (("migrate-db", "direct"), ("DB_", "X_"), ("LICENCE", "X_LICENCE")):
        direct = direct.replace(ours, other)
    Path(job.environ["CI_IDENTITY_GRANTS"]).write_text(proxy.grants + direct)
    proxy.held = "/auth/token/revoke-self"
    script = "echo ready; exec sleep 60"
    command = [*EXEC[:-1], "--grant", "direct", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=job.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert any(line == b"ready\n" for line in process.stdout)
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
    ends = [(entry["grant"], entry["event"]) for entry in job.ledger()][-2:]
    assert ends == [("direct", "revoked"), ("migrate-db", "failed")]  # though it was opened later
    proxy.release.set()
    watch.assert_revoked(2)


def test_step_that_empties_the_ledger(job: Job, watch: Watch) -> None:
    """The credential ends, and what was done to the record is no success."""
    done = job.run([*EXEC, "sh", "-c", ': >"$CI_IDENTITY_STATE_DIR/ledger.jsonl"'])
    assert (done.returncode, errors(done.stderr)) == (125, ["ledger-tampered"])
    assert b"its end could not be recorded" in done.stderr
    watch.assert_revoked()


def test_process_from_before_the_command_is_named(job: Job) -> None:
    """What a shell left below us before it became `exec` is in the tree that is served."""
    done = job.run(["bash", "-c", 'sleep 30 & exec "$@"', "bash", *EXEC, "true"])
    assert done.returncode == 0
    assert b"in this step's process tree before the command: pid " in done.stderr
    assert b"process tree before the command" not in job.run([*EXEC, "true"]).stderr
