"""Ends what an earlier process of this job was given, and was killed before it could end.

read the ledger -> identify -> decide -> record the intent -> log in once more -> record the login
-> end what the handles name -> record how it ended -> end that login -> record how it ended
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci_identity import _log
from ci_identity._record import replace
from ci_identity.errors import (
    CiIdentityError,
    ConfigurationError,
    DeniedError,
    InterruptedRunError,
    LedgerError,
    RevocationError,
)
from ci_identity.exchangers import exchanger_for, reclaimer_for
from ci_identity.exchangers.interface import Credential, Ending, ExchangeRequest, Reclaimer
from ci_identity.grants.decide import decide
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.live import LiveLease
from ci_identity.ledger.writer import Ledger
from ci_identity.model import (
    AwsTarget,
    Grant,
    Handle,
    JobIdentity,
    Lease,
    Outcome,
    SubjectToken,
    TokenExchangeTarget,
)
from ci_identity.recording import Recorder
from ci_identity.revocation import BUDGET, Revocation, end
from ci_identity.session import load_grants
from ci_identity.settings import Settings
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify

IDENTITY = ("issuer", "subject", "repository", "run", "job")
"""The fields of a job's identity that a ledger entry has: they tell one job from another."""


def is_of(job: JobIdentity, left: LiveLease) -> bool:
    """True if the lease was issued to this very job."""
    return all(getattr(job, name) == left.identity.get(name) for name in IDENTITY)


def reclaim(
    left: LiveLease, environ: Mapping[str, str], *, grants_file: Path | None = None
) -> list[Revocation]:
    """End one lease that the ledger shows as live, and record, say and return how it ended.

    A login that is made for it is ended too; where that fails, it is the second one returned.

    Args:
        left: the lease.
        environ: the job's variables, with its id token and the place of the ledger.
        grants_file: the grants file, if it is not where it is looked for.

    Raises:
        LedgerError: something could not be recorded.
    """
    recorder = Recorder(Ledger(Settings.from_environ(environ).ledger), _about(left))
    recorder.handles.extend(left.handles)
    closed = None
    try:
        ending = _without_asking(left)
        if ending is None:
            ending, closed = _ask(left, environ, grants_file)
    except LedgerError:
        raise
    except CiIdentityError as error:
        ending = Ending(outcome=Outcome.FAILED, reason=error.code, detail=str(error))
    revocation = Revocation(
        lease=left.lease,
        outcome=ending.outcome,
        reason=ending.reason,
        detail=ending.detail,
        handles=tuple(map(str, left.handles)),
        is_over=_is_over(left),
    )
    recorder.ended(ending.outcome, left.lease.expires_at, ending.reason)
    ends = [revocation, *([closed] if closed and closed.outcome is Outcome.FAILED else [])]
    for one in ends:
        say = _log.error if one.outcome is Outcome.FAILED else _log.info
        say(one.sentence(), outcome=one.outcome)
    return ends


def _is_over(left: LiveLease) -> bool:
    return datetime.now(UTC) >= left.lease.expires_at


def _without_asking(left: LiveLease) -> Ending | None:
    """Return how a lease ended, or why it cannot be ended, where no provider need be asked."""
    if _is_over(left):
        return Ending(outcome=Outcome.EXPIRES, reason="expired", detail="nobody revoked it before")
    if not left.handles:
        detail = "whoever asked for it was killed; whether it was given is not on record"
        return Ending(outcome=Outcome.FAILED, reason=RevocationError.code, detail=detail)
    return None


def _ask(
    left: LiveLease, environ: Mapping[str, str], grants_file: Path | None
) -> tuple[Ending, Revocation | None]:
    """Have the provider end it, by a login of our own; return how that login ended, too."""
    grant = load_grants(grants_file, environ).grant(left.lease.grant)
    reclaimer = reclaimer_for(grant, environ)
    if reclaimer is None:
        detail = "its provider cannot end it before"
        if isinstance(grant.target, AwsTarget):
            detail += "; from outside: ci-identity reap"
        if isinstance(grant.target, TokenExchangeTarget):
            detail = "only the token itself would end it, and nobody keeps that"
        return Ending(outcome=Outcome.EXPIRES, reason="not-revocable", detail=detail), None
    return _login(left, grant, environ).use(reclaimer, left.handles)


