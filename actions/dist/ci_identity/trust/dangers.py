"""Whom a statement lets in beside this job: what is wrong with a trust policy that works."""

import re
from collections.abc import Iterator

from ci_identity.trust.conditions import Operator
from ci_identity.trust.document import Condition, Statement
from ci_identity.trust.keys import Provider

_NAMING = {
    "sub",
    "repository",
    "repository_id",
    "repository_owner_id",
    "enterprise_id",
    "project_id",
    "namespace_id",
    "pipeline_id",
    "organization_id",
    "organization_slug",
    "oidc.circleci.com/project-id",
}
"""Claims that say whose job it is. `job_workflow_ref` does not: a reusable workflow of a public
repository can be called by any other."""

_PATHS = {"sub": ("repo:", "project_path:", "organization:"), "repository": ("",)}
"""Claims with names in them, by what comes before the owner's."""


def dangers(statement: Statement, provider: Provider) -> Iterator[str]:
    """Yield what an Allow lets in that nobody may have meant, in a sentence each."""
    if statement.effect != "Allow":
        return
    conditions = [one for one in statement.conditions if _claim(one, provider) is not None]
    for condition in conditions:
        yield from _loose(condition)
    named = [one for one in conditions if _names(one, _claim(one, provider) or "")]
    wide = [value for one in named if (value := _wide_owner(one, _claim(one, provider) or ""))]
    for value in wide:
        yield f"{value}: `*` in the owner's part is also for owners whom anybody can make"
    for condition in named:
        yield from _wide_subject(condition, _claim(condition, provider) or "")
    if not named:
        yield (
            "no condition says whose jobs these are, by sub or repository_id: "
            f"every job of {provider.name} is let in"
        )


def _claim(condition: Condition, provider: Provider) -> str | None:
    """Return the claim that a condition is about, if it is about one that AWS has a key for."""
    owner, _, name = condition.key.casefold().rpartition(":")
    is_ours = owner == provider.name.casefold()
    return name if is_ours and name in map(str.casefold, provider.visible()) else None


def _loose(condition: Condition) -> Iterator[str]:
    how = Operator.of(condition.operator)
    if how.passes_when_absent and not how.is_negated:
        yield f"{condition.operator} also holds for a token without this claim: {condition.key}"


def _names(condition: Condition, claim: str) -> bool:
    """Return whether a condition says whose job it is. A token without `sub` there is none."""
    how = Operator.of(condition.operator)
    is_held = how.binds or (claim == "sub" and how.is_known and not how.is_negated)
    return claim in _NAMING and is_held and all(one.strip("*?") for one in condition.values)


def _wide_owner(condition: Condition, claim: str) -> str:
    """Return a value that has a wildcard where the owner's name should be; else nothing."""
    if Operator.of(condition.operator).name != "stringlike":
        return ""
    for value in condition.values if claim in _PATHS else ():
        start = next((one for one in _PATHS[claim] if value.startswith(one)), "")
        if re.search(r"[*?]", re.split("[/:]", value[len(start) :], maxsplit=1)[0]):
            return value
    return ""


def _wide_subject(condition: Condition, claim: str) -> Iterator[str]:
    """Yield what a wildcard in GitHub's `sub` lets in beside its owner's part."""
    if claim != "sub" or Operator.of(condition.operator).name != "stringlike":
        return
    for value in condition.values:
        found = re.fullmatch(r"repo:[^/*?]+/(?P<name>[^:]*)(?P<rest>:.*)?", value)
        if found and re.search(r"[*?]", found["name"]):
            yield f"{value}: every repository of the owner that fits, also one made tomorrow"
        elif found and (found["rest"] or "").strip(":*") == "":
            yield f"{value}: every branch, tag, environment and pull request of the repository"
