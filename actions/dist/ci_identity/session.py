"""One grant from request to revocation. This module alone knows the order; read it first.

identify -> decide -> record the intent -> exchange -> record what was issued -> arm the mask
-> record the delivery -> (the step runs; what it asks for is renewed) -> revoke -> record the end
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from ci_identity import _log
from ci_identity._record import replace
from ci_identity._text import lasting
from ci_identity.clients import Clients
from ci_identity.delivery.environ import Environment, kept_redirects
from ci_identity.delivery.handover import Handover
from ci_identity.delivery.interface import Offer
from ci_identity.delivery.offers import check_mode, offer_for, outright, promises
from ci_identity.errors import (
    CiIdentityError,
    ConfigurationError,
    DeniedError,
    IdentityError,
    InterruptedRunError,
    LedgerError,
)
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.interface import Credential, Exchanger, ExchangeRequest
from ci_identity.grants.decide import decide, refusal
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.model import (
    AzureTarget,
    Delivered,
    DeliveryMode,
    Grant,
    Handle,
    JobIdentity,
    Lease,
    Outcome,
    SubjectToken,
    VaultTarget,
)
from ci_identity.recording import Recorder
from ci_identity.redaction.mask import mask_in_log
from ci_identity.renewal import Renewal, Stopped
from ci_identity.revocation import BUDGET, BUDGET_WHEN_CANCELLED, Revocation, end
from ci_identity.scrutiny import check_life, check_values
from ci_identity.secret import Secret
from ci_identity.settings import Settings, private_directory
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify
from ci_identity.sources.interface import Source

if TYPE_CHECKING:
    from ci_identity.grants.load import GrantsFile


def session(
    grant: str | Grant,
    *,
    step: str | None = None,
    ttl: timedelta | None = None,
    grants_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    delivery: str = "endpoint",
) -> "Session":
    """Return a session for one grant; enter it to open it, leave it to revoke.

    Args:
        grant: the name of a grant in the grants file, or a grant of your own making.
        step: the step's id, or a label where the CI has none.
        ttl: the life of the credential, at most the grant's own.
        grants_file: the grants file, if it is not where it is looked for.
        environ: the job's variables; by default those of this process.
        delivery: how a cloud's credential reaches a child: see `DeliveryMode`.

    Raises:
        ConfigurationError: the grants file, the name or the ttl cannot be used.
    """
    variables = os.environ if environ is None else environ
    if isinstance(grant, str):
        grant = load_grants(grants_file, variables).grant(grant)
    return Session(grant, variables, step=step, ttl=ttl, delivery=delivery_mode(delivery))


def delivery_mode(text: str) -> DeliveryMode:
    """Return the way of delivery that `text` names.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        return DeliveryMode(text)
    except ValueError:
        message = f"there is no delivery {text!r}"
        raise ConfigurationError(message, hint=f"choose one of {', '.join(DeliveryMode)}") from None


def load_grants(grants_file: Path | None, environ: Mapping[str, str]) -> "GrantsFile":
    """Load the grants file that `grants_file`, `environ` or the working folder names."""
    from ci_identity.grants.load import find, load  # noqa: PLC0415  # an action's inputs need none

    return load(find(grants_file, Settings.from_environ(environ).grants, Path.cwd()))


