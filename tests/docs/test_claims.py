"""docs/reference/claims.md says what the code says; every CI has its line on the how-to page."""

import re
import runpy

import pytest

from ci_identity.grants.load import parse
from ci_identity.model import SourceName
from ci_identity.sources.claims import dialects
from tests.docs.pages import DOCS, blocks, page

OTHERS = page("how-to/other-ci.md")


def test_the_page_is_made_from_the_code() -> None:
    """Nothing was changed by hand, and nothing in the code since: `python docs/claims.py`."""
    assert page("reference/claims.md") == runpy.run_path(str(DOCS / "claims.py"))["page"]()


@pytest.mark.parametrize("name", [dialect.ci for dialect in dialects()])
def test_every_dialect_is_on_the_page(name: str) -> None:
    """No CI whose tokens we read is left out."""
    assert f"## {name}\n" in page("reference/claims.md")


@pytest.mark.parametrize("name", [name for name in SourceName if name not in {"github", "gitlab"}])
def test_every_source_is_on_the_how_to_page(name: str) -> None:
    """By the name that `whoami` prints and that a grant's `source` takes."""
    assert f"`{name}`" in OTHERS


def test_every_ci_has_a_grant_on_the_how_to_page() -> None:
    """One to copy for each that is not handed over by hand."""
    (text,) = blocks(OTHERS, "yaml")[-1:]
    names = set(parse(text, "other-ci.md").grants)
    by_hand = {"token-file", "token-variable", "github", "gitlab"}
    assert names == {name.value for name in SourceName} - by_hand


def test_the_fields_on_the_page_are_whoamis() -> None:
    """A new field of an identity is explained too."""
    used = {name for dialect in dialects() for name in (*dialect.fields, *dialect.joined)}
    assert used <= set(re.findall(r"^\| `(\w+)` \|", page("reference/claims.md"), re.MULTILINE))
