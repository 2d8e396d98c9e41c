"""The action's inputs, read by the grants file's own reader: its rules hold, a slip is named."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Never

from ci_identity._record import replace
from ci_identity.agent.order import ALL_STEPS, Inline, Order
from ci_identity.errors import GrantsFileError, IdentityError, InputError
from ci_identity.grants.durations import duration
from ci_identity.grants.format import GRANT
from ci_identity.grants.nodes import Node, Place, Scalar, Table
from ci_identity.grants.nodes import Sequence as Items
from ci_identity.model import DeliveryMode, Grant, SubjectToken, Wanted

_TARGETS = {
    "aws": ("role", "region", "policy"),
    "vault": ("address", "role", "mount", "namespace", "policies", "secrets"),
    "gcp": ("provider", "service-account", "project"),
    "azure": ("tenant", "client"),
}
"""The inputs of each kind of inline grant, without their prefix."""

_AZURE_RESOURCES = ("https://management.azure.com",)
_THIS_JOB = ("issuer", "repository_id", "ref")


class _Input(Place):
    """Where a value of an inline grant stands: an input of the action."""

    name: str = ""

    def refuse(self, problem: str, *, hint: str | None = None) -> Never:
        """Raise the error for what is wrong with the input."""
        line = f", line {self.line}," if self.line else ""
        message = f"the input `{self.name}`{line} {problem}"
        raise InputError(message, hint=hint) from None


def read_inputs(environ: Mapping[str, str]) -> Order:
    """Return what the inputs of the action ask for; the runner hands them over as variables.

    Raises:
        InputError: one of them is missing, or cannot be used.
    """
    given = {
        name.removeprefix("INPUT_").lower(): value.strip()
        for name, value in environ.items()
        if name.startswith("INPUT_") and value.strip()
    }
    names = tuple(dict.fromkeys(given.get("grants", "").split()))
    kinds = [kind for kind in _TARGETS if any(name.startswith(f"{kind}-") for name in given)]
    if bool(names) + len(kinds) != 1:
        _refuse_choice(names, kinds)
    if names and "audience" in given:
        message = "the input `audience` is for an inline grant; a grant of the file has its own"
        raise InputError(message)
    file = given.get("grants-file")
    return Order(
        grants=names,
        inline=_inline(kinds[0], given) if kinds else None,
        grants_file=Path(file) if file else None,
        steps=_steps(given.get("steps", "")),
        delivery=_delivery(given.get("delivery", DeliveryMode.ENDPOINT)),
        ttl=_ttl(given["ttl"]) if "ttl" in given else None,
    )


def for_this_job(inline: Inline, token: SubjectToken) -> tuple[Grant, str]:
    """Return an inline grant for the very job that asks, and a grants file that has it.

    Whoever has to end its lease when we are gone reads the file.

    Raises:
        IdentityError: the token does not say which job it is.
    """
    claims = {**token.claims, "issuer": token.claims.get("iss")}
    found: dict[str, str] = {}
    for name in _THIS_JOB:
        value = claims.get(name)
        if not isinstance(value, str) or not value:
            message = f"the job's token has no claim `{name}`, which an inline grant is bound to"
            raise IdentityError(message, hint="write a grants file, and name its grant in `grants`")
        found[name] = value
    conditions = {name: (Wanted(text=value),) for name, value in found.items()}
    keys = {"for": found, **inline.keys}
    file = {"version": "1", "grants": {inline.grant.name: keys}}  # JSON is YAML, too
    return replace(inline.grant, conditions=conditions), json.dumps(file, ensure_ascii=False)


def _refuse_choice(names: Sequence[str], kinds: Sequence[str]) -> Never:
    found = [*(["`grants`"] if names else []), *(f"`{kind}-...`" for kind in kinds)]
    message = (
        f"the inputs name {' and '.join(found)}: one use of the action is for one of them"
        if found
        else "no input says which grant: neither `grants` nor `aws-role`, `vault-role`, ..."
    )
    raise InputError(message)


def _steps(text: str) -> tuple[str, ...]:
    steps = tuple(dict.fromkeys(re.split(r"[\s,]+", text))) if text else ()
    if not steps:
        message = "the input `steps` is missing: the ids of the steps that may use the grants"
        raise InputError(message, hint=f"name them, or say `{ALL_STEPS}` for every later step")
    return steps


def _delivery(text: str) -> DeliveryMode:
    if text not in {DeliveryMode.ENDPOINT, DeliveryMode.ENV}:
        message = "the input `delivery` must be endpoint or env"
        raise InputError(message)
    return DeliveryMode(text)


def _ttl(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        message = f"the input `ttl` {error}"
        raise InputError(message) from None


# ── an inline grant ──────────────────────────────────────────────────────────────────────────


def _inline(kind: str, given: Mapping[str, str]) -> Inline:
    """Return the grant that the inputs describe; whom it is for is known when there is a token."""
    place = _Input(file="", line=0, keys=("grants", kind), name=f"{kind}-...")
    keys = {
        name.replace("-", "_"): _node(kind, name, given[f"{kind}-{name}"])
        for name in _TARGETS[kind]
        if f"{kind}-{name}" in given
    }
    if kind == "azure":
        keys["resources"] = _items("azure-client", _AZURE_RESOURCES)
    entries: dict[str, Node] = {kind: Table(place=place, entries=keys)}
    for name in ("ttl", "audience"):
        if name in given:
            entries[name] = _scalar(name, given[name])
    for_nobody = Table(place=place, entries={"issuer": Scalar(place=place, text="unknown")})
    try:
        grant = GRANT.read(Table(place=place, entries={"for": for_nobody, **entries}))
    except GrantsFileError as error:  # of a place in what `compose` read
        raise InputError(str(error)) from None
    return Inline(grant=grant, keys={name: _plain(node) for name, node in entries.items()})


def _plain(node: Node) -> object:
    match node:
        case Scalar(text=text):
            return text
        case Items(items=items):
            return [_plain(item) for item in items]
        case Table(entries=entries):
            return {name: _plain(entry) for name, entry in entries.items()}


def _scalar(name: str, text: str) -> Scalar:
    return Scalar(place=_Input(file="", line=0, name=name), text=text)


def _node(kind: str, name: str, text: str) -> Node:
    full = f"{kind}-{name}"
    if full == "vault-policies":
        return _items(full, re.split(r"[\s,]+", text))
    if full == "vault-secrets":
        return _secrets(full, text)
    if full == "aws-policy" and not text.startswith("{"):
        from ci_identity.grants.compose import compose  # noqa: PLC0415  # PyYAML, on demand

        try:
            return compose(text, f"the input `{full}`")  # a list of {allow, on}, in YAML
        except GrantsFileError as error:
            raise InputError(str(error), hint=error.hint) from None
    return _scalar(full, text)


def _items(name: str, texts: Iterable[str]) -> Items:
    place = _Input(file="", line=0, name=name)
    return Items(place=place, items=tuple(_scalar(name, text) for text in texts))


def _secrets(name: str, text: str) -> Table:
    """Return `NAME: path#field`, one a line, as the mapping that it is in a grants file."""
    entries: dict[str, Node] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = _Input(file="", line=number, name=name)
        variable, colon, reference = (part.strip() for part in line.partition(":"))
        if not colon or not variable:
            place.refuse("must be NAME: path#field")
        if variable in entries:
            place.refuse("names a variable twice")
        entries[variable] = Scalar(place=place, text=reference)
    return Table(place=_Input(file="", line=0, name=name), entries=entries)
