"""AWS, which cannot end a session: one that a job left is denied everything, from outside."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from ci_identity._record import Record
from ci_identity.errors import ConfigurationError, MissingDependencyError
from ci_identity.ledger.entry import Event
from ci_identity.model import AwsTarget, Grant, Handle, Outcome
from ci_identity.reaping.plan import End, Judgement, Left, Recording, Result, Verdict

if TYPE_CHECKING:
    from ci_identity.session import Session

LONGEST = timedelta(hours=12)
"""The longest session that AWS gives (AWS STS, `DurationSeconds`)."""

_WORD = r"[A-Za-z0-9_+=,.@-]"
_ROLE = re.compile(
    rf"arn:aws[a-z-]*:iam::(?P<account>[0-9]{{12}}):role/(?:{_WORD}+/)*(?P<name>{_WORD}{{1,64}})"
)
_LEASE = re.compile(r"[0-9a-f]{16}")
_HANDLE = re.compile(rf"session:(?P<user>AROA[A-Z0-9]{{12,124}}:(?P<name>{_WORD}{{2,64}}))")

_ELSEWHERE = "its role is in another account than the role that cuts"
_ITS_OWN = Judgement(verdict=Verdict.LEAVE, why="it is a session of the role that cuts")
_TO_END = Judgement()


class Role(Record):
    """A role of AWS: its ARN, and the two parts of it that IAM's calls need."""

    arn: str
    account: str
    name: str

    @classmethod
    def from_arn(cls, arn: str) -> "Role | None":
        """Return the role that `arn` names; `None` if it is no role's ARN."""
        found = _ROLE.fullmatch(arn)
        return found and cls(arn=found[0], account=found["account"], name=found["name"])

    @classmethod
    def of(cls, left: Left) -> "Role | None":
        """Return the role whose session a lease is; `None` if it is none of AWS."""
        return _role(left.target) if _LEASE.fullmatch(left.id) else None


class LiveSession(Record):
    """An AWS session that may still be alive.

    Attributes:
        id: our id of it.
        role: the role whose session it is.
        user: its `aws:userid`, `AROA...:NAME`; `None` if its job was killed before AWS's answer
            was on record.
        until: when it is over by itself (UTC), as far as the ledger tells.
    """

    id: str
    role: Role
    user: str | None
    until: datetime

    @classmethod
    def of(cls, left: Left, now: datetime) -> "LiveSession | None":
        """Return what a ledger tells of a session of AWS; `None` if it is about none."""
        role = Role.of(left)
        if role is None:
            return None
        until = min(left.until, now + LONGEST)  # one line must not keep a policy for ever
        return cls(id=left.id, role=role, user=_user(left), until=until)


@cache
def _role(target: str) -> Role | None:
    """Ledgers have many leases of few roles."""
    return Role.from_arn(target)


def _user(left: Left) -> str | None:
    """Return the last `aws:userid` on record that is one, and is this lease's."""
    for handle in reversed(left.lease.handles):
        found = _HANDLE.fullmatch(str(handle))
        if found and found["name"].endswith(f"-{left.id}"):
            return found["user"]
    return None


class AwsReaper:
    """Cuts sessions of its own account, by a role that may write the policies of others.

    Args:
        grant: the grant for the role that cuts.
        cut_targets: the targets that the ledgers tell a cut of; old cuts are removed from there.

    Raises:
        ConfigurationError: the grant is not for a role of AWS.
    """

    done = "cut"
    confirms = False

    def __init__(self, grant: Grant, cut_targets: Iterable[str] = ()) -> None:
        role = Role.from_arn(grant.target.role) if isinstance(grant.target, AwsTarget) else None
        if role is None:
            message = f"the grant {grant.name} is not for a role of AWS, so it cannot cut sessions"
            raise ConfigurationError(message, hint="name the grant of the role that cuts")
        self.grant = grant.name
        self._role = role
        roles = (Role.from_arn(target) for target in cut_targets)
        self.to_prune = [one for one in roles if one and one.account == role.account]

    def judge(self, left: Left) -> Judgement | None:
        """Only sessions of its own account, and never its own; see `Reaper`."""
        role = Role.of(left)
        if role is None:
            return None
        if role.account != self._role.account:
            return Judgement(verdict=Verdict.FAIL, why=_ELSEWHERE)
        return _ITS_OWN if role.name == self._role.name else _TO_END

    def reap(
        self, lefts: Sequence[Left], session: "Session", record: Recording
    ) -> Iterator[Result]:
        """Put a denial of each session on its role, and remove old ones; see `Reaper`."""
        try:
            from ci_identity.reaping import iam  # noqa: PLC0415  # botocore is an extra
        except ImportError:
            message = "ci-identity reap needs boto3, which is not installed"
            raise MissingDependencyError(message, hint="pip install 'ci-identity[aws]'") from None
        now = datetime.now(UTC)
        cutter = iam.Cutter.from_session(session.boto3())
        sessions = [found for left in lefts if (found := LiveSession.of(left, now))]
        whose = {id(one): left for one, left in zip(sessions, lefts, strict=True)}
        iam.prune(dict.fromkeys([*(one.role for one in sessions), *self.to_prune]), cutter)
        return iam.cut(sessions, cutter, lambda one: record(whose[id(one)], _end(one)))


def _end(session: LiveSession) -> End:
    kind, _, value = f"session:{session.user}".partition(":")
    handle = Handle(kind=kind, value=value) if session.user else None
    return End(event=Event.CUT, outcome=Outcome.CUT, until=session.until, handle=handle)
