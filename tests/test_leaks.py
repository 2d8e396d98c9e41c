"""Nothing secret of a whole run shows up anywhere but in the step that was granted it."""

import base64
import binascii
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

import ci_identity
from ci_identity._record import Record
from ci_identity.cli import COMMANDS
from ci_identity.errors import CiIdentityError
from ci_identity.grants.decide import decide
from ci_identity.sandbox.world import CI, World
from ci_identity.sources import fetch, sources
from tests.proxy import Proxy
from tests.step import COMMAND, EXEC, Job, Watch, under_runner

CIS: tuple[CI, ...] = ("github", "gitlab")
OURS = b"\0-m\0ci_identity\0"

SHOW = """
import base64, binascii, json, os, sys, urllib.parse
for name in ("DB_PASSWORD", "LICENCE"):
    value = os.environ[name]
    raw = value.encode()
    for pad in (b"", b"-", b"--"):
        print(base64.b64encode(pad + raw).decode())
        print(base64.urlsafe_b64encode(pad + raw + pad).decode(), file=sys.stderr)
    print(value, raw.hex(), raw.hex().upper(), urllib.parse.quote(value, ""), json.dumps(value))
    print(repr(value), file=sys.stderr)
    print(value.encode().decode()[:20], value[20:], sep="\\n" if name == "LICENCE" else "")
sys.stdout.flush()
os.write(1, os.environ["DB_PASSWORD"].encode())
"""
"""A step that prints its secrets in every way that logs have them, the last without a line end."""


