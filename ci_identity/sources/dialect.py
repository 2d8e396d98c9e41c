"""How one CI's claims say who a job is; each CI's own is beside its source."""

import json
from collections.abc import Callable, Mapping

from ci_identity._record import Record, field
from ci_identity._text import printable
from ci_identity.model import SourceName, UnverifiedClaims

Told = Callable[[UnverifiedClaims], bool | None]


def _never(_: UnverifiedClaims) -> bool:
    return False


def _cannot_tell(_: UnverifiedClaims) -> None:
    return None


class Dialect(Record):
    """What the claims of one CI's tokens mean.

    Attributes:
        ci: whose tokens they are.
        mark: what tells these tokens from others, in words.
        fields: field of `JobIdentity` to the claims that give it; the first one there is taken.
        joined: the same for what takes several claims, joined by `/` up to the first one missing.
        fork: whether the run comes from a fork; `None` if the claims cannot tell.
        forks: the same in words, with what the CI's variables tell besides.
        debug: whether it is a debug run.
        debugs: the same in words, with what the CI's variables tell besides.
        is_workload: whether it names no job but a workload or a machine.
    """

    ci: SourceName
    mark: str
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    fork: Told = _cannot_tell
    forks: str = "cannot be told, so each run counts as one"
    debug: Callable[[UnverifiedClaims], bool] = _never
    debugs: str = "never told"
    is_workload: bool = False

    def read(self, claims: UnverifiedClaims) -> dict[str, str | None]:
        """Return the fields of `JobIdentity` that the claims give."""
        return {
            name: next(filter(None, (text(claims, claim) for claim in names)), None)
            for name, names in self.fields.items()
        } | {name: _join(claims, names) for name, names in self.joined.items()}


def _join(claims: UnverifiedClaims, names: tuple[str, ...]) -> str | None:
    parts: list[str] = []
    for name in names:
        if (part := text(claims, name)) is None:
            break
        parts.append(part)
    return "/".join(parts) or None


def text(claims: UnverifiedClaims, name: str) -> str | None:
    """Return a claim as printable text, numbers and booleans as in JSON; `None` if it is none."""
    value = claims.get(name)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str) and value:
        return printable(value)
    return None


def has(*names: str) -> Callable[[UnverifiedClaims], bool]:
    """Return a function that tells whether claims have a text in each of `names`."""
    return lambda claims: all(text(claims, name) is not None for name in names)


def is_own_ref(ref: str | None) -> bool:
    """Return whether a ref in full is a branch or a tag, which only who may push can make."""
    return (ref or "").startswith(("refs/heads/", "refs/tags/"))
