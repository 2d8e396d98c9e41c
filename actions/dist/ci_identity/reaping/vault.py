"""Vault and OpenBao: what a job left is revoked by its handles, by an identity of the reaper's."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ci_identity._answer import Answer
from ci_identity.errors import CiIdentityError, ConfigurationError
from ci_identity.exchangers.vault import credential, rights
from ci_identity.exchangers.vault.client import Refused, VaultClient
from ci_identity.ledger.entry import Event
from ci_identity.model import Grant, Handle, Outcome, VaultTarget
from ci_identity.reaping.plan import End, Judgement, Left, Recording, Result, Verdict

if TYPE_CHECKING:
    from ci_identity.session import Session

TARGET = re.compile(r"https?://\S+/v1/(?:\S+/)?auth/\S+/role/[^\s/]+")
"""What the target of a lease from Vault looks like: the URL of the role that was asked for."""

LOOK_UP, REVOKE_TOKEN = "auth/token/lookup-accessor", rights.REVOKE_ACCESSOR
RIGHTS = (LOOK_UP, REVOKE_TOKEN, rights.REVOKE_LEASE)
"""The paths that the reaper's policy must let it update."""

_MOMENT = 0.3
"""Seconds."""

_ELSEWHERE = "it is from another server or namespace than the grant's"
_NO_HANDLE = (
    "its job was killed before the answer to its login was on record: if there was one, a token "
    "that nobody has lives until the role's token_ttl"
)
_BATCH = "a batch token cannot be revoked"
_FOREIGN = "a token: it is not of a login to this role"

_NO_ACCESSOR = "none"
_UNKNOWN = "invalid accessor"
"""What the server says of a token that it does not have (any more)."""

_PATIENCE, _IMPATIENCE = 20.0, 1.0
"""Seconds for one lease, retries included; and for the next where the server did not answer."""


_LASTS = "its job ended all that the server can end; what is left ends by itself"
# A serial number is no secret: whoever writes a ledger could name anybody's certificate.
_BY_HAND = "a certificate is not revoked from outside; by hand: `bao write MOUNT/revoke`"


class VaultReaper:
    """Revokes what was issued at its own server, to logins in its own namespace.

    Args:
        grant: the grant for the reaper's role.
        target: that role's URL, as its exchanger has it.

    Raises:
        ConfigurationError: the grant is not one that a reaper can use.

    Sources: https://openbao.org/api-docs/auth/token/#revoke-a-token-accessor,
    https://openbao.org/api-docs/system/leases/#revoke-lease.
    """

    done = "revoked"
    confirms = True

    def __init__(self, grant: Grant, target: str) -> None:
        vault = grant.target
        if not isinstance(vault, VaultTarget):
            message = f"the grant {grant.name} is not for Vault"
            raise ConfigurationError(message)
        if vault.auth_namespace not in (None, vault.namespace):
            message = f"the grant {grant.name} has an auth_namespace of its own"
            hint = "a reaper works where the logins are: give its grant that namespace alone"
            raise ConfigurationError(message, hint=hint)
        self.grant = grant.name
        self._place = target.removesuffix(f"auth/{vault.mount.strip('/')}/role/{vault.role}")

    def judge(self, left: Left) -> Judgement | None:
        """Only of its own server and namespace, and only by a handle; see `Reaper`."""
        if not TARGET.fullmatch(left.target):
            return None
        if not left.target.startswith(f"{self._place}auth/"):
            return Judgement(verdict=Verdict.FAIL, why=_ELSEWHERE)
        if not left.lease.handles:
            return Judgement(verdict=Verdict.LEAVE, why=_NO_HANDLE)
        if any(handle.value == _NO_ACCESSOR for handle in left.lease.handles):
            return Judgement(verdict=Verdict.LEAVE, why=_BATCH)
        if left.lease.ends == frozenset({str(Event.EXPIRES)}):
            return Judgement(verdict=Verdict.LEAVE, why=_LASTS)
        return Judgement()

    def reap(
        self, lefts: Sequence[Left], session: "Session", record: Recording
    ) -> Iterator[Result]:
        """Revoke each lease's leases, then its tokens; see `Reaper`."""
        client, patience = session.vault_client(), _PATIENCE
        for left in lefts:
            start = time.monotonic()
            client.deadline = start + patience
            result = _Ending(left, client, left.target.removeprefix(self._place)).result()
            is_down = time.monotonic() - start > patience / 2
            patience = _IMPATIENCE if is_down else _PATIENCE
            yield _recorded(left, result, record) if result.is_done else result


