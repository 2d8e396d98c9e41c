"""A trust policy as text, in each form in which people have it, made into statements."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Never, cast
from urllib.parse import unquote

from ci_identity._record import Record
from ci_identity._text import shortened
from ci_identity.errors import TrustPolicyError

MAX_POLICY = 1 << 20
"""Characters. A trust policy has at most 4,096 (IAM's quota), in any form far less than this."""

_ELEMENTS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"}


class Condition(Record):
    """One key of one operator."""

    operator: str
    key: str
    values: tuple[str, ...]


class Statement(Record):
    """One statement of a trust policy.

    Attributes:
        name: its place, from 1, and its Sid if it has one.
        effect: `Allow` or `Deny`.
        principals: kind and value; `*` has the kind `*`.
        is_not_principal, is_not_action: the element was `NotPrincipal`, `NotAction`.
        actions: as written.
        conditions: in the order of the document.
    """

    name: str
    effect: str
    principals: tuple[tuple[str, str], ...]
    is_not_principal: bool
    actions: tuple[str, ...]
    is_not_action: bool
    conditions: tuple[Condition, ...]


# ── text to document ─────────────────────────────────────────────────────────────────────────


def parse(text: str) -> Mapping[str, object]:
    """Return the trust policy document in `text`.

    It may be the document itself, the output of `aws iam get-role`, whole or `--query`ed, or the
    URL-encoded text in which the API has it (IAM, `Role.AssumeRolePolicyDocument`, RFC 3986).

    Raises:
        TrustPolicyError: it is none of these.
    """
    if len(text) > MAX_POLICY:
        _refuse(f"it is longer than {MAX_POLICY} characters")
    found = _json(unquote(text) if text.lstrip()[:3].upper() == "%7B" else text)
    for name in ("Role", "AssumeRolePolicyDocument"):
        if isinstance(found, dict) and name in found:
            found = cast("dict[str, object]", found)[name]
    if isinstance(found, str):
        found = _json(unquote(found))
    if not isinstance(found, dict) or "Statement" not in found:
        _refuse("it has no Statement")
    return cast("dict[str, object]", found)


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        _refuse(f"it is not JSON{place}")


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name that stands twice: which of the two counts is nobody's to guess."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(f"{shortened(twice)} stands twice in the same place")
    return found


# ── document to statements ───────────────────────────────────────────────────────────────────


def statements(policy: Mapping[str, object]) -> Iterator[Statement]:
    """Yield the statements of a policy document (IAM, "Grammar of the IAM JSON policy language").

    Raises:
        TrustPolicyError: AWS would not take it as a trust policy; the message names the place.
    """
    for number, found in enumerate(_several(policy.get("Statement")), start=1):
        if not isinstance(found, dict):
            _refuse(f"statement {number} is no object")
        yield _statement(number, cast("dict[str, object]", found))


def _statement(number: int, found: Mapping[str, object]) -> Statement:
    sid, effect = found.get("Sid"), found.get("Effect")
    name = f"{number} ({sid})" if isinstance(sid, str) and sid else str(number)
    place = f"statement {shortened(name)}"
    if unknown := sorted(set(found) - _ELEMENTS):
        _refuse(f"{place} has {shortened(unknown[0])}, which no trust policy has")
    if effect not in {"Allow", "Deny"}:
        _refuse(f"{place} has no Effect that is Allow or Deny")
    for one, other in (("Principal", "NotPrincipal"), ("Action", "NotAction")):
        if (one in found) == (other in found):
            _refuse(f"{place} must have either {one} or {other}")
    return Statement(
        name=name,
        effect=str(effect),
        principals=tuple(_principals(found.get("Principal", found.get("NotPrincipal")), place)),
        is_not_principal="NotPrincipal" in found,
        actions=_texts(found.get("Action", found.get("NotAction")), place),
        is_not_action="NotAction" in found,
        conditions=tuple(_conditions(found.get("Condition", {}), place)),
    )


def _principals(found: object, place: str) -> Iterator[tuple[str, str]]:
    if found == "*":
        yield "*", "*"
        return
    for kind, values in _object(found, f"{place}: the principal").items():
        for value in _texts(values, place):
            yield ("*" if (kind, value) == ("AWS", "*") else kind), value


def _conditions(found: object, place: str) -> Iterator[Condition]:
    for operator, keys in _object(found, f"{place}: the Condition").items():
        for key, values in _object(keys, f"{place}: {shortened(operator)}").items():
            yield Condition(operator=operator, key=key, values=_texts(values, place))


def _object(found: object, place: str) -> Mapping[str, object]:
    if not isinstance(found, dict):
        _refuse(f"{place} is no object")
    return cast("dict[str, object]", found)


def _several(found: object) -> list[object]:
    return cast("list[object]", found) if isinstance(found, list) else [found]


def _texts(found: object, place: str) -> tuple[str, ...]:
    """Return one value or a list of them as texts; numbers and booleans as JSON has them."""
    several = _several(found)
    if not all(isinstance(one, str | bool | int | float) for one in several):
        _refuse(f"{place} has a value that is no text, number or boolean")
    return tuple(one if isinstance(one, str) else json.dumps(one) for one in several)


def _refuse(what: str) -> Never:
    message = f"the trust policy cannot be read: {what}"
    raise TrustPolicyError(message) from None  # a cause would hold the text
