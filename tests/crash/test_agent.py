"""The agent is killed at every point of its life: what its job is told is true, and `reap` ends it.

Which points there are is seen each time; unless the tests are thorough, those named here are taken.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import hvac.exceptions
import pytest

from ci_identity._record import Record
from ci_identity.ledger.verify import verify
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob, Said
from tests.crash.vault import LOST, Before, assert_reaped, grants, leases, reaper, tokens, told
from tests.crash.walk import at_each, dying
from tests.faults.stage import IS_THOROUGH
from tests.killing import may_revoke
from tests.step import COMMAND, Job, Watch

__all__ = ["grants", "reaper"]

FIRST, READY = "setsid in detach #1", "said in _leave #1"
UNASKED = (
    FIRST,
    "in place: agent.json #1",
    "in place: agent.json #2",
    "sent: GET /github/token #1",
    "half written: requested #1",
)
OPENING = (
    "written: requested #1",
    "answered: POST /v1/auth/jwt/login #1",
    "half written: issued #1",
    "written: issued #1",
    "answered: POST /v1/auth/token/create #1",
    "half written: issued #3",
    "written: delivered #1",
    "chdir in _leave #1",
)
SERVING = (
    READY,
    "_accept in accept #1",
    "half written: accessed #1",
    "said in _write #1",
)
STOPPING = (
    "shutdown in close #1",
    "answered: POST /v1/auth/token/revoke-self #1",
    "half written: revoked #1",
    "written: revoked #1",
    "aside: report.json #1",
    "in place: report.json #1",
)
RECLAIMING = (
    "half written: requested #1",
    "written: requested #1",
    "answered: POST /v1/auth/jwt/login #1",
    "written: issued #1",
    "answered: POST /v1/auth/token/revoke-accessor #1",
    "half written: revoked #1",
    "written: revoked #1",
    "written: revoked #2",
    "unlink in _remove #2",
)
"""Of the command that stops it, when it was killed."""

NEVER_ANSWERED = (*LOST, "written: requested #1")
"""What was asked for may have been given; there is no handle to end it by."""

INPUTS = {
    "INPUT_STEPS": "deploy",
    "INPUT_VAULT-ROLE": "crash",
    "INPUT_VAULT-POLICIES": "crash",
    "INPUT_VAULT-SECRETS": "PASSWORD: database/creds/shop#password\n"
    "LICENCE: secret/data/shop#licence",
}


class Life(Record):
    """What is known of an agent that was killed.

    Attributes:
        point: where.
        was_ready: whether its job was to be told that it is ready.
        ledger: its job's.
        start, stop, revoke: what the job was told by each of these commands, in this order.
        events: what was on record of its lease after the stop.
        alive: which of its handles were still alive then.
        files: what was on disk before the stop.
    """

    point: str
    was_ready: bool
    ledger: Path
    start: Said
    stop: Said
    revoke: Said
    events: Sequence[str]
    alive: Sequence[str]
    files: bytes


class Lives:
    """Jobs that all do the same: one step starts an agent, one is served by it, one stops it.

    Args:
        openbao: the server that is asked what lives.
        make: makes a job by name.
        start: returns the command that starts the agent, without the words for ci-identity itself.
        inputs: the variables of the step that does.
    """

    def __init__(
        self,
        openbao: OpenBao,
        make: Callable[[str], GitHubJob],
        start: Callable[[GitHubJob], list[str]],
        inputs: dict[str, str],
    ) -> None:
        self._openbao = openbao
        self._make = make
        self._start = start
        self._inputs = inputs
        self._every: list[str] = []

    def whole(self) -> list[str]:
        """Return every point of the life of an agent that nobody kills."""
        job = self._make("whole")
        started = self.start(job)
        assert started.code == 0, started.log
        assert "PASSWORD" in ask(job).stdout
        assert job.stop_agent().code == 0
        found = passed(job)
        return found[found.index(FIRST) :]

    def walk(self, chosen: Sequence[str]) -> list[Life]:
        """Have an agent killed at each of these points, or, if thorough, at every one."""
        self._every = self.whole()
        assert set(chosen) <= set(self._every), "the walk has lost sight of some"
        return at_each(self._every if IS_THOROUGH else chosen, self.die)

    def start(self, job: GitHubJob, last: str = "") -> Said:
        """Run the step that starts the agent, which is killed at the point `last`."""
        words = self._start(job)[len(COMMAND) :]
        return job.run("creds", *dying(points_of(job), last, words), **self._inputs)

    def die(self, name: str, point: str) -> Life:
        """Have one killed; the job goes on as every job does, and starts another in its place."""
        job = self._make(name)
        started = self.start(job, point)
        if started.code == 0:
            ask(job)
        files = b"".join(path.read_bytes() for path in job.folder.rglob("*") if path.is_file())
        ledger = Path(job.environ["CI_IDENTITY_STATE_DIR"]) / "ledger.jsonl"
        if ledger.exists():
            verify(ledger)
        stopped = job.stop_agent()
        assert passed(job)[-1] == point, stopped
        of_agent = [one for one in told(ledger) if one["lease"] == told(ledger)[0]["lease"]]
        handles = dict.fromkeys(one["handle"] for one in of_agent if one["handle"])
        alive = [handle for handle in handles if self._is_alive(handle)]
        revoked = job.run("creds", *COMMAND, "revoke")
        again = job.run("creds", *self._start(job), **self._inputs)
        assert (again.code, job.stop_agent().code) == (0, 0), again.log
        return Life(
            point=point,
            was_ready=self._every.index(point) >= self._every.index(READY),
            ledger=ledger,
            start=started,
            stop=stopped,
            revoke=revoked,
            events=[one["event"] for one in of_agent],
            alive=alive,
            files=files,
        )

    def _is_alive(self, handle: str) -> bool:
        kind, _, value = handle.partition(":")
        root = self._openbao.client()
        try:
            if kind == "accessor":
                root.auth.token.lookup_accessor(value)
            else:
                root.sys.read_lease(value)
        except hvac.exceptions.VaultError:
            return False
        return True


@pytest.fixture
def make(world: World, grants: Path, tmp_path: Path) -> Iterator[Callable[[str], GitHubJob]]:
    with ExitStack() as stack:

        def make(name: str) -> GitHubJob:
            folder = tmp_path / "jobs" / name
            folder.mkdir(parents=True)
            environ = Job.of(world, folder / "state").environ
            environ["CI_IDENTITY_GRANTS"] = str(grants)
            return stack.enter_context(GitHubJob(environ, folder))

        yield make


def ask(job: GitHubJob) -> Said:
    """Run the step that the agent is for."""
    return job.sh(
        "deploy",
        'cd "$CI_IDENTITY_AGENT" && for grant in crash vault; do'
        ' curl -sS -H "Authorization: $(cat bearer)" "$(cat address)/grant/$grant"; done',
    )


def points_of(job: GitHubJob) -> Path:
    return job.folder / "points"


def passed(job: GitHubJob) -> list[str]:
    return points_of(job).read_text().splitlines()


def assert_start_told(life: Life) -> None:
    """The step fails, and says what happened and what to do, unless the agent was ready."""
    assert life.start.code == (0 if life.was_ready else 7), life
    killed = "error[delivery]: the agent was ended by signal 9 (Killed) while it started"
    assert (killed in life.start.log and "fix: " in life.start.log) != life.was_ready, life


def assert_told(life: Life) -> None:
    """Of what is not revoked for certain nobody says that it is, and the job fails for it."""
    is_settled = "requested" not in life.events or "revoked" in life.events
    assert life.stop.code == (0 if is_settled else 9), life
    assert ("NOT revoked" in life.stop.log) != is_settled, life
    assert all(handle in life.stop.log for handle in life.alive), life
    if is_settled:
        assert not life.alive, life
    is_lost = life.point.startswith(NEVER_ANSWERED)
    assert life.revoke.code == (0 if is_settled or is_lost else 9), life
    if is_lost:
        for said in (life.stop, life.revoke):
            assert "whether it was given is not on record" in said.log, life
        assert "its role's token_ttl" in life.stop.log, life


def assert_no_secret(lives: Sequence[Life], watch: Watch, world: World) -> None:
    """On no disk there was any, wherever the agent was killed: only the bearer of a dead door."""
    secrets = [*watch.tokens, *world.secrets["licence"].reveal().splitlines()]
    answers = [(entry.get("response") or {}).get("data") or {} for entry in watch.entries]
    secrets += [answer["password"] for answer in answers if "password" in answer]
    for life in lives:
        assert not [secret for secret in secrets if secret.encode() in life.files], life.point


@pytest.mark.timeout(900)
def test_wherever_the_agent_is_killed_what_may_live_is_told(
    openbao: OpenBao,
    world: World,
    make: Callable[[str], GitHubJob],
    reaper: Job,
    tmp_path: Path,
) -> None:
    """The job may end no token but its own: `stop` and `revoke` say so, and `reap` ends them."""
    words = ("--grant", "crash", "--steps", "deploy")
    lives = Lives(openbao, make, lambda job: job.starting(*words), {})
    before, watch = Before.of(openbao), Watch(openbao)
    ended = lives.walk([*UNASKED, *OPENING, *SERVING, *STOPPING])
    for life in ended:
        assert_start_told(life)
        assert_told(life)
    assert_no_secret(ended, watch, world)
    lost = [life for life in ended if life.point.startswith(LOST)]
    assert len(tokens(openbao).keys() - before.tokens) > len(lost)
    assert leases(openbao) - before.leases  # one that is on no record ends with its token alone
    assert_reaped(openbao, reaper, tmp_path / "jobs", before, lost=len(lost))
    for life in ended:
        if life.ledger.exists():
            verify(life.ledger)


@pytest.mark.timeout(900)
def test_wherever_the_agent_is_killed_stop_ends_what_it_may(
    openbao: OpenBao,
    world: World,
    make: Callable[[str], GitHubJob],
    reaper: Job,
    tmp_path: Path,
) -> None:
    """The action's own grant, with a role that may end tokens: all but one window is revoked."""
    inputs = INPUTS | {"INPUT_VAULT-ADDRESS": openbao.address}
    lives = Lives(openbao, make, lambda job: job.acting, inputs)
    before, watch = Before.of(openbao), Watch(openbao)
    with may_revoke(openbao, "auth/jwt/role/crash"):
        ended = lives.walk(["in place: grants.yml #1", *OPENING, *SERVING[:1], *STOPPING[:3]])
    for life in ended:
        is_known = not life.point.startswith(NEVER_ANSWERED)
        assert_start_told(life)
        assert life.alive == [], life
        assert life.stop.code == (0 if is_known else 9), life
        assert ("NOT revoked" in life.stop.log) != is_known, life
        assert life.revoke.code == 0, life
    assert_no_secret(ended, watch, world)
    lost = [life for life in ended if life.point.startswith(LOST)]
    assert_reaped(openbao, reaper, tmp_path / "jobs", before, lost=len(lost))


