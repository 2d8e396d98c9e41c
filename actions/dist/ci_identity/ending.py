"""The end of several sessions at once, as a command or a job has them."""

import logging
import threading
from collections.abc import Sequence

from ci_identity.revocation import BUDGET, BUDGET_WHEN_CANCELLED
from ci_identity.session import Session

_log = logging.getLogger("ci_identity")


def close_all(sessions: Sequence[Session], *, is_pressing: bool) -> None:
    """End every session that is open, all at once: no provider waits for a slow one."""
    budget = BUDGET_WHEN_CANCELLED if is_pressing else BUDGET
    threads = [
        threading.Thread(target=session.close, kwargs={"budget": budget}, name="revocation")
        for session in sessions
        if session.is_open
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say_head(sessions: Sequence[Session]) -> None:
    """Say the hash of the last entry about any of them, for whoever verifies the ledger."""
    written = [session for session in sessions if session.head]
    if written:
        last = max(written, key=lambda session: session.head_place)
        _log.info("ledger head: %s", last.head)
