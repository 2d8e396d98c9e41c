"""docs/how-to/gitlab.md and gitlab/README.md show what is shipped and run, word by word."""

import re

import pytest
import yaml

from tests.docs.pages import blocks, page
from tests.gitlab.project import COMPONENT, EXAMPLE
from tests.killing import RECLAIM_POLICY

PAGE = page("how-to/gitlab.md")
README = (COMPONENT / "README.md").read_text()


def test_the_blocks_of_the_page_are_the_example() -> None:
    """Four blocks of the page are, in order, the parts of the files that the tests run."""
    pipeline, grants, lines, include, _ = blocks(PAGE, "yaml")
    assert f"{pipeline}\n{lines}" == (EXAMPLE / ".gitlab-ci.yml").read_text()
    assert grants == (EXAMPLE / ".ci-identity.yml").read_text()
    assert include == (EXAMPLE / "include.gitlab-ci.yml").read_text()


def test_the_block_of_the_readme_is_a_part_of_the_example() -> None:
    """Who looks at the component's project is shown the same job."""
    (shown,) = (yaml.safe_load(text) for text in blocks(README, "yaml"))
    migrate = (
        (EXAMPLE / ".gitlab-ci.yml").read_text().partition("\nseed:")[0]
    )  # no !reference in it
    example = yaml.safe_load(migrate)
    assert shown["include"] == example["include"]
    job = shown["migrate"] | {"stage": "migrate", "rules": example["migrate"]["rules"]}
    assert job == example["migrate"] | example["default"]


def test_the_right_that_the_page_names_is_the_one_it_takes() -> None:
    """The policy is the one with which tests/gitlab/test_cancel.py revokes."""
    assert blocks(PAGE, "hcl") == [f"{RECLAIM_POLICY}\n"]


@pytest.mark.parametrize("text", [PAGE, README], ids=["page", "readme"])
def test_the_inputs_are_listed_with_their_defaults(text: str) -> None:
    """Both tables have every input, in the template's order, and its default."""
    header = (COMPONENT / "templates" / "exec.yml").read_text().partition("\n---\n")[0]
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    listed = re.findall(r"(?m)^\| `([a-z-]+)` \| (?:`(.*?)`)? ?\|", text)
    assert listed == [(name, entry.get("default", "")) for name, entry in inputs.items()]
