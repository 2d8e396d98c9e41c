"""Every link from one page of the repository to another leads to a file, and to a heading in it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield file and heading of each link on a page that is not to the web."""
    text = re.sub(r"^```.*?^```$|^    .*?$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, heading = target.partition("#")
            yield (page.parent / path).resolve() if path else page, heading


def headings(page: Path) -> set[str]:
    """Return the headings of a page as GitHub makes addresses of them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A reader who follows a link finds the file, and the heading if it names one."""
    for path, heading in links(page):
        assert path.exists(), f"{page.name} links to {path.name}"
        assert not heading or heading in headings(path), f"{page.name} links to #{heading}"
