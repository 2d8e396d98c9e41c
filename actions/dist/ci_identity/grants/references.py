"""A line of `secrets:`: where a value is, and what is written there to have it issued."""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from ci_identity.grants.durations import DURATION
from ci_identity.grants.kinds import ByShape, Key, Keys, Kind, Made, Names, Schema, Text, Word
from ci_identity.grants.nodes import Node, Table
from ci_identity.model import SecretReference

# No empty, `.` or `..` part. No `%` either: a proxy may decode %2e, and walk up.
PATH_PATTERN = r"(?!.*(?:^|/)\.{0,2}(?:/|$))[^\s?#%*\\]+"

REFERENCE = Text(
    expected="path#field, as in secret/data/shop#password; the path without leading /, `..` or ?%*",
    pattern=PATH_PATTERN + r"#[^#]{1,128}",
)
PARAMETER_PATTERN = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"


class Parameters(NamedTuple):
    """What is written to a path, and for how long it is to issue something."""

    given: Mapping[str, str]
    ttl: timedelta | None


class Written:
    """`with`: the parameters of a path that issues something when it is written to."""

    _names = Names(
        of=Text(
            expected="the text of a parameter",
            pattern=r"[\s\S]+",
            maximum=8192,  # a certificate request of a 4,096-bit key has 1,700
        ),
        pattern=PARAMETER_PATTERN,
        refusal=lambda name: (
            None
            if re.fullmatch(PARAMETER_PATTERN, name)
            else "a parameter's name is letters, digits and _ . -"
        ),
        minimum=0,  # `with: {}` is written to all the same: a role may need no parameter
    )

    def read(self, node: Node) -> Parameters:
        """Return the parameters; `ttl` apart, as it is in the grant itself."""
        given = {name: text for name, text in self._names.read(node).items() if name != "ttl"}
        ttl = node.entries.get("ttl") if isinstance(node, Table) else None
        return Parameters(MappingProxyType(given), DURATION.read(ttl) if ttl else None)

    def schema(self) -> Schema:
        """Return an object of texts."""
        ttl = {"description": "The life to ask for; the grant's if absent."} | DURATION.schema()
        return self._names.schema() | {"properties": {"ttl": ttl}}


def _reference(text: str, **more: Any) -> SecretReference:
    path, _, field = text.partition("#")
    return SecretReference(path=path, field=field, **more)


def _described(node: Table, values: dict[str, Any]) -> SecretReference:
    given, ttl = values.get("with", (None, None))
    return _reference(
        values["from"],
        is_public=values.get("public", False),
        parameters=given,
        ttl=ttl,
        line=node.place.line,
    )


SECRET: Kind[SecretReference] = ByShape(
    expected="path#field or {from: path#field, with: {...}, public: true}",
    text=Made(of=REFERENCE, make=_reference),
    table=Keys(
        keys={
            "from": Key(of=REFERENCE, doc="Where it is: path#field.", required=True),
            "with": Key(
                of=Written(),
                doc="What to write there to have it issued; ttl is the grant's if absent.",
            ),
            "public": Key(
                of=Word(words={"true": True, "false": False}),
                doc="Whether it may be seen in the log: true or false.",
            ),
        },
        make=_described,
    ),
)
