"""docs/reference/lint.md has every rule, as the linter has it."""

import re

from ci_identity.grants.lint import RULES
from tests.docs.pages import page

ROWS = re.findall(
    r"^\| `([a-z-]+)` \| (\w+) \| (.+) \| (.+) \|$", page("reference/lint.md"), re.MULTILINE
)


def test_the_table_is_the_rules() -> None:
    """Code, severity, sentence and fix of each rule, in order: nothing more and nothing less."""
    rules = [(r.code, "error" if r.is_error else "warning", r.doc, r.hint) for r in RULES]
    assert rules == ROWS