def spellings(secret: str) -> Iterator[bytes]:
    """The forms to look for: raw, base64 at three alignments, hex, percent, JSON."""
    raw = secret.encode()
    for line in (raw, *(part for part in raw.split(b"\n") if len(part) >= 8)):
        yield line
        yield binascii.hexlify(line)
        yield binascii.hexlify(line).upper()
    for pad, dropped in ((0, 0), (1, 2), (2, 3)):
        decided = base64.b64encode(bytes(pad) + raw)[dropped : 8 * (pad + len(raw)) // 6]
        yield decided
        yield decided.translate(bytes.maketrans(b"+/", b"-_"))
    yield quote(secret, "").encode()
    yield json.dumps(secret)[1:-1].encode()


class Secrets:
    """Everything secret that a run had, known from the world and the server's own record."""

    def __init__(self, world: World, job: Job, watch: Watch) -> None:
        asked = [entry["request"].get("data") or {} for entry in watch.entries]
        self.job_tokens = {data["jwt"] for data in asked if "jwt" in data}
        self.issued = set(watch.tokens)
        self.values = {world.secrets[name].reveal() for name in ("password", "licence")}
        minting = {v for n, v in job.environ.items() if n == "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
        self.needles = {
            form
            for secret in self.job_tokens | self.issued | self.values | minting
            for form in spellings(secret)
        }

    def found_in(self, data: bytes, allowed: Iterable[str] = ()) -> bool:
        """True if anything secret is in there, in any form."""
        fine = {form for secret in allowed for form in spellings(secret)}
        return any(needle in data for needle in self.needles - fine)


class Watcher(threading.Thread):
    """Reads the argv and environ of a process tree, and the files of a folder, while it runs."""

    def __init__(self, root: int, folder: Path) -> None:
        super().__init__()
        self._root, self._folder = root, folder
        self._is_over = threading.Event()
        self.argv: set[bytes] = set()
        self.environ: set[tuple[bytes, bytes]] = set()  # of what argv
        self.files: set[bytes] = set()

    def run(self) -> None:
        while not self._is_over.wait(0.005):
            for pid in self._tree(self._root):
                self._look_at(Path("/proc") / str(pid))
            with suppress(OSError):  # a folder may go while it is being read
                for path in self._folder.rglob("*"):
                    self._read(path)

    def stop(self) -> None:
        self._is_over.set()
        self.join()

    def _tree(self, pid: int) -> Iterator[int]:
        yield pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return
        for child in text.split():
            yield from self._tree(int(child))

    def _look_at(self, process: Path) -> None:
        try:
            argv, environ = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            return
        self.argv.add(argv)
        self.environ.add((argv, environ))

    def _read(self, path: Path) -> None:
        try:
            self.files.add(str(path).encode() + path.read_bytes())
        except OSError:
            return


@pytest.mark.parametrize("ci", CIS)
def test_run_of_a_step_leaks_nothing(world: World, tmp_path: Path, ci: CI) -> None:
    """Not in the output, ledger, state folder, any argv, nor any environ but the granted step's."""
    job, watch = Job.of(world, tmp_path / "state", ci), Watch(world.openbao)
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    watcher = Watcher(os.getpid(), tmp_path)  # from before it hides itself
    watcher.start()
    step = job.start([*EXEC, "sh", "-c", f"{COMMAND[0]} {script}; sleep 0.3"])
    stdout, stderr = step.communicate()
    watcher.stop()
    assert step.returncode == 0, stderr.decode()
    secrets = Secrets(world, job, watch)
    assert (len(secrets.job_tokens), len(secrets.issued)) == (1, 2)

    output = [line for line in (stdout + stderr).split(b"\n") if b"::add-mask::" not in line]
    assert not secrets.found_in(b"\n".join(output))
    assert stdout.count(b"[MASKED]") >= 18
    assert any(b"ledger.jsonl" in data for data in watcher.files)
    assert not secrets.found_in(b"\0".join(watcher.files))
    assert not secrets.found_in(b"\0".join(watcher.argv))

    ours = {environ for argv, environ in watcher.environ if OURS in argv}
    steps = {environ for argv, environ in watcher.environ if OURS not in argv}
    assert ours
    assert all(set(environ.split(b"\0")) <= _pairs(job.environ) for environ in ours)
    of_granted = [environ for environ in steps if b"DB_PASSWORD=" in environ]
    assert of_granted
    assert not any(secrets.found_in(e, allowed=secrets.values) for e in of_granted)


def _pairs(environ: Mapping[str, str]) -> set[bytes]:
    return {f"{name}={value}".encode() for name, value in environ.items()} | {b""}


@pytest.mark.parametrize("ci", CIS)
def test_github_alone_is_told(world: World, tmp_path: Path, ci: CI) -> None:
    """The values are told to GitHub's runner in its own command, to no other, and no token is."""
    job, watch = Job.of(world, tmp_path / "state", ci), Watch(world.openbao)
    said = under_runner(job.environ, *EXEC, "true")
    secrets = Secrets(world, job, watch)
    told = "\n".join(said.masks).encode()
    assert secrets.found_in(told) == (ci == "github")
    assert not secrets.found_in(told, allowed=secrets.values)
    rest = (said.stdout + said.stderr).replace("\n".join(said.masks), "").encode()
    assert not secrets.found_in(rest)


def outputs_of(job: Job, command: str, *words: str) -> bytes:
    done = job.run([*COMMAND, command, *words])
    return done.stdout + done.stderr


@pytest.mark.parametrize("ci", CIS)
def test_reading_commands_leak_nothing(world: World, tmp_path: Path, ci: CI) -> None:
    """What whoami, explain, check, audit and doctor print, also as JSON, has no secret in it."""
    job, watch = Job.of(world, tmp_path / "state", ci), Watch(world.openbao)
    job.run([*EXEC, "true"])
    # All that the job could mint or hold; a token of its own is only ever in memory.
    job.environ["A_TOKEN_OF_ANOTHER_NAME"] = world.issuer.github_token().reveal()
    audience = ["--audience", world.openbao.address] if ci == "gitlab" else []
    printed = b""
    for command, *words in (
        ("whoami", *audience),
        ("explain", "migrate-db"),
        ("check",),
        ("audit", "show"),
        ("audit", "verify"),
        ("doctor", "env"),
    ):
        for json_too in ([], ["--json"]):
            shown = outputs_of(job, command, *words, *json_too)
            assert b"error[" not in shown
            assert shown.strip()
            printed += shown
    secrets = Secrets(world, job, watch)
    own = {v for n, v in job.environ.items() if "TOKEN" in n and not n.endswith("_URL")}
    assert not secrets.found_in(printed)
    assert not any(value.encode() in printed for value in own)
    assert not any(f".{value.split('.')[-1]}".encode() in printed for value in own if "." in value)
    assert set(COMMANDS) >= {"whoami", "explain", "check", "audit", "doctor"}


# ── objects ──────────────────────────────────────────────────────────────────────────────────


def seen_of(thing: object) -> str:
    """Everything that printing an object shows: `repr`, `str`, format, and its parts."""
    parts = (
        [getattr(thing, name) for name in type(thing).fields_] if isinstance(thing, Record) else []
    )
    below = [seen_of(part) for part in parts]
    return " ".join([repr(thing), str(thing), f"{thing}", f"{thing!r}", *below])


def test_objects_show_nothing(world: World, tmp_path: Path) -> None:
    """repr, str and format of what the library hands out show no secret, open or closed."""
    job, watch = Job.of(world, tmp_path), Watch(world.openbao)
    token = fetch(sources(job.environ), world.openbao.address)
    with ci_identity.session("migrate-db", environ=job.environ) as session:
        assert session.identity
        decision = decide(session.grant, session.identity, step=None)
        vault = session.hvac()
        things = [
            session, session.grant, session.identity, session.lease, session.variables,
            session.secrets, session.environ, session.environ.keys(), token, token.token,
            decision, session._credential, session._credential and vars(session._credential),
        ]  # fmt: skip
        shown = " ".join(map(seen_of, things))
        assert vault.token
    shown += seen_of(session) + seen_of(session.revocation) + seen_of(session.variables)
    secrets = Secrets(world, job, watch)
    assert token.token.reveal() not in shown
    assert not secrets.found_in(shown.encode())
    assert session.outcome is ci_identity.Outcome.REVOKED


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and all that it was raised from or while handling."""
    while error is not None:
        yield error
        if error.__cause__ is not None:
            yield from chain(error.__cause__)
        error = error.__context__


@pytest.mark.parametrize("refused", ["/login", "/create", "/secret/data/shop", "/revoke-self"])
def test_errors_show_nothing(world: World, tmp_path: Path, refused: str) -> None:
    """An error of any part, with its notes, causes and contexts, shows no secret."""
    job, watch = Job.of(world, tmp_path), Watch(world.openbao)
    with Proxy(world) as proxy:
        grants = tmp_path / "grants.yml"
        grants.write_text(proxy.grants)
        proxy.refused = refused
        with pytest.raises(CiIdentityError) as caught:
            _open_and_close(job.environ, grants)
    secrets = Secrets(world, job, watch)
    links = list(chain(caught.value))
    assert all(isinstance(link, Exception) for link in links)
    for link in links:
        text = f"{link!r} {link} {link.args} {vars(link)} {getattr(link, '__notes__', '')}"
        assert not secrets.found_in(text.encode())


def _open_and_close(environ: Mapping[str, str], grants: Path) -> None:
    with ci_identity.session("migrate-db", environ=environ, grants_file=grants):
        pass


def test_our_own_environ_is_the_jobs(world: World, tmp_path: Path) -> None:
    """exec puts nothing into its own environment, so none of its children gets it by accident."""
    job = Job.of(world, tmp_path)
    script = "import os, sys; before = dict(os.environ); from ci_identity.cli.exec import main\n"
    script += "code = main(sys.argv[1:]); assert dict(os.environ) == before; sys.exit(code)"
    argv = [COMMAND[0], "-I", "-c", script, "--grant", "migrate-db", "--", "true"]
    assert job.run(argv).returncode == 0
