"""Everything we ship for GitHub is clean in the eyes of the field's own linters."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.actions.shop import ACTIONS, WORKFLOWS
from tests.docs.pages import DOCS, ROOT, blocks

DEFINITIONS = sorted(ACTIONS.glob("*/action.yml"))


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every workflow that we ship or show, where GitHub looks for it."""
    folder = tmp_path_factory.mktemp("shop") / ".github" / "workflows"
    folder.mkdir(parents=True)
    found = {path.stem: path.read_text() for path in WORKFLOWS}
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        for number, block in enumerate(blocks(page.read_text(), "yaml")):
            if "runs-on:" in block:
                found[f"{page.stem}-{number}"] = block
    assert len(found) > len(WORKFLOWS)
    for name, text in found.items():
        (folder / f"{name}.yml").write_text(text)
    return sorted(folder.iterdir())


def lint(program: str, *words: str, files: Sequence[Path]) -> None:
    """Run a linter, which has to be content."""
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip(f"{program} is not installed (the extra `dev`)")
    done = subprocess.run(
        [str(path), *words, *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_zizmor(workflows: list[Path]) -> None:
    """No workflow, nor action, has a weakness that zizmor knows."""
    lint("zizmor", "--offline", "--no-config", files=[*workflows, *DEFINITIONS])


def test_actionlint(workflows: list[Path]) -> None:
    """Workflows are what GitHub would take, their expressions and scripts too."""
    lint("actionlint", "-no-color", files=workflows)


def test_schema_of_workflows(workflows: list[Path]) -> None:
    """They are by the schema that editors use."""
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", files=workflows)


def test_schema_of_actions() -> None:
    """So are the definitions of the actions."""
    lint("check-jsonschema", "--builtin-schema", "vendor.github-actions", files=DEFINITIONS)


def test_javascript_is_read_by_people() -> None:
    """All of the JavaScript is written by hand, and stays thin: what it may import, node has."""
    sources = [*ACTIONS.glob("*.js"), *ACTIONS.glob("*/*.js")]
    lines = [line for path in sources for line in path.read_text().splitlines()]
    imports = [line.partition("require('")[2].partition("'")[0] for line in lines]
    assert {name for name in imports if name and not name.startswith("node:")} == {"../run.js"}
    assert len(lines) < 250
