"""What is reported of a flood stays small, and a report that fails stops nothing."""

import logging
import threading

import pytest

from ci_identity.delivery import reports
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Reason, Refused
from ci_identity.delivery.reports import MAX_REMEMBERED, Reports, Tally
from ci_identity.errors import LedgerError


def test_tally() -> None:
    """Each thing is counted by itself."""
    tally = Tally()
    assert [tally.count(key) for key in ("a", "b", "a", "a")] == [1, 1, 2, 3]


def test_tally_forgets() -> None:
    """It remembers so many things, and forgets the one that has not happened for longest."""
    tally = Tally()
    tally.count("often")
    tally.count("once")
    for number in range(MAX_REMEMBERED - 1):
        tally.count("often")
        tally.count(number)
    assert tally.count("often") == MAX_REMEMBERED + 1
    assert tally.count("once") == 1


def test_refusals_are_counted() -> None:
    """A refusal is told with how often it has happened; another reason is another refusal."""
    told: list[tuple[str | None, Refused]] = []
    made = Reports(lambda *_: None, lambda path, refused: told.append((path, refused)))
    made.start()
    for reason in (Reason.PEER, Reason.PEER, Reason.BEARER):
        made.refuse("/x", Refused(reason=reason, peer=Peer(pid=1)))
    made.close()
    assert [(path, str(one.reason), one.times) for path, one in told] == [
        ("/x", "endpoint-peer", 1),
        ("/x", "endpoint-peer", 2),
        ("/x", "endpoint-bearer", 1),
    ]


def test_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """While reports wait for a disk, further refusals are counted and take no memory."""
    monkeypatch.setattr(reports, "MAX_WAITING", 5)
    told: list[int] = []
    go_on = threading.Event()

    def refuse(_: str | None, refused: Refused) -> None:
        go_on.wait()
        told.append(refused.times)

    made = Reports(lambda *_: None, refuse)
    for _ in range(1000):
        made.refuse("/x", Refused(reason=Reason.PEER, peer=Peer(pid=1)))
    made.start()
    go_on.set()
    made.close()
    assert told == [1, 2, 3, 4, 5]


def test_report_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A report that cannot be made is said in the log, and the next one is made."""
    told: list[str] = []

    def access(path: str, _: Peer) -> None:
        if path == "/full":
            message = "no space left"
            raise LedgerError(message)
        if path == "/broken":
            raise KeyError("s3cret")  # noqa: EM101  # as a defect would
        told.append(path)

    made = Reports(access, lambda *_: None)
    made.start()
    with caplog.at_level(logging.ERROR):
        for path in ("/full", "/broken", "/x"):
            made.access(path, Peer())
        made.close()
    assert told == ["/x"]
    assert "error[ledger]: no space left" in caplog.text
    assert "KeyError" in caplog.text
    assert "s3cret" not in caplog.text
