"""The grants file, key by key: the tables that the loader and the JSON Schema are made from."""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ci_identity.grants import targets
from ci_identity.grants.durations import DURATION
from ci_identity.grants.kinds import ByShape, Key, Keys, Kind, List, Made, Names, Schema, Text, Word
from ci_identity.grants.nodes import Node, Table
from ci_identity.grants.token_exchange import TOKEN_EXCHANGE, check_variable
from ci_identity.model import (
    AZURE_TTL,
    DEFAULT_MAX,
    DEFAULT_TTL,
    KUBERNETES_TTL,
    Accept,
    Grant,
    SourceName,
    Wanted,
)

MAX_TTL = timedelta(hours=12)
"""As long as any provider here gives (AWS, DurationSeconds); a job's step is over long before. But
for Entra, which asks nobody, and gives 24 hours to a managed identity."""

TARGETS: Mapping[str, Key] = MappingProxyType(
    {
        "vault": Key(of=targets.VAULT, doc="A role of a Vault or OpenBao JWT auth method."),
        "aws": Key(of=targets.AWS, doc="An AWS role that trusts the CI's issuer."),
        "gcp": Key(of=targets.GCP, doc="A Google Cloud workload identity provider."),
        "azure": Key(of=targets.AZURE, doc="An Entra application with a federated credential."),
        "kubernetes": Key(of=targets.KUBERNETES, doc="A cluster that trusts the CI's issuer."),
        "token_exchange": Key(of=TOKEN_EXCHANGE, doc="An RFC 8693 token endpoint."),
    }
)
"""What a grant can be for; each grant has exactly one of them."""


# ── for ──────────────────────────────────────────────────────────────────────────────────────

VALUE = Text(expected="the text that the claim must be")
WANTED: Kind[Wanted] = ByShape(
    expected="a text or {glob: text}",
    text=Made(of=VALUE, make=lambda text: Wanted(text=text)),
    table=Keys(
        keys={
            "glob": Key(of=VALUE, doc="A text in which * is anything but a /.", required=True),
        },
        make=lambda _, values: Wanted(text=values["glob"], is_glob=True),
    ),
)
ANY_OF: Kind[tuple[Wanted, ...]] = ByShape(
    expected="a text, {glob: text} or a list of them",
    text=Made(of=WANTED, make=lambda wanted: (wanted,)),
    items=List(of=WANTED, maximum=100),
    table=Made(of=WANTED, make=lambda wanted: (wanted,)),
)
CLAIM_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}"
REGISTERED = {"iss": "issuer", "sub": "subject", "aud": "audience"}
"""Short names (RFC 7519, section 4.1) and the words we use for them; a file may have either."""


class Conditions:
    """`for`: the claims that must match, all of them. Never empty, and never for any issuer."""

    _claims = Names(
        of=ANY_OF,
        pattern=CLAIM_PATTERN,
        refusal=lambda name: (
            None
            if re.fullmatch(CLAIM_PATTERN, name)
            else "a claim's name is letters, digits and _ . : / -"
        ),
    )

    def read(self, node: Node) -> Mapping[str, tuple[Wanted, ...]]:
        """Return claim name to accepted values."""
        if not isinstance(node, Table) or not node.entries:
            node.place.refuse(
                "must name the claims that a job must have; without any it would be for everyone"
            )
        for short, word in REGISTERED.items():
            if short in node.entries and word in node.entries:
                node.place.refuse(f"has both `{short}` and `{word}`, which are the same claim")
        conditions = {
            REGISTERED.get(name, name): wanted for name, wanted in self._claims.read(node).items()
        }
        if "issuer" not in conditions:
            node.place.refuse(
                "lacks `issuer`: anyone can run an issuer whose tokens have the other claims",
                hint="add the issuer that ci-identity whoami prints in such a job",
            )
        return MappingProxyType(conditions)

    def schema(self) -> Schema:
        """Return the same as JSON Schema."""
        return self._claims.schema() | {
            "oneOf": [{"required": ["issuer"]}, {"required": ["iss"]}],
            "not": {
                "anyOf": [{"required": [short, word]} for short, word in REGISTERED.items()],
            },
        }


