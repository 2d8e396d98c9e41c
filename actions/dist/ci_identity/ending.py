"""The end of several sessions at once, as a command or a job has them."""

import threading
from collections.abc import Sequence
from functools import partial

from ci_identity import _log
from ci_identity.revocation import BUDGET, BUDGET_WHEN_CANCELLED
from ci_identity.session import Session


def close_all(sessions: Sequence[Session], *, is_pressing: bool) -> None:
    """End every session that is open, all at once: no provider waits for a slow one."""
    budget = BUDGET_WHEN_CANCELLED if is_pressing else BUDGET
    threads: list[threading.Thread] = []
    for session in sessions:
        if session.is_open:
            close = partial(session.close, budget=budget)
            thread = threading.Thread(target=close, name="revocation")
            try:
                thread.start()
            except RuntimeError:  # no more may be started: one after the other, then
                close()
            else:
                threads.append(thread)
    for thread in threads:
        thread.join()


def say_head(sessions: Sequence[Session]) -> None:
    """Say the hash of the last entry about any of them, for whoever verifies the ledger."""
    written = [session for session in sessions if session.head]
    if written:
        last = max(written, key=lambda session: session.head_place)
        _log.info("ledger head: %s", last.head)
