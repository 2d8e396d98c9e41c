"""docs/reference/targets.md says what the code says, of every target there is."""

import runpy
from typing import Any

import pytest

from ci_identity.grants.format import TARGETS
from tests.docs.pages import DOCS, page
from tests.exchangers.providers import PROVIDERS

SCRIPT = runpy.run_path(str(DOCS / "targets.py"))
ROWS: dict[str, Any] = SCRIPT["ROWS"]


def test_the_page_is_made_from_the_code() -> None:
    """Nothing was changed by hand, and nothing in the code since: `python docs/targets.py`."""
    assert page("reference/targets.md") == SCRIPT["page"]()


def test_every_target_has_a_row() -> None:
    """Each key that a grant can have one of."""
    assert list(ROWS) == list(TARGETS)


@pytest.mark.parametrize("name", ROWS)
def test_what_narrows_is_a_key_of_the_grant(name: str) -> None:
    """By the name that the grants file has for it."""
    kind: Any = TARGETS[name].of
    assert set(ROWS[name].narrowed_by) <= set(kind.keys)


@pytest.mark.parametrize("name", ROWS)
def test_its_ends_are_those_that_the_contract_test_sees(name: str) -> None:
    """What the page declares, every exchanger is held to."""
    held = [
        provider.strength for row, provider in PROVIDERS.items() if row.partition(" ")[0] == name
    ]
    assert held == list(ROWS[name].strengths.values())
