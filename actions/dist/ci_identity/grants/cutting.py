"""Rules about roles that may write other roles' policies: by that they cut sessions, or escalate.

What counts is the grant's session policy. A role's own policies are AWS's to know; without a
session policy nothing is found.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import cast

from ci_identity.model import AwsTarget, Grant

WRITES = "iam:PutRolePolicy"
ASSUMES = "sts:AssumeRole"
PINS = ("job_workflow_ref", "ci_config_ref_uri")
"""Claims that say which workflow it is, at which ref: GitHub's and GitLab's."""

_ADMINISTRATORS = re.compile(r"arn:aws[a-z-]*:iam::aws:policy/(AdministratorAccess|IAMFullAccess)")
"""AWS's own managed policies that allow all of IAM."""

_ANY_ROLE = re.compile(r"\*+|arn:[^:]+:iam::[^:]*:(?:\*+|role/\*+)")


def cut_unpinned(grant: Grant) -> Iterator[str]:
    """Whoever can have this grant may write policies of roles, and no workflow is asked for."""
    if _is_cutter(grant) and not _is_pinned(grant):
        yield f"it allows {WRITES}, by which a job can give itself any right, to every workflow"


def cut_shared(grant: Grant, every: Iterable[Grant]) -> Iterator[str]:
    """A grant names the role of another that may write policies of roles, and is asked for less."""
    if _is_cutter(grant) or _is_pinned(grant):
        return
    for other in every:
        if _is_cutter(other) and _role(other) == _role(grant):
            yield (
                f"its role is that of `{other.name}`, which allows {WRITES}, and no workflow is "
                "asked for: a job that asks AWS itself gets all that the role may do"
            )


def cut_reachable(grant: Grant, every: Iterable[Grant]) -> Iterator[str]:
    """A session of this grant may assume a role that may write policies of roles."""
    for other in every:
        is_role = partial(_fits, name="Resource", text=_role(other).lower())
        if other is not grant and _is_cutter(other) and _allows(grant, ASSUMES, is_role):
            yield f"it allows {ASSUMES} on the role of `{other.name}`, which allows {WRITES}"


def assume_any(grant: Grant) -> Iterator[str]:
    """A session of this grant may assume any role that lets its own role in."""
    if _allows(grant, ASSUMES, _is_any_role):
        yield f"it allows {ASSUMES} on any role, also one that it should never reach"


def _is_cutter(grant: Grant) -> bool:
    return _allows(grant, WRITES)


def _is_pinned(grant: Grant) -> bool:
    pins = [one for name in PINS for one in grant.conditions.get(name, ())]
    return bool(pins) and not any(one.is_glob for one in pins)


def _role(grant: Grant) -> str:
    return grant.target.role if isinstance(grant.target, AwsTarget) else ""


# ── what a session policy allows ─────────────────────────────────────────────────────────────

_Statement = Mapping[str, object]


def _allows(grant: Grant, action: str, on: Callable[[_Statement], bool] | None = None) -> bool:
    """Whether the session policy allows `action`, `on` the resources looked for or on any at all.

    Conditions on what is allowed are taken to be met; a Deny counts if it has none.
    """
    said = [one for one in _statements(grant) if _fits(one, "Action", action.lower())]
    denied = any(
        one.get("Effect") == "Deny" and "Condition" not in one and (on or _is_everything)(one)
        for one in said
    )
    allowed = any(one.get("Effect") == "Allow" and (on is None or on(one)) for one in said)
    return allowed and not denied


def _is_everything(statement: _Statement) -> bool:
    return "*" in _texts(statement.get("Resource"))


def _is_any_role(statement: _Statement) -> bool:
    return any(_ANY_ROLE.fullmatch(text) for text in _texts(statement.get("Resource")))


def _statements(grant: Grant) -> Iterator[_Statement]:
    if not isinstance(grant.target, AwsTarget):
        return
    policy = grant.target.policy
    if isinstance(policy, str):
        for one in _listed(json.loads(policy)["Statement"]):  # the loader has looked
            if isinstance(one, dict):
                yield cast("_Statement", one)
    else:
        for line in policy:
            yield {"Effect": "Allow", "Action": [*line.allow], "Resource": [*line.on]}
    if any(map(_ADMINISTRATORS.fullmatch, grant.target.policy_arns)):
        yield {"Effect": "Allow", "Action": "iam:*", "Resource": "*"}


def _fits(statement: _Statement, name: str, text: str) -> bool:
    """Whether the statement is about `text`, in lower case, by its `name` or `NotName`."""
    if name in statement:
        return _is_one(text, statement[name])
    return f"Not{name}" in statement and not _is_one(text, statement[f"Not{name}"])


def _is_one(text: str, patterns: object) -> bool:
    """Whether one of a policy's patterns, in which `*` and `?` are special, is for `text`."""
    return any(fnmatchcase(text, one.lower().replace("[", "[[]")) for one in _texts(patterns))


def _texts(value: object) -> list[str]:
    return [one for one in _listed(value) if isinstance(one, str)]


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]
