"""What is likely behind a condition that does not hold, and the line to write instead.

A line is given only where policy and token name the same repository: what keeps a stranger out is
no mistake to correct.
"""

import json
import re
from typing import NamedTuple

from ci_identity.grants.remarks import CHANGE, CONTEXTS
from ci_identity.model import UnverifiedClaims
from ci_identity.trust.conditions import Operator, apply
from ci_identity.trust.document import Condition
from ci_identity.trust.finding import Result
from ci_identity.trust.keys import Provider

_WILD = re.compile(r"[*?]")


class Cause(NamedTuple):
    """A sentence, and the value that would do instead of the one in the policy; `None` if none."""

    sentence: str
    value: str | None = None


# ── the key ──────────────────────────────────────────────────────────────────────────────────


def missing_key(condition: Condition, provider: Provider, claims: UnverifiedClaims) -> Cause:
    """Return why AWS has no such key for the token; the value is another *key*."""
    key = condition.key
    owner, _, name = key.rpartition(":")
    visible = provider.visible()
    if key.casefold() == "sts:externalid":
        return Cause("AssumeRoleWithWebIdentity has no ExternalId, so this never holds")
    bare = owner.partition("://")[2] or owner
    if owner != provider.name and bare.rstrip("/") == provider.name.rstrip("/"):
        what = "without https://" if "://" in owner else "as the provider is, letter for letter"
        return Cause(f"condition keys are written {what}", f"{provider.name}:{name}")
    if owner.casefold() != provider.name.casefold():
        return Cause(f"the key is not of this token's issuer, {provider.name}")
    if name not in visible:
        words = ", ".join(visible[:-2])
        told = "the token has it, but " if name in claims else ""
        return Cause(f"{told}AWS has no such key for this issuer; it has {words}")
    if name == "environment":
        return Cause("the job has no `environment:`")
    return Cause(f"the token has no claim {name}")


# ── the value ────────────────────────────────────────────────────────────────────────────────


def wrong_value(condition: Condition, got: str) -> tuple[str, str]:
    """Return why the token's value `got` is none of the condition's, and what to write instead."""
    found = [
        (wanted, cause) for wanted in condition.values if (cause := _cause(condition, wanted, got))
    ]
    for wrong, (sentence, value) in found:
        if value is not None:
            values = [value if one == wrong else one for one in condition.values]
            return sentence, line(_operator(condition, values), condition.key, values)
    return (found[0][1].sentence, "") if found else ("", "")


def _cause(condition: Condition, wanted: str, got: str) -> Cause | None:
    claim = condition.key.rpartition(":")[2].casefold()
    slips = (_space, _case, _glob_as_text, _SLIPS.get(claim, _other))
    return next(filter(None, (recognise(wanted, got) for recognise in slips)), None)


def _operator(condition: Condition, values: list[str]) -> str:
    """Return the condition's operator, or the one that reads patterns if there are any now."""
    is_plain = Operator.of(condition.operator).name == "stringequals"
    if is_plain and any(map(_WILD.search, values)):
        return re.sub("(?i)equals", "Like", condition.operator)
    return condition.operator


def line(operator: str, key: str, values: list[str]) -> str:
    """Return a condition as it stands in a policy: `"OPERATOR": {"KEY": ...}`."""
    value = values[0] if len(values) == 1 else values
    return f"{json.dumps(operator)}: {json.dumps({key: value})}"


def is_like(wanted: str, got: str) -> bool:
    """Return whether `got` is `wanted` as StringLike reads it."""
    return apply("StringLike", [wanted], (got,), lambda _: None) is Result.PASS


def _space(wanted: str, got: str) -> Cause | None:
    is_so = wanted != wanted.strip() and is_like(wanted.strip(), got)
    return Cause("there is a space at an end of the value", wanted.strip()) if is_so else None


def _case(wanted: str, got: str) -> Cause | None:
    if is_like(wanted, got) or not is_like(wanted.casefold(), got.casefold()):
        return None
    return Cause("only upper and lower case differ; AWS compares exactly", _cased(wanted, got))


