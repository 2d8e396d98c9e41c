"""Cuts sessions by IAM: one inline policy on the role for each, and none for longer than needed."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ci_identity import _log
from ci_identity.errors import CiIdentityError
from ci_identity.reaping import denial
from ci_identity.reaping.aws import LiveSession, Role
from ci_identity.reaping.plan import CLOCKS, Result

if TYPE_CHECKING:
    import boto3
    from types_boto3_iam import IAMClient

_Answer = TypeVar("_Answer")

MAX_CHARACTERS = 10_240
"""Of all inline policies of a role together, white space not counted (IAM, quotas)."""

_ROUNDS = 5
"""Tries while somebody else changes the same role: IAM then refuses one of the two."""

_BUSY = frozenset({"ConcurrentModification", "EntityTemporarilyUnmodifiable"})
_REASONS = {
    "AccessDenied": "the role that cuts may not do this there",
    "NoSuchEntity": "there is no such role",
    "UnmodifiableEntity": "it is a role of AWS itself, which nobody can change",
}


class Cutter:
    """IAM, as far as cutting needs it: list, put and delete inline policies of roles.

    Args:
        iam: a client with the credential of the role that cuts.
        pause: sleeps that many seconds.
    """

    def __init__(self, iam: "IAMClient", *, pause: Callable[[float], None] = time.sleep) -> None:
        self._iam = iam
        self._pause = pause

    @classmethod
    def from_session(cls, session: "boto3.Session") -> "Cutter":
        """Return one that uses the credential of `session`."""
        config = Config(
            connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 4}
        )
        return cls(session.client("iam", config=config))  # pyright: ignore[reportUnknownMemberType]  # overloaded for services whose stubs are not installed

    def deny(self, lease: LiveSession) -> None:
        """Put the denial of the lease's session on its role. Doing it again changes nothing.

        Raises:
            ClientError, BotoCoreError: IAM refused, or did not answer.
        """
        self._patiently(
            lambda: self._iam.put_role_policy(
                RoleName=lease.role.name,
                PolicyName=denial.name(lease),
                PolicyDocument=denial.document(lease),
            )
        )

    def prune(self, role: Role, now: datetime) -> tuple[str, ...]:
        """Delete the denials on `role` that are needed no longer, and return their names.

        Raises:
            ClientError, BotoCoreError: IAM refused, or did not answer.
        """
        pruned = [
            name
            for name in self.denials(role)
            if (until := denial.until(name)) and until + CLOCKS < now
        ]
        for name in pruned:
            self._patiently(partial(self._delete, role, name))
        return tuple(pruned)

    def denials(self, role: Role) -> tuple[str, ...]:
        """Return the names of the denials on `role`."""
        pages = self._iam.get_paginator("list_role_policies").paginate(RoleName=role.name)
        names = (name for page in pages for name in page["PolicyNames"])
        return tuple(name for name in names if denial.until(name))

    def _delete(self, role: Role, name: str) -> None:
        try:
            self._iam.delete_role_policy(RoleName=role.name, PolicyName=name)
        except self._iam.exceptions.NoSuchEntityException:
            return  # another reaper was quicker

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        for number in range(1, _ROUNDS):
            try:
                return call()
            except ClientError as error:
                if code_of(error) not in _BUSY:
                    raise
                self._pause(0.5 * number)
        return call()


def cut(
    sessions: Iterable[LiveSession], cutter: Cutter, record: Callable[[LiveSession], None]
) -> Iterator[Result]:
    """Cut `sessions`, and yield what came of each.

    What IAM lists as in place is neither put nor recorded again. What fails for one session keeps
    no other from being cut.

    Args:
        sessions: what is to be cut.
        cutter: who may write the roles' policies.
        record: puts a cut that is in place on record.
    """
    in_place: dict[Role, list[str]] = {}
    for one in sessions:
        if one.role not in in_place:
            in_place[one.role] = _in_place(one.role, cutter)
        if any(denial.covers(name, one) for name in in_place[one.role]):
            yield Result(is_done=True, was_done=True)
            continue
        result = _cut(one, cutter, record)
        if result.is_done:
            in_place[one.role].append(denial.name(one))
        yield result


def prune(roles: Iterable[Role], cutter: Cutter) -> None:
    """Remove from `roles` the denials that are needed no longer; a failure is only said."""
    for role in roles:
        try:
            pruned = cutter.prune(role, datetime.now(UTC))
        except (ClientError, BotoCoreError) as error:
            _log.warning("%s: old cuts are not removed: %s", role.name, _reason(error))
        else:
            if pruned:
                _log.info("%s: needed no longer, removed: %s", role.name, ", ".join(pruned))


def _in_place(role: Role, cutter: Cutter) -> list[str]:
    try:
        return list(cutter.denials(role))
    except (ClientError, BotoCoreError, CiIdentityError):
        return []  # not known, so all is put; if that fails too, it says why


def _cut(one: LiveSession, cutter: Cutter, record: Callable[[LiveSession], None]) -> Result:
    try:
        cutter.deny(one)
    except (ClientError, BotoCoreError) as error:
        return Result(reason=_reason(error) or _full(one.role, cutter))
    except CiIdentityError as error:  # our own session has ended
        return Result(reason=str(error))
    try:
        record(one)
    except CiIdentityError as error:
        return Result(is_done=True, unrecorded=error)
    return Result(is_done=True)


def _full(role: Role, cutter: Cutter) -> str:
    try:
        count = str(len(cutter.denials(role)))
    except (ClientError, BotoCoreError):
        count = "unknown"
    return (
        f"{role.name} is full: cuts in place: {count}, "
        f"and IAM takes {MAX_CHARACTERS:,} characters of inline policies"
    )


def _reason(error: ClientError | BotoCoreError) -> str:
    """Return why IAM did not do it, in our words; empty if the role is full."""
    if isinstance(error, BotoCoreError):
        return "IAM did not answer"
    code = code_of(error)
    return "" if code == "LimitExceeded" else _REASONS.get(code, f"IAM says {code}")


def code_of(error: ClientError) -> str:
    """Return the code of IAM's answer, if it is one that can be shown."""
    code = error.response.get("Error", {}).get("Code", "")
    return code if re.fullmatch(r"[A-Za-z.]{1,64}", code) else "an error without a code"