def _login(left: LiveLease, grant: Grant, environ: Mapping[str, str]) -> "_Login":
    """Return the login to make, if the grant is for this job; nothing has been sent yet."""
    exchanger = exchanger_for(grant, environ)
    if exchanger.target != left.lease.target:
        message = f"it is from {left.lease.target}, but the grant now leads to {exchanger.target}"
        raise ConfigurationError(message)
    token = fetch(sources(environ, grant.source), grant.audience or exchanger.audience)
    identity = identify(token)
    if not decide(grant, replace(identity, step=left.step), step=left.step).is_allowed:
        message = f"the grant {grant.name} is not for this job"
        raise DeniedError(message)
    settings = Settings.from_environ(environ)
    steered_by = tuple(dict.fromkeys((*token.steered_by, *exchanger.steered_by)))
    if steered_by:  # said before anything is sent there
        _log.info("%s: steered by %s", grant.name, ", ".join(steered_by))
    about = replace(
        _about(left),
        lease=os.urandom(8).hex(),
        identity={name: getattr(identity, name) for name in IDENTITY},
        steered_by=steered_by,
    )
    return _Login(
        grant=grant,
        token=token,
        identity=identity,
        step=left.step,
        left=left.lease.id,
        lease=Lease(
            id=about.lease,
            grant=f"{grant.name}, the login to revoke it",
            target=about.target,
            expires_at=datetime.now(UTC) + grant.ttl,
        ),
        recorder=Recorder(Ledger(settings.ledger), about),
    )


def _about(left: LiveLease) -> Entry:
    """Return what every entry about the lease says."""
    return Entry(
        event=Event.REQUESTED,
        lease=left.lease.id,
        grant=left.lease.grant,
        step=left.step,
        target=left.lease.target,
        identity=left.identity,
    )


@dataclass(slots=True, kw_only=True)
class _Login:
    """A login that is made for nothing but ending a lease, from the intent to its own end.

    Attributes:
        left: the id of the lease that it is to end; `lease` is the login's own.
    """

    grant: Grant
    token: SubjectToken
    identity: JobIdentity
    step: str | None
    left: str
    lease: Lease
    recorder: Recorder
    credential: Credential | None = None

    def use(self, reclaimer: Reclaimer, handles: Sequence[Handle]) -> tuple[Ending, Revocation]:
        """Have what the handles name ended; return how that went, and how the login ended."""
        self.recorder.requested(self.lease.expires_at)
        try:
            ending = reclaimer.reclaim(self._request(), handles)
        except CiIdentityError as error:
            ending = Ending(outcome=Outcome.FAILED, reason=error.code, detail=str(error))
        except BaseException:  # Ctrl-C too leaves no login of ours behind
            self._close(InterruptedRunError.code)
            raise
        return ending, self._close(ending.reason)

    def _request(self) -> ExchangeRequest:
        return ExchangeRequest(
            grant=self.grant,
            subject_token=self.token,
            mint=lambda: self.token,
            identity=self.identity,
            step=self.step,
            ttl=self.grant.ttl,
            lease_id=self.left,
            hold=self._hold,
            record=self.recorder.issued,
            warn=_log.warning,
            note=_log.info,
            pause=time.sleep,
        )

    def _hold(self, credential: Credential) -> None:
        self.credential = credential

    def _close(self, reason: str | None) -> Revocation:
        handles = tuple(map(str, self.recorder.handles))
        revocation = end(self.credential, self.lease, handles, budget=BUDGET)
        if handles or reason is None:  # without a handle: it took the job's own token, no login
            reason = revocation.reason or reason
            self.recorder.ended(revocation.outcome, self.lease.expires_at, reason)
        else:  # as an exchange that was refused
            self.recorder.failed(reason)
        return revocation