def _cased(wanted: str, got: str) -> str | None:
    """Return the value as the token has it; `None` where another case is another thing: in refs."""
    ours, theirs = _SUBJECT.fullmatch(wanted), _SUBJECT.fullmatch(got)
    if ours and theirs:
        value = _for_repository(ours, theirs)
        return value if is_like(value, got) else None
    return None if re.search("refs?[/:]", got) or _WILD.search(wanted) else got


def _glob_as_text(wanted: str, got: str) -> Cause | None:
    is_so = _WILD.search(wanted) and is_like(wanted, got)
    return Cause("`*` and `?` mean something in StringLike only", wanted) if is_so else None


def _other(wanted: str, got: str) -> Cause | None:
    del wanted
    return Cause(CHANGE) if re.fullmatch(r"refs/pull/\d+/\w+", got) else None


def _audience(wanted: str, got: str) -> Cause:
    return Cause(
        f"the token is for the audience {got}: write that here, "
        f"or `audience: {wanted}` in the grant",
        got,
    )


# ── GitHub's sub ─────────────────────────────────────────────────────────────────────────────

_SUBJECT = re.compile(
    r"repo:(?P<owner>[^/:@]+)(?:@(?P<owner_id>[^/:@]+))?"
    r"/(?P<name>[^:@]+)(?:@(?P<id>[^:@]+))?(?::(?P<context>.*))?",
    re.DOTALL,
)
"""Legacy, or with the ids that new, renamed and moved repositories have; also as a pattern."""


def _subject(wanted: str, got: str) -> Cause | None:
    if got.startswith(f"{wanted}:"):
        return Cause("the subject goes on after that", f"{wanted}:*")
    ours, theirs = _SUBJECT.fullmatch(wanted), _SUBJECT.fullmatch(got)
    if ours and not theirs:
        return Cause("the subject has another form: the organisation customised it, most likely")
    if not ours or not theirs:
        return None
    if not all(is_like(ours[part].casefold(), theirs[part].casefold()) for part in _NAMES):
        return Cause("the token is of another repository")
    if ours["id"] and theirs["id"] and not all(is_like(ours[x], theirs[x]) for x in _IDS):
        return Cause("the repository has the same name, but it is another one: its id differs")
    return _format(ours, theirs, got) or _context(ours, theirs, got)


_NAMES, _IDS = ("owner", "name"), ("owner_id", "id")


def _format(ours: re.Match[str], theirs: re.Match[str], got: str) -> Cause | None:
    """Legacy against immutable (docs.github.com, "Immutable subject claims")."""
    if bool(ours["owner_id"]) == bool(theirs["owner_id"]):
        return None
    which = "immutable (with ids)" if theirs["id"] else "legacy (without ids)"
    sentence = f"the repository's subjects are in GitHub's {which} format"
    if theirs["id"]:
        sentence += "; see that these ids are yours"
    value = _for_repository(ours, theirs)
    if is_like(value, got):
        return Cause(sentence, value)
    also = _context(ours, theirs, got)
    return Cause(f"{sentence}; and {also.sentence}", also.value)


def _for_repository(ours: re.Match[str], theirs: re.Match[str]) -> str:
    """Return the policy's subject with the repository as the token names it."""
    owner, name = (
        theirs[part] + (f"@{theirs[number]}" if theirs[number] else "")
        for part, number in zip(_NAMES, _IDS, strict=True)
    )
    context = "" if ours["context"] is None else f":{ours['context']}"
    return f"repo:{owner}/{'*' if ours['name'] == '*' else name}{context}"


def _context(ours: re.Match[str], theirs: re.Match[str], got: str) -> Cause:
    """What follows the repository: environment before pull_request before ref."""
    (kind, _, wanted), (their_kind, _, _) = (
        (one["context"] or "").partition(":") for one in (ours, theirs)
    )
    if kind == their_kind or their_kind not in CONTEXTS:
        return Cause(f"the policy is for {ours['context']}, the job is for {theirs['context']}")
    sentence = CONTEXTS[their_kind]
    if their_kind == "pull_request":
        return Cause(f"{sentence}; to let these in would let in every pull request")
    if kind == "environment":  # to let in a job without one would undo what protects it
        return Cause(f"{sentence}; give the job `environment: {wanted}`")
    return Cause(f"{sentence}; which refs may use that is for its own rules to say", got)


_SLIPS = {"sub": _subject, "aud": _audience}
