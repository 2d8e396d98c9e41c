"""One grant from request to revocation. This module alone knows the order; read it first.

identify -> decide -> record the intent -> exchange -> record what was issued -> arm the mask
-> record the delivery -> (the step runs) -> revoke -> record how it ended
"""

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ci_identity.delivery.environ import Environment, clean, private_files
from ci_identity.errors import (
    CiIdentityError,
    ConfigurationError,
    DeliveryError,
    DeniedError,
    IdentityError,
    InterruptedRunError,
    LedgerError,
    ShortSecretError,
    TokenLifeError,
)
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.interface import Credential, Exchanger, ExchangeRequest
from ci_identity.grants.decide import decide
from ci_identity.grants.load import GrantsFile, find, load
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.model import (
    Decision,
    Delivered,
    Grant,
    Handle,
    JobIdentity,
    Lease,
    Outcome,
    SubjectToken,
)
from ci_identity.redaction.mask import mask_in_log
from ci_identity.redaction.needles import MIN_SECRET, encode
from ci_identity.revocation import BUDGET, BUDGET_WHEN_CANCELLED, Revocation, end
from ci_identity.secret import Secret
from ci_identity.settings import Settings, private_directory
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify
from ci_identity.sources.interface import Source

if TYPE_CHECKING:
    import hvac

_log = logging.getLogger("ci_identity")


