"""Every grants file in the docs is one, and the reference has every key there is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ci_identity.grants.lint import lint
from ci_identity.grants.load import parse
from ci_identity.grants.schema import schema
from tests.docs.pages import DOCS, ROOT, blocks, page

FILES = {
    f"{path.relative_to(ROOT)} {number}": block
    for path in sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
    for number, block in enumerate(blocks(path.read_text(), "ya?ml"), 1)
    if block.startswith("version: 1")
}
REFERENCE = page("reference/grants-file.md")


def keys(found: Any) -> Iterator[str]:
    """Yield the name of every key that the schema knows."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name == "properties":
                yield from value
            yield from keys(value)
    elif isinstance(found, list):
        for value in found:
            yield from keys(value)


@pytest.mark.parametrize("name", FILES)
def test_a_grants_file_in_the_docs_loads_and_has_no_lint_errors(name: str) -> None:
    """What people copy from the docs is read by the loader and does not fail `check`."""
    assert not [finding for finding in lint(parse(FILES[name], name)) if finding.is_error]


def test_the_reference_has_a_whole_file() -> None:
    """The two files of the reference were found, so the test above is about something."""
    assert {"docs/reference/grants-file.md 1", "docs/reference/grants-file.md 2"} <= set(FILES)


@pytest.mark.parametrize("key", sorted(set(keys(schema()))))
def test_the_reference_names_and_shows_every_key(key: str) -> None:
    """Each key of the format is explained in the text, and stands in an example."""
    assert f"`{key}`" in REFERENCE or f"`{{{key}:" in REFERENCE or key in {"from", "public"}
    assert any(re.search(rf"\b{key}:", block) for block in blocks(REFERENCE, "yaml"))