@pytest.mark.timeout(900)
def test_wherever_stop_is_killed_the_rest_is_ended_by_the_next(
    openbao: OpenBao, make: Callable[[str], GitHubJob], reaper: Job, tmp_path: Path
) -> None:
    """It ends what a killed agent left; after it the login that it made for that is `revoke`'s."""

    def left(name: str) -> GitHubJob:
        job = make(name)
        assert job.start_agent("crash").code == 0
        job.kill_agent()
        return job

    def stop(job: GitHubJob, last: str = "") -> Said:
        return job.run("creds", *dying(points_of(job), last, job.stopping[len(COMMAND) :]))

    def die(name: str, point: str) -> None:
        job = left(name)
        assert stop(job, point).code == -9, point
        again, revoked = job.stop_agent(), job.run("creds", *COMMAND, "revoke")
        assert again.code == 0, again.log
        assert revoked.code == (9 if point.startswith(NEVER_ANSWERED) else 0), revoked.log

    before = Before.of(openbao)
    with may_revoke(openbao, "auth/jwt/role/crash"):
        whole = left("whole")
        assert stop(whole).code == 0
        assert set(RECLAIMING) <= set(passed(whole)), "the walk has lost sight of some"
        chosen = passed(whole) if IS_THOROUGH else RECLAIMING
        at_each(chosen, die)
    lost = [point for point in chosen if point.startswith(LOST)]
    assert_reaped(openbao, reaper, tmp_path / "jobs", before, lost=len(lost))