def session(
    grant: str | Grant,
    *,
    step: str | None = None,
    ttl: timedelta | None = None,
    grants_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> "Session":
    """Return a session for one grant; enter it to open it, leave it to revoke.

    Args:
        grant: the name of a grant in the grants file, or a grant of your own making.
        step: the step's id, or a label where the CI has none.
        ttl: the life of the credential, at most the grant's own.
        grants_file: the grants file, if it is not where it is looked for.
        environ: the job's variables; by default those of this process.

    Raises:
        ConfigurationError: the grants file, the name or the ttl cannot be used.
    """
    variables = os.environ if environ is None else environ
    if isinstance(grant, str):
        grant = load_grants(grants_file, variables).grant(grant)
    return Session(grant, variables, step=step, ttl=ttl)


def load_grants(grants_file: Path | None, environ: Mapping[str, str]) -> GrantsFile:
    """Load the grants file that `grants_file`, `environ` or the working folder names."""
    return load(find(grants_file, Settings.from_environ(environ).grants, Path.cwd()))


class Session:
    """One grant, opened for one step. A context manager: leaving it revokes, whatever happened.

    Args:
        grant: the grant to open.
        environ: the job's variables.
        step: the step's id; it must be the CI's own where the CI has one, else it is a label.
        ttl: the life of the credential, at most the grant's.
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
        candidates: Sequence[Source] | None = None,
        exchanger: Exchanger | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if ttl is not None and not timedelta(seconds=1) <= ttl <= grant.ttl:
            most = f"{grant.ttl.total_seconds():.0f} s"
            message = f"the grant {grant.name} allows a ttl from 1 s to {most}"
            raise ConfigurationError(message, hint="ask for less, or have the grant changed")
        settings = Settings.from_environ(environ)
        self.grant = grant
        self.identity: JobIdentity | None = None
        self.revocation: Revocation | None = None
        self._environ = environ
        self._step = step
        self._ttl = ttl or grant.ttl
        self._candidates = sources(environ) if candidates is None else candidates
        self._exchanger = exchanger or exchanger_for(grant, environ)
        self._pause = pause
        self._settings = settings
        self._ledger = Ledger(settings.ledger)
        self._state_dir = settings.state_dir
        self._lease_id = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._credential: Credential | None = None
        self._handles: list[Handle] = []
        self._closing = RLock()
        self._unrecorded: LedgerError | None = None
        self.steered_by: tuple[str, ...] = ()
        self.head = ""

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
        audience = self.grant.audience or self._exchanger.audience
        token = fetch(self._candidates, audience)
        self.identity = self._identify(token)
        decision = decide(self.grant, self.identity, step=self._step)
        if not decision.is_allowed:
            self._record(replace(self._about, event=Event.DENIED, reason=DeniedError.code))
            raise _denied(decision)
        private_directory(self._state_dir)
        asked_at = datetime.now(UTC)
        self._record(replace(self._about, expires_at=asked_at + self._ttl))
        try:
            self._pause(0.0)
            credential = self._exchanger.exchange(
                ExchangeRequest(
                    grant=self.grant,
                    subject_token=token,
                    mint=self._mint_again,
                    identity=self.identity,
                    step=self._effective_step,
                    ttl=self._ttl,
                    lease_id=self._lease_id,
                    hold=self._hold,
                    record=self._record_issued,
                    warn=_log.warning,
                    note=_log.info,
                    pause=self._pause,
                )
            )
            self._hold(credential)
            self._check_life(credential, asked_at)
            _check_values(credential.variables)
            mask_in_log([secret.reveal() for secret in self.secrets], self._environ)
            private_files(self.private_folder)
            expires_at = credential.expires_at
            self._record(replace(self._about, event=Event.DELIVERED, expires_at=expires_at))
            self._announce(self.identity)
            self._pause(0.0)
        except BaseException as error:
            self._abandon(error)
            raise

    def close(self, *, budget: float = BUDGET) -> Revocation:
        """End the lease at the provider within `budget` seconds, record how, and say it.

        May be called twice, and from another thread; what the first call found is kept.
        """
        with self._closing:  # a second end would be refused, and called a failure
            if self.revocation is None:
                self.revocation = self._end(budget, reason=None)
            return self.revocation

    def check(self) -> None:
        """Raise if the end, looked at afterwards, is not what it should be.

        Raises:
            RevocationError: the lease may still be alive.
            LedgerError: it has ended, but that is not on record.
        """
        self.close().check()
        if self._unrecorded:
            raise self._unrecorded

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
    def is_open(self) -> bool:
        """True from the first thing that was issued to the end."""
        return self._credential is not None and self.revocation is None

    @property
    def head_place(self) -> int:
        """Where in the ledger the entry is whose hash is `head`."""
        return self._ledger.place

    @property
    def variables(self) -> Mapping[str, Delivered]:
        """The variables that the grant gives, by name; empty before opening and after closing."""
        return self._credential.variables if self._credential and not self.revocation else {}

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The values that must not be seen in a log: what the grant gives, unless it is public."""
        return tuple(given.value for given in self.variables.values() if not given.is_public)

    @property
    def environ(self) -> Environment:
        """The whole environment for a child process: the job's without what could mint or hold
        another credential, and with what the grant gives.

        Give it to `subprocess` as `env`. It shows no values, and cannot be copied or pickled.
        """  # noqa: D205  # one sentence over two lines
        given = {name: delivered.value.reveal() for name, delivered in self.variables.items()}
        return Environment(clean(self._environ, private=self.private_folder) | given)

    @property
    def private_folder(self) -> Path:
        """The folder, for this user only, that the clouds' own tools are pointed to."""
        return self._state_dir.absolute() / self._lease_id

    @property
    def outcome(self) -> Outcome | None:
        """How the lease ended; `None` while it lives."""
        return self.revocation.outcome if self.revocation else None

    def hvac(self) -> "hvac.Client":
        """Return an `hvac.Client` with the step's token; closing the session ends it.

        A narrowed token cannot look itself up, so `is_authenticated()` says False of it.

        Raises:
            ConfigurationError: the grant is not for Vault or OpenBao, or the session is not open.
        """
        from ci_identity.exchangers.vault import VaultCredential  # noqa: PLC0415  # on demand

        credential = None if self.revocation else self._credential
        if not isinstance(credential, VaultCredential) or credential.step is None:
            message = f"the session for {self.grant.name} has no open Vault token"
            raise ConfigurationError(message, hint="use a vault grant, inside the with block")
        return credential.step.hvac

    # ── the parts ────────────────────────────────────────────────────────────────────────────

    @property
    def _effective_step(self) -> str | None:
        return (self.identity.step if self.identity else None) or self._step

    def _identify(self, token: SubjectToken) -> JobIdentity:
        self.identity = identify(token)
        steered_by = (*token.steered_by, *self._exchanger.steered_by, *self._settings.variables)
        self.steered_by = tuple(dict.fromkeys(steered_by))
        if self.steered_by:  # said before anything is sent there
            _log.info("%s: steered by %s", self.grant.name, ", ".join(self.steered_by))
        self._about = self._entry(self.identity)
        return self.identity

    def _mint_again(self) -> SubjectToken:
        """Return a new token of the same job, which the grant is still for."""
        token = fetch(self._candidates, self.grant.audience or self._exchanger.audience)
        identity = identify(token)
        if self.identity is None or identity.subject != self.identity.subject:
            message = f"{self.grant.name}: the new token is for another subject than the first"
            raise IdentityError(message)
        decision = decide(self.grant, identity, step=self._step)
        if not decision.is_allowed:
            raise _denied(decision)
        return token

    def _entry(self, identity: JobIdentity) -> Entry:
        """Return what every entry about this lease says; the first one records the intent."""
        said = ("issuer", "subject", "repository", "run", "job")
        return Entry(
            event=Event.REQUESTED,
            lease=self._lease_id,
            grant=self.grant.name,
            step=self._effective_step,
            target=self._exchanger.target,
            identity={name: getattr(identity, name) for name in said},
            steered_by=self.steered_by,
        )

    def _hold(self, credential: Credential) -> None:
        self._credential = credential

    def _record_issued(self, handle: Handle) -> None:
        self._handles.append(handle)
        self._record(
            replace(
                self._about,
                event=Event.ISSUED,
                expires_at=handle.expires_at,
                handle=str(handle),
                fingerprint=handle.fingerprint,
                packed_policy=handle.packed_policy,
            )
        )
        self._pause(0.0)

    def _check_life(self, credential: Credential, asked_at: datetime) -> None:
        if credential.expires_at > asked_at + self._ttl + timedelta(minutes=1):  # clocks differ
            message = f"{self.grant.name}: the credential lives longer than was asked"
            raise TokenLifeError(message)
        if credential.expires_at < asked_at + self._ttl * 0.9:
            life = (credential.expires_at - asked_at).total_seconds()
            asked, name = self._ttl.total_seconds(), self.grant.name
            _log.warning("%s: asked for %.0f s, the server gives %.0f s", name, asked, life)
        self._lease = Lease(
            id=self._lease_id,
            grant=self.grant.name,
            target=self._exchanger.target,
            expires_at=credential.expires_at,
        )

    def _announce(self, job: JobIdentity) -> None:
        name, lease = self.grant.name, self.lease
        _log.info(
            "%s: for %s, run %s, job %s", name, job.repository or job.subject, job.run, job.job
        )
        until = f"{lease.expires_at:%H:%M:%S} UTC"
        _log.info("%s: from %s, not renewed, ends by itself at %s", name, lease.target, until)
        given = [f"{key} (public)" if v.is_public else key for key, v in self.variables.items()]
        _log.info("%s: gives one process tree %s", name, ", ".join(given) or "no variables")

    def _abandon(self, error: BaseException) -> None:
        """Undo a half-made lease; the reason goes into the ledger, the error on to the caller."""
        reason = InterruptedRunError.code if isinstance(error, KeyboardInterrupt) else "internal"
        reason = error.code if isinstance(error, CiIdentityError) else reason
        is_pressing = isinstance(error, InterruptedRunError)
        budget = BUDGET_WHEN_CANCELLED if is_pressing else BUDGET
        if self._handles:
            self.revocation = self._end(budget, reason=reason)
            return
        # Held, but without a handle: the provider's answer was cut short, or was not one.
        ending = self._credential.revoke(budget=budget) if self._credential else None
        if ending and ending.outcome is Outcome.FAILED:
            _log.error("%s: NOT revoked (%s)", self.grant.name, ending.detail)
        self._credential = None
        with suppress(LedgerError):  # the error that is on its way matters more
            self._record(replace(self._about, event=Event.FAILED, reason=reason))

    def _end(self, budget: float, *, reason: str | None) -> Revocation:
        lease = self.lease
        handles = tuple(str(handle) for handle in self._handles)
        revocation = end(self._credential, lease, handles, budget=budget)
        shutil.rmtree(self.private_folder, ignore_errors=True)
        say = _log.error if revocation.outcome is Outcome.FAILED else _log.info
        say(revocation.sentence(), extra={"outcome": revocation.outcome})
        try:
            self._record(
                replace(
                    self._about,
                    event=Event(revocation.outcome),
                    expires_at=lease.expires_at,
                    outcome=revocation.outcome,
                    reason=revocation.reason or reason,
                    handle=handles[0] if handles else None,
                )
            )
        except LedgerError as error:  # it has ended all the same; what is missing is the record
            self._unrecorded = error
            _log.error("%s: its end could not be recorded: %s", self.grant.name, error)
        return revocation

    def _record(self, entry: Entry) -> None:
        self.head = self._ledger.append(replace(entry, at=datetime.now(UTC))).hash


def _check_values(variables: Mapping[str, Delivered]) -> None:
    for name, given in variables.items():
        text = given.value.reveal()
        if "\0" in text:
            message = f"{name}: the value has a NUL byte, which no environment variable can hold"
            raise DeliveryError(message, hint="store it as base64, and decode it in the step")
        if not given.is_public and len(encode(text).strip()) < MIN_SECRET:
            message = f"{name}: the value is shorter than {MIN_SECRET} bytes"
            raise ShortSecretError(message)


def _denied(decision: Decision) -> DeniedError:
    reasons = "; ".join(
        f"{mismatch.claim} is {mismatch.got or 'absent'}, wanted {mismatch.wanted}"
        + (f" ({mismatch.remark})" if mismatch.remark else "")
        for mismatch in decision.mismatches
    )
    return DeniedError(
        f"the grant {decision.grant} is not for this job: {reasons}",
        hint=f"claim by claim: ci-identity explain {decision.grant}",
    )