# ── the rest of a grant ──────────────────────────────────────────────────────────────────────


VERSION = Word(words={"1": 1})


def _grant(node: Table, values: dict[str, Any]) -> Grant:
    found = [name for name in node.entries if name in TARGETS]
    if len(found) > 1:
        places = " and ".join(f"`{name}` (line {node.entries[name].place.line})" for name in found)
        node.place.refuse(f"has {places}; a grant is for exactly one target")
    if not found:
        node.place.refuse(f"has no target; it needs one of {', '.join(TARGETS)}")
    (target,) = found
    if target == "token_exchange":
        check_variable(node, node.place.keys[-1], values[target])
    if target == "azure":
        values.setdefault("ttl", AZURE_TTL)
    elif values.get("ttl", DEFAULT_TTL) > MAX_TTL:
        node.entries["ttl"].place.refuse(f"is longer than {MAX_TTL // timedelta(hours=1)}h")
    if target == "kubernetes" and values.get("ttl", DEFAULT_TTL) < KUBERNETES_TTL:
        least = KUBERNETES_TTL // timedelta(minutes=1)
        node.entries["ttl"].place.refuse(f"is shorter than {least}m: Kubernetes has no such tokens")
    ttl = values.get("ttl", DEFAULT_TTL)
    if values.setdefault("max", max(DEFAULT_MAX, ttl)) < ttl:
        node.entries["max"].place.refuse("is shorter than the life of one credential, `ttl`")
    return Grant(
        name=node.place.keys[-1],
        line=node.place.line,
        conditions=values.pop("for"),
        target=values.pop(target),
        **values,
    )


GRANT = Keys(
    keys={
        "description": Key(
            of=Text(expected="text", pattern=r"[\s\S]+"), doc="What the grant is for."
        ),
        "for": Key(
            of=Conditions(),
            doc="The claims a job's token must have, every one; a list means any of.",
            required=True,
        ),
        "steps": Key(
            of=List(
                of=Text(
                    expected="the id of a step", pattern=r"[A-Za-z_][A-Za-z0-9_-]*", maximum=100
                ),
                maximum=100,
            ),
            doc="The CI's own step ids that may use it; any step if absent.",
        ),
        "ttl": Key(of=DURATION, doc="The life of each credential: 90s, 15m (the default), 2h."),
        "max": Key(
            of=DURATION,
            doc="How long a step may have its credential renewed: 6h (the default), 24h at most.",
        ),
        "accept": Key(
            of=Made(
                of=List(
                    of=Word(words={accept.value: accept for accept in Accept}),
                    maximum=len(Accept),
                ),
                make=frozenset,
            ),
            doc="The built-in refusals that this grant overrides.",
        ),
        "audience": Key(
            of=Text(expected="the audience to ask the CI for"),
            doc="The audience of the job's token, where the target's own default is not wanted.",
        ),
        "source": Key(
            of=Word(words={source.value: source for source in SourceName}),
            doc="Where the token must come from: one CI, or a workload that is no CI job.",
        ),
        **TARGETS,
    },
    make=_grant,
    also={"oneOf": [{"required": [name]} for name in TARGETS]},
)
GRANT_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
GRANTS = Names(
    of=GRANT,
    pattern=GRANT_PATTERN,
    refusal=lambda name: (
        None
        if re.fullmatch(GRANT_PATTERN, name)
        else "a grant's name is at most 64 of a-z 0-9 . _ - and starts with a letter or digit"
    ),
)
FILE: Keys[Mapping[str, Grant]] = Keys(
    keys={
        "version": Key(of=VERSION, doc="The version of this format: 1.", required=True),
        "grants": Key(of=GRANTS, doc="The grants, by name.", required=True),
    },
    make=lambda _, values: values["grants"],
)
