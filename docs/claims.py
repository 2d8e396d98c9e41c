"""Writes docs/reference/claims.md anew, from the tables that the tokens are read by."""  # noqa: INP001  # a script beside the pages

from pathlib import Path

from ci_identity.grants.claims import CLAIMS, PREFIXES
from ci_identity.sources.claims import dialects
from ci_identity.sources.dialect import Dialect

PATH = Path(__file__).parent / "reference" / "claims.md"
FIELDS = ("repository", "repository_id", "ref", "environment", "run", "job", "event", "actor")
HEAD = """\
# Claims

What each CI's token says of a job, and what `ci-identity whoami` makes of it. This page is made
from the code: `python docs/claims.py`.

A grant's `for` asks for the claims themselves, by the names below. The fields of `whoami` are the
same for every CI; they are for people, for the ledger and for `explain`. Nobody verifies a claim
here: the provider does.

Which CI a token is of is told by its claims, in the order of this page; where it was found does not
matter. A token that none of them recognises has issuer, subject and audience, and `fork` unknown.
"""
WORKLOAD = """\
Names a workload or a machine, and no CI job: the fields are empty, and it counts as a fork's. Taken
only for a grant with `source: {ci}`.
"""
TAIL = """\
## Every claim that is known

`check` warns of a claim in a grant that is not among these, and `whoami` lists those of a token.

| issued by | claims |
|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    known = [f"| {by} | {_code(*sorted(names.split()))} |" for by, names in CLAIMS.items()]
    families = f"\nAnd every claim that begins with {_code(*PREFIXES)}.\n"
    return "\n".join([HEAD, *map(_section, dialects()), TAIL + "\n".join(known) + "\n" + families])


def _section(dialect: Dialect) -> str:
    head = f"## {dialect.ci}\n\nTold by: {dialect.mark}.\n"
    if dialect.is_workload:
        return f"{head}\n{WORKLOAD.format(ci=dialect.ci)}"
    rows = [f"| `{name}` | {_source(dialect, name)} |" for name in FIELDS]
    rows += [f"| `fork` | {dialect.forks} |", f"| `debug` | {dialect.debugs} |"]
    return "\n".join([head, "| field | from |", "|---|---|", *rows, ""])


def _source(dialect: Dialect, name: str) -> str:
    if joined := dialect.joined.get(name):
        return " / ".join(map(_code, joined))
    return " or else ".join(map(_code, dialect.fields.get(name, ()))) or "-"


def _code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