def _recorded(left: Left, result: Result, record: Recording) -> Result:
    handle = left.lease.handles[0]
    end = End(event=Event.REAPED, outcome=Outcome.REVOKED, until=left.until, handle=handle)
    try:
        record(left, end)
    except CiIdentityError as error:
        return Result(is_done=True, was_done=result.was_done, unrecorded=error)
    return result


class _Ending:
    """The end of one lease of ours: of every handle that is on record.

    Args:
        left: the lease.
        client: with the reaper's token, and a deadline.
        path: of the role that the lease is from: `auth/MOUNT/role/ROLE`.
    """

    def __init__(self, left: Left, client: VaultClient, path: str) -> None:
        mount, _, self._role = path.rpartition("/role/")
        self._login = f"{mount}/login"
        self._left = left
        self._client = client
        self._was_alive = False

    def result(self) -> Result:
        """End it, and return what came of that."""
        problems = dict.fromkeys(problem for problem in self._problems() if problem)
        if problems:
            return Result(reason="; ".join(problems))
        return Result(is_done=True, was_done=not self._was_alive)

    def _problems(self) -> Iterator[str | None]:
        """Yield for each handle why it could not be ended, or `None`; leases before tokens."""
        by_kind: dict[str, list[str]] = {}
        for handle in self._left.lease.handles:
            by_kind.setdefault(handle.kind, []).append(handle.value)
        for lease in by_kind.pop("lease", ()):
            revoke = partial(credential.revoke_lease, self._client, lease)
            yield self._problem("a lease", revoke, rights.REVOKE_LEASE)
        for accessor in by_kind.pop("accessor", ()):
            yield self._problem("a token", partial(self._end_token, accessor), LOOK_UP)
        by_kind.pop("expiring", None)
        yield from map(_awaited, self._left.lease.handles)
        for certificate in by_kind.pop("certificate", ()):
            yield f"{certificate}: {_BY_HAND}"
        for kind in by_kind:
            yield f"this version knows no handle of the kind {kind}"

    def _problem(self, what: str, end: Callable[[], None], path: str) -> str | None:
        right = rights.policy_text(path, "update")
        lacks = f"refused; a policy of the reaper's role must have: {right}"
        try:
            deadline = self._client.deadline or 0.0
            return credential.problem_of(what, end, deadline, refused=lacks)
        except _ForeignTokenError:
            return _FOREIGN

    def _end_token(self, accessor: str) -> None:
        """End a token, if it is this lease's; one that the server does not know has ended.

        One that is being ended, by another reaper say, is refused for a moment.
        """
        try:
            self._try_to_end(accessor)
        except Refused:
            time.sleep(_MOMENT)
            self._try_to_end(accessor)

    def _try_to_end(self, accessor: str) -> None:
        about = {"accessor": accessor}
        try:
            if not self._is_ours(self._client.post(LOOK_UP, about)):
                raise _ForeignTokenError
            self._was_alive = True
            credential.check_confirmed(self._client.post(REVOKE_TOKEN, about))
        except Refused as refused:
            if not any(_UNKNOWN in text for text in refused.errors):
                raise

    def _is_ours(self, token: Answer) -> bool:
        """Whether it is a login to the lease's role, or a child that has its id.

        A ledger could name any token, an administrator's too.
        """
        path, role = token.text("data", "path"), token.get("data", "meta", "role")
        is_login = path == self._login and role == self._role
        return is_login or token.get("data", "meta", "lease") == self._left.id


def _awaited(handle: Handle) -> str | None:
    """Return until when there is what can only be waited for, if it is that, and still there."""
    ends_at = handle.expires_at
    if handle.kind != "expiring" or (ends_at and ends_at <= datetime.now(UTC)):
        return None
    until = f"at {ends_at:%H:%M:%S} UTC" if ends_at else "at a time that is not told"
    return f"{handle.value}: nobody can end it before it ends by itself {until}"


class _ForeignTokenError(Exception):
    """The handle is of a token that no lease of ours can have."""
