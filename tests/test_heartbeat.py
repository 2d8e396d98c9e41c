"""A lease in use gives a sign of life in the ledger now and then, and none when it is over."""

import threading
import time
from pathlib import Path

import pytest

import ci_identity
from ci_identity import recording
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.verify import verify
from ci_identity.ledger.writer import Ledger
from ci_identity.recording import Recorder
from ci_identity.sandbox.world import World
from tests.step import Job

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BEAT", 0.01)


def hearts() -> int:
    return sum(thread.name == "heartbeat" for thread in threading.enumerate())


def wait_for_none() -> bool:
    deadline = time.monotonic() + PATIENCE
    while hearts() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not hearts()


def test_a_session_in_use_gives_signs_of_life(world: World, tmp_path: Path) -> None:
    """From the delivery to the end; they are entries like any other, and say nothing else."""
    job = Job.of(world, tmp_path / "state")
    with ci_identity.session("migrate-db", environ=job.environ):
        deadline = time.monotonic() + PATIENCE
        while job.events().count("alive") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert wait_for_none()
    events = job.events()
    assert "alive" not in events[: events.index("delivered")]
    assert events.count("alive") >= 3
    (lease,) = {entry["lease"] for entry in job.ledger()}
    beat = next(entry for entry in job.ledger() if entry["event"] == "alive")
    said = {name for name, value in beat.items() if value}
    nothing_else = {"expires_at", "fingerprint", "handle", "outcome", "reason", "peer"}
    assert not said & nothing_else
    assert beat["lease"] == lease
    verify(job.state / "ledger.jsonl")


def test_a_session_that_failed_gives_none(world: World, tmp_path: Path) -> None:
    """What was never delivered is not in use."""
    job = Job.of(world, tmp_path / "state", claims={"repository": "x/y", "repository_id": "6"})
    with (
        pytest.raises(ci_identity.DeniedError),
        ci_identity.session("migrate-db", environ=job.environ),
    ):
        pass
    assert hearts() == 0


def test_a_ledger_that_takes_no_beat_stops_no_heart(tmp_path: Path) -> None:
    """It is tried again: a lock of somebody else passes."""
    path = tmp_path / "ledger.jsonl"
    path.mkdir()
    recorder = Recorder(Ledger(path), Entry(event=Event.REQUESTED, lease="a", grant="g"))
    recorder.start_heartbeat()
    path.rmdir()
    deadline = time.monotonic() + PATIENCE
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    recorder.stop_heartbeat()
    assert wait_for_none()
    assert path.is_file()
