"""docs/how-to/github.md shows what is shipped and run, word by word."""

import re

import yaml

from tests.actions.shop import ACTIONS, EXAMPLES
from tests.docs.pages import blocks, page

PAGE = page("how-to/github.md")


def test_the_blocks_of_the_page_are_the_examples() -> None:
    """Each of them is a file that the tests run."""
    files = ("migrate.yml", ".ci-identity.yml", "deploy.yml")
    assert blocks(PAGE, "yaml") == [(EXAMPLES / name).read_text() for name in files]


def test_the_inputs_are_listed() -> None:
    """The table has every input and every output of the action, and no other."""
    action = yaml.safe_load((ACTIONS / "credentials" / "action.yml").read_text())
    table = PAGE.partition("### Inputs")[2].partition("## ")[0]
    first = re.findall(r"(?m)^\| (`.*?`) \|", table)
    assert re.findall(r"`([a-z-]+)`", " ".join(first)) == list(action["inputs"])
    said = re.findall(r"`([a-z-]+)`", table.partition("Outputs:")[2])
    assert said == list(action["outputs"])
