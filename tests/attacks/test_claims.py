"""docs/security-model.md claims nothing that no test holds, and says first what it does not."""

import re
from pathlib import Path

import pytest

from tests.attacks.claims import ATTACKS, PROMISES
from tests.docs.pages import ROOT, page

PAGE = page("security-model.md")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)


def ids(section: str) -> list[str]:
    """Return the ids in the first column of the table of a section, in order."""
    (text,) = (one for one in SECTIONS if one.startswith(section))
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    found = [re.match(r"\| `([a-z-]+)` \|", row) for row in rows]
    assert all(found), "a row has no id"
    return [one[1] for one in found if one]


@pytest.mark.parametrize(
    ("section", "claims"), [("What it promises", PROMISES), ("What attackers get", ATTACKS)]
)
def test_every_claim_has_tests_and_every_id_a_claim(
    section: str, claims: dict[str, tuple[str, ...]]
) -> None:
    """The table of the page and that of the tests have the same ids, in the same order."""
    assert ids(section) == list(claims)
    assert all(claims.values())


@pytest.mark.parametrize(
    "test", sorted({test for tests in (PROMISES | ATTACKS).values() for test in tests})
)
def test_the_tests_are_there(test: str) -> None:
    """A test that was renamed or removed leaves no claim behind that nothing holds."""
    path, _, name = test.partition("::")
    found = ROOT / path
    files = found.glob("test_*.py") if found.is_dir() else [found]
    texts = [file.read_text() for file in files]
    assert texts
    wanted = rf"^def {re.escape(name)}\(" if name else r"^(def|    def) test_"
    assert all(re.search(wanted, text, re.MULTILINE) for text in texts)


def test_what_is_not_prevented_comes_first() -> None:
    """Whoever reads no more than the beginning is not misled."""
    titles = [one.partition("\n")[0] for one in SECTIONS[1:]]
    assert titles[0] == "What it does not protect from"
    assert len(SECTIONS[1]) > 3000
    assert PAGE.index("Read this first") < PAGE.index("## What it promises")


def test_every_attack_is_in_one_table() -> None:
    """Each test of this room holds a claim of the page: none attacks what nobody promised."""
    named = {test for tests in ATTACKS.values() for test in tests}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        path = file.relative_to(ROOT).as_posix()
        if file == Path(__file__) or path in named:
            continue
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE):
            assert f"{path}::{name}" in named, name
