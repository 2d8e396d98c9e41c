"""The machine fails an agent: as it starts, as it points the later steps to it, as it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob, Said
from tests.faults.stage import CODES
from tests.step import Job, Watch

BIG, SMALL = 1 << 20, 16


@pytest.fixture
def job(world: World, tmp_path: Path) -> Iterator[GitHubJob]:
    """A job for which there is the grant `migrate-db`."""
    with GitHubJob(Job.of(world, tmp_path / "state").environ, tmp_path) as job:
        yield job


@pytest.fixture
def watch(world: World) -> Watch:
    """What the server has recorded since."""
    return Watch(world.openbao)


def assert_sound(world: World, job: GitHubJob, *said: Said) -> None:
    """Assert that nothing secret was said, and no defect shown."""
    secrets = {one.reveal() for one in world.secrets.values() if len(one.reveal()) > 8}
    secrets.add(job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
    for one in said:
        assert "Traceback" not in one.log
        assert "error[internal]" not in one.log
        assert not any(secret in one.log for secret in secrets)
    assert "internal" in CODES  # the code by which the line above would be noticed


@pytest.mark.parametrize("name", ["GITHUB_ENV", "GITHUB_OUTPUT"])
@pytest.mark.parametrize("place", ["/dev/full", "/nonexistent/file", "/"])
def test_a_runners_file_that_cannot_be_written(
    world: World, job: GitHubJob, watch: Watch, name: str, place: str
) -> None:
    """The step fails with one error, and what had been issued by then is revoked."""
    starting = job.starting("--grant", "migrate-db", "--steps", "deploy")
    said = job.run("creds", *starting, **{name: place})
    assert said.code == 7, said.log
    assert "error[delivery]" in said.log
    assert_sound(world, job, said)
    watch.assert_revoked()


def test_a_summary_that_cannot_be_written(world: World, job: GitHubJob, watch: Watch) -> None:
    """It is told, everything has ended by then, and nothing that leads to the agent is left."""
    assert job.start_agent("migrate-db").code == 0
    said = job.run("creds", *job.stopping, GITHUB_STEP_SUMMARY="/dev/full")
    assert_sound(world, job, said)
    watch.assert_revoked()
    assert not {"address", "bearer"} & {path.name for path in job.instance.iterdir()}
    assert "cannot write the file that GITHUB_STEP_SUMMARY names" in said.log


@pytest.mark.parametrize("room", [0, 100, 600, 1300, 2000])
def test_a_disk_that_is_full(world: World, job: GitHubJob, watch: Watch, room: int) -> None:
    """Wherever there is no more room: it starts, or fails and leaves nothing alive."""
    starting = job.starting("--grant", "migrate-db", "--steps", "deploy")
    starting.insert(1, "-B")  # or Python itself would keep pieces of modules
    started = job.run("creds", "prlimit", f"--fsize={room}", "--", *starting)
    stopped = job.stop_agent()
    assert started.code in {0, 2, 7, 8}, started.log
    assert (started.code == 0) or "error[" in started.log
    assert_sound(world, job, started, stopped)
    watch.assert_revoked(watch.logins)


@pytest.mark.parametrize("count", [5, 7, 9, 11, 13])
def test_few_descriptors(world: World, job: GitHubJob, watch: Watch, count: int) -> None:
    """Wherever the last one is missing: the same."""
    starting = job.starting("--grant", "migrate-db", "--steps", "deploy")
    started = job.run("creds", "prlimit", f"--nofile={count}", "--", *starting)
    if "Fatal Python error" in started.log:
        pytest.skip("Python itself does not start with so few")
    stopped = job.stop_agent()
    assert_sound(world, job, started, stopped)
    if "NOT revoked" in stopped.log:  # for want of one to revoke with: loud, and to be reaped
        assert "from outside, revoke accessor:" in stopped.log
        assert stopped.code == 9
    else:
        watch.assert_revoked(watch.logins)