class Session(Clients):
    """One grant, opened for one step. A context manager: leaving it revokes, whatever happened.

    Args:
        grant: the grant to open.
        environ: the job's variables.
        step: the step's id; it must be the CI's own where the CI has one, else it is a label.
        ttl: the life of the credential, at most the grant's.
        delivery: how a cloud's credential reaches a child.
        handover: where the child of several sessions is handed what they give; closed by whoever
            made it. By default one of this session's own.
        candidates: where to look for the job's token; by default every source there is.
        exchanger: who swaps the token; by default the one for the grant's target.
        pause: sleeps that many seconds between two tries, and raises if the job was cancelled.

    Attributes:
        identity: who the job is; after opening.
        lease: what was issued, and until when; after opening.
        revocation: how it ended; after closing.
        steered_by: names of the environment variables that chose an endpoint, a proxy or a CA.
        head: the hash of the last ledger entry about it.

    Raises, on entering:
        IdentityError, DeniedError, ExchangeError, ProviderUnavailableError, DeliveryError,
        LedgerError: in the order of the steps above. Whatever had been issued by then is revoked.
    """

    def __init__(  # noqa: PLR0913  # all but two are keyword-only and have a default
        self,
        grant: Grant,
        environ: Mapping[str, str],
        *,
        step: str | None = None,
        ttl: timedelta | None = None,
        delivery: DeliveryMode = DeliveryMode.ENDPOINT,
        handover: Handover | None = None,
        candidates: Sequence[Source] | None = None,
        exchanger: Exchanger | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if ttl is not None and not timedelta(seconds=1) <= ttl <= grant.ttl:
            most = lasting(grant.ttl)
            message = f"the grant {grant.name} allows a ttl from 1 s to {most}, not {lasting(ttl)}"
            raise ConfigurationError(
                message,
                hint="the grant's `ttl` counts: ask for less, or raise it in the grants file",
            )
        settings = Settings.from_environ(environ)
        self.grant = grant
        self.identity: JobIdentity | None = None
        self.revocation: Revocation | None = None
        self.steered_by: tuple[str, ...] = ()
        self._environ = environ
        self._step = step
        self._ttl = ttl or grant.ttl
        self._mode = check_mode(grant, delivery)
        self._candidates = sources(environ, grant.source) if candidates is None else candidates
        self._exchanger = exchanger or exchanger_for(grant, environ)
        self._pause = pause
        self._settings = settings
        self._owns_handover = handover is None
        self._handover = handover or Handover(settings.state_dir)
        self._lease_id = os.urandom(8).hex()
        self._lease: Lease | None = None
        self._credential: Credential | None = None
        self._recorder: Recorder | None = None
        self._offered: Offer | None = None
        self._renewal: Renewal | None = None
        self._renewed_until = self._asked_until = datetime.min.replace(tzinfo=UTC)
        self._redact: Callable[[Secret], None] = lambda _: None
        self._superseded: tuple[Secret, ...] = ()
        self._closing = RLock()
        self._unrecorded: LedgerError | None = None

    def __repr__(self) -> str:
        return f"Session({self.grant.name}, lease={self._lease_id})"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self.check()

    # ── the order ────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Go from the job's token to a credential that may be used. See the class for errors."""
        token = self._fetch()
        self.identity = self._identify(token)
        decision = decide(self.grant, self.identity, step=self._step)
        if not decision.is_allowed:
            self._records.denied(DeniedError.code)
            raise refusal(decision)
        private_directory(self._settings.state_dir)
        self._pause(0.0)  # cancelled by now: nothing is asked for, and nothing is on record as open
        asked_at = datetime.now(UTC)
        self._records.requested(asked_at + self._ttl)
        try:
            request = self._request(token, self._ttl)
            credential = self._exchanger.exchange(request)
            self._hold(credential)
            self._check_life(credential, asked_at, self._ttl)
            check_values(credential.variables, credential.secrets)
            self._handover.open()
            self._offer()
            mask_in_log([secret.reveal() for secret in self.secrets], self._environ)
            self._records.delivered(credential.expires_at)
            self._start_renewing(credential)
            self._records.start_heartbeat()
            self._announce(self.identity)
            self._pause(0.0)
        except BaseException as error:
            self._abandon(error)
            raise

    def close(self, *, budget: float = BUDGET) -> Revocation:
        """End the lease at the provider within `budget` seconds, record how, and say it.

        May be called twice, and from another thread; what the first call found is kept.
        """
        self._stop_renewing(timeout=0.0)
        with self._closing:  # a second end would be refused, and called a failure
            if self.revocation is None:
                self.revocation = self._end(budget, reason=None)
        self._stop_renewing(timeout=1.0)
        return self.revocation

    def check(self) -> None:
        """Raise if the end, looked at afterwards, is not what it should be.

        Raises:
            RevocationError: the lease may still be alive.
            LedgerError: it has ended, but that is not on record.
        """
        self.close().check()
        if error := self._unrecorded or self._records.unrecorded:
            raise error

    # ── what the step gets ───────────────────────────────────────────────────────────────────

    @property
    def lease(self) -> Lease:
        """What was issued: our id of it, the target, and when it ends by itself."""
        return self._lease or Lease(
            id=self._lease_id,
            grant=self.grant.name,
            target=self._exchanger.target,
            expires_at=datetime.now(UTC) + self._ttl,
        )

    @property
    def recorder(self) -> Recorder:
        """Who writes to the ledger about this lease; after opening."""
        return self._records

    @property
    def is_open(self) -> bool:
        """True from the first thing that was issued to the end."""
        return self._credential is not None and self.revocation is None

    @property
    def head(self) -> str:
        """The hash of the last ledger entry about it; empty if there is none."""
        return self._recorder.head if self._recorder else ""

    @property
    def head_place(self) -> int:
        """Where in the ledger the entry is whose hash is `head`."""
        return self._records.place

    @property
    def promises(self) -> tuple[str, ...]:
        """Names of the variables that two grants of one child cannot both give."""
        return promises(self.grant, self._mode)

    @property
    def variables(self) -> Mapping[str, Delivered]:
        """The variables that the grant gives, by name; empty before opening and after closing."""
        if self._credential is None or self.revocation:
            return {}
        if self._mode is DeliveryMode.ENV and self._credential.served:
            return {**self._credential.variables, **outright(self.grant, self.served())}
        return self._credential.variables

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The values that must not be seen in a log: what the grant gives, unless it is public."""
        given = [given.value for given in self.variables.values() if not given.is_public]
        served = self._credential.secrets if self._credential and not self.revocation else ()
        return (*given, *served, *self._superseded, *self._handover.secrets)

    def redact_with(self, redact: Callable[[Secret], None]) -> None:
        """Have `redact` called with every secret there is, and with each that comes by renewal."""
        with self._closing:
            self._redact = redact
            for secret in self.secrets:
                redact(secret)

    @property
    def environ(self) -> Environment:
        """The whole environment for a child process: the job's without what could mint or hold
        another credential, and with what the grant gives.

        Give it to `subprocess` as `env`. It shows no values, and cannot be copied or pickled.
        """  # noqa: D205  # one sentence over two lines
        return self._handover.environ(self._environ, self.variables)

    @property
    def private_folder(self) -> Path:
        """The folder, for this user only, that the clouds' own tools are pointed to."""
        return self._handover.folder

    @property
    def _open_credential(self) -> Credential | None:
        return None if self.revocation else self._credential

    @property
    def outcome(self) -> Outcome | None:
        """How the lease ended; `None` while it lives."""
        return self.revocation.outcome if self.revocation else None

    # ── the parts ────────────────────────────────────────────────────────────────────────────

    @property
    def _effective_step(self) -> str | None:
        return (self.identity.step if self.identity else None) or self._step

    def _identify(self, token: SubjectToken) -> JobIdentity:
        self.identity = identify(token)
        steered_by = (*token.steered_by, *self._exchanger.steered_by, *self._settings.variables)
        if not isinstance(self.grant.target, VaultTarget):  # the step's own clients go there too
            steered_by += kept_redirects(self._environ)
        self.steered_by = tuple(dict.fromkeys(steered_by))
        if self.steered_by:  # said before anything is sent there
            _log.info("%s: steered by %s", self.grant.name, ", ".join(self.steered_by))
        self._recorder = self._recorder_for(self.identity)
        return self.identity

    @property
    def _records(self) -> Recorder:
        """Who writes to the ledger about this lease; after the job's identity is known."""
        if self._recorder is None:
            message = f"{self.grant.name}: the session has not been opened"
            raise ConfigurationError(message)
        return self._recorder

    def _fetch(self) -> SubjectToken:
        return fetch(self._candidates, self.grant.audience or self._exchanger.audience)

    def _mint_again(self) -> SubjectToken:
        """Return a new token of the same job, which the grant is still for."""
        token = self._fetch()
        identity = identify(token)
        if self.identity is None or identity.subject != self.identity.subject:
            message = f"{self.grant.name}: the new token is for another subject than the first"
            raise IdentityError(message)
        decision = decide(self.grant, identity, step=self._step)
        if not decision.is_allowed:
            raise refusal(decision)
        return token

    def _recorder_for(self, identity: JobIdentity) -> Recorder:
        said = ("issuer", "subject", "repository", "run", "job")
        about = Entry(
            event=Event.REQUESTED,
            lease=self._lease_id,
            grant=self.grant.name,
            step=self._effective_step,
            target=self._exchanger.target,
            identity={name: getattr(identity, name) for name in said},
            steered_by=self.steered_by,
        )
        return Recorder(Ledger(self._settings.ledger), about)

    def _hold(self, credential: Credential) -> None:
        self._credential = credential

    def _request(self, token: SubjectToken, ttl: timedelta) -> ExchangeRequest:
        return ExchangeRequest(
            grant=self.grant,
            subject_token=token,
            mint=self._mint_again,
            identity=cast("JobIdentity", self.identity),
            step=self._effective_step,
            ttl=ttl,
            lease_id=self._lease_id,
            hold=self._hold,
            record=self._record_issued,
            warn=_log.warning,
            note=_log.info,
            pause=self._pause,
        )

    def _record_issued(self, handle: Handle) -> None:
        self._records.issued(handle)
        self._pause(0.0)

    def _check_life(self, credential: Credential, asked_at: datetime, ttl: timedelta) -> None:
        name, expires_at = self.grant.name, credential.expires_at
        remark = check_life(name, expires_at, asked_at=asked_at, ttl=ttl)
        is_asked = not isinstance(self.grant.target, AzureTarget)  # Entra takes no wish
        if remark and is_asked and self._lease is None:  # what is true of each renewal is said once
            _log.warning("%s: %s", name, remark)
        self._lease = Lease(
            id=self._lease_id, grant=name, target=self._exchanger.target, expires_at=expires_at
        )

    def _announce(self, job: JobIdentity) -> None:
        name, lease = self.grant.name, self.lease
        _log.info(
            "%s: for %s, run %s, job %s", name, job.repository or job.subject, job.run, job.job
        )
        until = f"{lease.expires_at:%H:%M:%S} UTC"
        if self._renewal:
            most = lasting(self.grant.max)
            _log.info("%s: from %s, renewed by %s, for %s at most", name, lease.target, until, most)
        else:
            _log.info("%s: from %s, not renewed, ends by itself at %s", name, lease.target, until)
        given = [f"{key} (public)" if v.is_public else key for key, v in self.variables.items()]
        if self._offered:
            given.append(self._offered.summary)
        whom = self._handover.whom(name)
        if given:
            _log.info("%s: gives %s %s", name, whom, ", ".join(given))

    def _abandon(self, error: BaseException) -> None:
        """Undo a half-made lease; the reason goes into the ledger, the error on to the caller."""
        self._stop_renewing(timeout=0.0)
        reason = InterruptedRunError.code if isinstance(error, KeyboardInterrupt) else "internal"
        reason = error.code if isinstance(error, CiIdentityError) else reason
        is_pressing = isinstance(error, InterruptedRunError)
        budget = BUDGET_WHEN_CANCELLED if is_pressing else BUDGET
        if self._records.handles:
            self.revocation = self._end(budget, reason=reason)
            return
        # Held, but without a handle: the provider's answer was cut short, or was not one.
        ending = self._credential.revoke(budget=budget) if self._credential else None
        if ending and ending.outcome is Outcome.FAILED:
            _log.error("%s: NOT revoked (%s)", self.grant.name, ending.detail)
        self._credential = None
        self._close_handover()
        with suppress(LedgerError):  # the error that is on its way matters more
            self._records.failed(reason)

    def _end(self, budget: float, *, reason: str | None) -> Revocation:
        # What was refused for living too long does so all the same.
        issued = self._credential.expires_at if self._credential else self._asked_until
        ends = max(self.lease.expires_at, self._asked_until, issued)
        lease = replace(self.lease, expires_at=ends)
        self._close_handover()
        handles = tuple(str(handle) for handle in self._recorder.handles) if self._recorder else ()
        revocation = end(self._credential, lease, handles, budget=budget)
        say = _log.error if revocation.outcome is Outcome.FAILED else _log.info
        say(revocation.sentence(), outcome=revocation.outcome)
        try:
            why = revocation.reason or reason
            self._records.ended(revocation.outcome, revocation.lease.expires_at, why)
        except LedgerError as error:  # it has ended all the same; what is missing is the record
            self._unrecorded = error
            _log.error("%s: its end could not be recorded: %s", self.grant.name, error)
        return revocation

    def _close_handover(self) -> None:
        self._handover.withdraw(self.grant.name)
        if self._owns_handover:
            self._handover.close()

    # ── what is served ───────────────────────────────────────────────────────────────────────

    def _offer(self) -> None:
        """Let the child ask for what is served, unless it is given it outright."""
        self._offered = offer_for(self.grant, self._mode, self._lease_id, self.served)
        if self._offered:
            self._handover.offer(self._offered, watch=self._records)

    def _start_renewing(self, credential: Credential) -> None:
        if credential.served is not None and self._mode is not DeliveryMode.ENV:
            self._renewed_until = datetime.now(UTC) + self.grant.max
            self._renewal = Renewal(
                credential.served.expires_at,
                self._renewed_until,
                renew=self._renew,
                failed=self._on_renewal_failure,
            )
            self._renewal.start()

    def _renew(self, pause: Callable[[float], None]) -> datetime:
        """Have a new credential issued by the same order as the first, and return when it ends."""
        token = self._mint_again()
        asked_at = datetime.now(UTC)
        ttl = min(self._ttl, max(self._renewed_until - asked_at, timedelta(seconds=1)))
        with self._closing:
            if self.outcome:
                raise Stopped
            self._asked_until = asked_at + ttl  # may be issued, whatever becomes of the answer
        self._records.requested(asked_at + ttl)
        request = replace(
            self._request(token, ttl),
            hold=_let_go,
            record=partial(self._records.issued, event=Event.REFRESHED),
            pause=pause,
        )
        credential = self._exchanger.exchange(request)
        for secret in credential.secrets:
            self._redact(secret)
        with self._closing:
            if not self.outcome:
                self._check_life(credential, asked_at, ttl)
                self._superseded += self._credential.secrets if self._credential else ()
                self._hold(credential)
                self._asked_until = credential.expires_at
                served = credential.served
                return served.expires_at if served else credential.expires_at
        credential.revoke(budget=BUDGET)
        raise Stopped

    def _on_renewal_failure(self, error: CiIdentityError, *, is_final: bool) -> None:
        if self.outcome:  # what was to be renewed has ended; there is no more to say of it
            return
        ends = f"{self.lease.expires_at:%H:%M:%S} UTC"
        again = "" if is_final else "; it is tried again"
        _log.warning("%s: not renewed, ends at %s: %s%s", self.grant.name, ends, error, again)
        with suppress(LedgerError):
            self._records.not_renewed(error.code)

    def _stop_renewing(self, timeout: float) -> None:
        if self._recorder:
            self._recorder.stop_heartbeat()
        if self._renewal:
            self._renewal.stop(timeout)


def _let_go(_: Credential) -> None:
    """Hold nothing: what is there serves until the new one is whole."""
