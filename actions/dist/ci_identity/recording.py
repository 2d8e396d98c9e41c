"""What the ledger is told about one lease, from the intent to its end, by whichever thread."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from ci_identity import _log
from ci_identity._record import replace
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Refused
from ci_identity.errors import LedgerError
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.model import Handle, Outcome

MAX_REFUSALS = 100
"""Kinds of refusal that are told apart: whoever is refused chooses how often, and as whom."""

BEAT = 120.0
"""Seconds between two signs of life of a lease in the ledger: half a kilobyte each."""

MAX_SERVED = 100
"""Processes that are remembered as served; the ledger has every one."""


class Recorder:
    """Writes the entries about one lease: all have its id, its grant and the same identity.

    Args:
        ledger: where they go.
        about: what every one of them says; also the first one, which records the intent.

    Attributes:
        head: the hash of the last one written.
        handles: what has been issued so far, by the provider's names.
        served: the processes that were served, as far as told.
        unrecorded: why something that happened at the endpoint is not on record.
    """

    def __init__(self, ledger: Ledger, about: Entry) -> None:
        self._ledger = ledger
        self._about = about
        self._writing = threading.Lock()
        self._is_silent = threading.Event()
        self._refusals: dict[tuple[str, str], int] = {}
        self.head = ""
        self.handles: list[Handle] = []
        self.served: list[Peer] = []
        self.unrecorded: LedgerError | None = None

    @property
    def place(self) -> int:
        """Where in the ledger the entry with `head` is."""
        return self._ledger.place

    def requested(self, expires_at: datetime) -> None:
        """Record the intent to have something issued that ends at `expires_at`."""
        self._write(replace(self._about, event=Event.REQUESTED, expires_at=expires_at))

    def denied(self, reason: str) -> None:
        """Record that the grant is not for this job."""
        self._write(replace(self._about, event=Event.DENIED, reason=reason))

    def issued(self, handle: Handle, event: Event = Event.ISSUED) -> None:
        """Record what the provider issued, or issued anew (`REFRESHED`)."""
        if str(handle) not in map(str, self.handles):
            self.handles.append(handle)
        self._write(
            replace(
                self._about,
                event=event,
                expires_at=handle.expires_at,
                handle=str(handle),
                fingerprint=handle.fingerprint,
                packed_policy=handle.packed_policy,
            )
        )

    def delivered(self, expires_at: datetime) -> None:
        """Record that the step can have it from now on."""
        self._write(replace(self._about, event=Event.DELIVERED, expires_at=expires_at))

    def start_heartbeat(self) -> None:
        """Record from now on, every `BEAT` seconds, that the lease is in use.

        Whoever looks at the ledger from another machine can tell a dead job by that.

        Raises:
            LedgerError: no more threads may be started.
        """
        try:
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        except RuntimeError:
            message = "it could not be recorded that the lease is in use: no thread may be started"
            hint = "raise the limit on processes: `ulimit -u`, or that of the container"
            raise LedgerError(message, hint=hint) from None

    def stop_heartbeat(self) -> None:
        """Let the lease be silent from now on; a beat that is under way may come after that."""
        self._is_silent.set()

    def _beat(self) -> None:
        while not self._is_silent.wait(BEAT):
            with suppress(LedgerError):  # a ledger that takes no beat keeps nothing from going on
                self._write(replace(self._about, event=Event.ALIVE))

    def on_access(self, peer: Peer) -> None:
        """Record that a process was served."""
        if len(self.served) < MAX_SERVED:
            self.served.append(peer)
        try:
            self._write(replace(self._about, event=Event.ACCESSED, peer=str(peer)))
        except LedgerError as error:
            self.unrecorded = error

    def on_refusal(self, refusal: Refused) -> None:
        """Say and record a refusal when it is the first of its kind, else count it."""
        kind = (str(refusal.peer), refusal.reason)
        is_known = kind in self._refusals
        if not is_known and len(self._refusals) >= MAX_REFUSALS:
            return
        self._refusals[kind] = refusal.times
        if is_known:
            return
        why = ": ".join(filter(None, (refusal.reason.sentence, refusal.detail)))
        _log.warning("%s: refused %s: %s", self._about.grant, kind[0], why)
        try:
            self._refusal(kind, "")
        except LedgerError as error:
            self.unrecorded = error

    @property
    def refused(self) -> Mapping[tuple[str, str], int]:
        """How often which process was refused, and for which reason."""
        return dict(self._refusals)

    def not_renewed(self, reason: str) -> None:
        """Record that renewing failed; what there is goes on to its end."""
        self._write(
            replace(self._about, event=Event.REFRESHED, outcome=Outcome.FAILED, reason=reason)
        )

    def ended(self, outcome: Outcome, expires_at: datetime | None, reason: str | None) -> None:
        """Record how it ended, and how often others were refused."""
        for kind, count in self._refusals.items():
            if count > 1:
                self._refusal(kind, f", {count} times")
        self._write(
            replace(
                self._about,
                event=Event(outcome),
                expires_at=expires_at,
                outcome=outcome,
                reason=reason,
                handle=str(self.handles[0]) if self.handles else None,
            )
        )

    def failed(self, reason: str) -> None:
        """Record that nothing was issued, and why."""
        self._write(replace(self._about, event=Event.FAILED, reason=reason))

    def _refusal(self, kind: tuple[str, str], times: str) -> None:
        who, reason = kind
        about = replace(self._about, event=Event.REFUSED, reason=reason)
        self._write(replace(about, peer=f"{who}{times}"))

    def _write(self, entry: Entry) -> None:
        with self._writing:
            self.head = self._ledger.append(replace(entry, at=datetime.now(UTC))).hash
