"""The session policy: the most that a step may do, and the time at which it may do nothing. Pure.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn, cast

from ci_identity._record import Record
from ci_identity._text import shortened
from ci_identity.errors import AwsPolicyError
from ci_identity.model import AwsTarget, PolicyStatement

MAX_POLICY = 2048
"""Characters of the inline policy and the managed policies' ARNs together."""

MIN_DURATION, MAX_DURATION = 900, 43_200
"""Seconds that AWS takes for `DurationSeconds`."""

_VERSION = "2012-10-17"
_ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}

_Statement = Mapping[str, object]


class SessionPolicy(Record):
    """What narrows one session.

    Attributes:
        text: the inline policy, minified JSON, or `None` if the session may do all that the role
            may.
        arns: managed policies that narrow it as well.
        duration: `DurationSeconds`.
        deadline: when it may do nothing any more (UTC, by AWS's clock), where that is before AWS
            ends it.
    """

    text: str | None
    arns: tuple[str, ...]
    duration: int
    deadline: datetime | None

    @property
    def life(self) -> timedelta:
        """What `duration` says: how long AWS itself lets it live."""
        return timedelta(seconds=self.duration)

    @property
    def size(self) -> int:
        """Characters that count against AWS's limit."""
        return len(self.text or "") + sum(map(len, self.arns))


def session_policy(target: AwsTarget, *, ttl: timedelta, asked_at: datetime) -> SessionPolicy:
    """Return what narrows a session of `target` that begins at `asked_at` and lives for `ttl`.

    AWS gives no session of under 900 s. A shorter one gets a deadline in its own policy: a Deny,
    since a condition on an Allow does not stop what another policy allows.

    Args:
        target: the grant's `aws:`.
        ttl: how long it may live at most.
        asked_at: what AWS's clock shows now: it is the one that judges the deadline.

    Raises:
        AwsPolicyError: the policy is not one, or longer than AWS takes.
    """
    seconds = int(ttl.total_seconds())
    deadline = (asked_at + ttl).astimezone(UTC) if seconds < MIN_DURATION else None
    document = _document(target)
    if deadline:
        document = _ended(document, deadline, has_arns=bool(target.policy_arns))
    policy = SessionPolicy(
        text=_minified(document) if document else None,
        arns=target.policy_arns,
        duration=min(max(seconds, MIN_DURATION), MAX_DURATION),
        deadline=deadline.replace(microsecond=0) if deadline else None,
    )
    if policy.size > MAX_POLICY:
        raise _too_long(policy, document)
    return policy


def _document(target: AwsTarget) -> dict[str, object]:
    """Return the grant's own policy, as JSON's types; empty if it has none."""
    if isinstance(target.policy, str):
        return _parsed(target.policy)
    statements = [_statement(line) for line in target.policy]
    return {"Version": _VERSION, "Statement": statements} if statements else {}


def _statement(line: PolicyStatement) -> _Statement:
    return {"Effect": "Allow", "Action": _short(line.allow), "Resource": _short(line.on)}


def _short(texts: Sequence[str]) -> object:
    return texts[0] if len(texts) == 1 else list(texts)


def _parsed(text: str) -> dict[str, object]:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_json)
    except (ValueError, RecursionError):
        message = "the grant's aws.policy is not a JSON object in which each key stands once"
        raise _not_a_policy(message) from None
    if not isinstance(document, dict) or "Statement" not in document:
        message = "the grant's aws.policy has no Statement"
        raise _not_a_policy(message)
    return cast("dict[str, object]", document)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Python would keep the last one: of two Conditions the first would be gone, in silence.
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def _not_json(_: str) -> NoReturn:
    raise ValueError


def _ended(document: dict[str, object], deadline: datetime, *, has_arns: bool) -> dict[str, object]:
    """Return `document` with an end to everything at `deadline`.

    A session that is given any policy may do only what one of them allows: with none of the
    grant's own, what the role may is allowed here. Managed ones say that themselves.
    """
    statements = _statements(document)
    if not statements and not has_arns:
        statements = [_ALLOW_ALL]
    # All calls have aws:CurrentTime. To the second, the fraction cut off: never after what was
    # asked. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    end = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateGreaterThan": {"aws:CurrentTime": f"{deadline:%Y-%m-%dT%H:%M:%SZ}"}},
    }
    # A document without Version is of the first one, to which our part means the same.
    return {**(document or {"Version": _VERSION}), "Statement": [*statements, end]}


def _statements(document: Mapping[str, object]) -> list[object]:
    found = document.get("Statement", [])
    return cast("list[object]", found) if isinstance(found, list) else [found]


def _minified(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))  # escapes what AWS's charset has not


def _not_a_policy(message: str) -> AwsPolicyError:
    hint = "write it as a list of {allow, on}, or correct the JSON"
    return AwsPolicyError(message, cause="an IAM policy document is wanted", hint=hint)


def _too_long(policy: SessionPolicy, document: Mapping[str, object]) -> AwsPolicyError:
    sizes = [len(_minified(statement)) for statement in _statements(document)]
    message = (
        f"the session policy has {policy.size} characters, {policy.size - MAX_POLICY} more than the"
        f" {MAX_POLICY} that AWS takes"
    )
    if sizes:
        largest = sizes.index(max(sizes))
        name = _name(_statements(document)[largest])
        message += f"; its largest statement is number {largest + 1}{name}, with {max(sizes)}"
    if policy.arns:
        message += f"; the ARNs of policy_arns have {sum(map(len, policy.arns))}"
    if policy.deadline:
        message += f"; that it ends before {MIN_DURATION} s takes {sizes[-1]}"
    return AwsPolicyError(message)


def _name(statement: object) -> str:
    if not isinstance(statement, dict):
        return ""
    found = cast("dict[str, object]", statement)
    name = found.get("Sid") or found.get("Action")
    if isinstance(name, list):
        name = next(iter(cast("list[object]", name)), None)
    return f" ({shortened(name)})" if isinstance(name, str) else ""
