"""What is imported on the way to a credential: all of it is paid for in every step."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = {
    "argparse",
    "asyncio",
    "boto3",
    "dataclasses",
    "difflib",
    "email",
    "encodings.idna",
    "google.auth",
    "http.client",
    "hvac",
    "importlib.metadata",
    "inspect",
    "logging",
    "random",
    "requests",
    "secrets",
    "shutil",
    "tempfile",
    "traceback",
    "urllib.request",
    "urllib3",
    "yaml",
}
"""Each of them is 1 to 150 ms (docs/adr/0021-the-cost-of-a-start.md)."""

START = """
from ci_identity.cli import action
from ci_identity.agent import inputs, service
from ci_identity.sources import github
"""


def imported(code: str) -> set[str]:
    """Return the names of the modules that a bare Python has after `code`."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}\nprint(*sys.modules)"
    run = [sys.executable, "-IS", "-c", code]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("cloud", ["aws", "vault", "gcp", "azure", "kubernetes"])
def test_start_of_the_agent(cloud: str) -> None:
    """Nothing heavy, and none of another cloud or another CI."""
    found = imported(f"{START}\nfrom ci_identity.exchangers import {cloud}")
    assert found & HEAVY == set()
    others = {"aws", "vault", "gcp", "azure", "kubernetes"} - {cloud}
    assert {f"ci_identity.exchangers.{other}" for other in others} & found == set()
    assert {f"ci_identity.delivery.{other}" for other in others} & found == set()
    assert {f"ci_identity.sources.{ci}" for ci in ("gitlab", "forgejo", "jenkins")} & found == set()


def test_stop_of_the_agent() -> None:
    """What ends a lease speaks to no provider: the agent does."""
    found = imported(
        "from ci_identity.cli import agent\n"
        "from ci_identity.agent import report, runner_files, stop"
    )
    assert found & (HEAVY - {"argparse"} | {"ssl", "ctypes", "ci_identity.session"}) == set()


def test_exec() -> None:
    """PyYAML is for the grants file, argparse for people; all else is as for the agent."""
    found = imported("from ci_identity.cli import exec\nfrom ci_identity import run, grants")
    assert found & (HEAVY - {"argparse", "shutil", "yaml"}) == set()


def test_redact() -> None:
    """A filter starts as fast as the pipe it is in; its quicker engine is for those that run on."""
    found = imported("from ci_identity.cli import redact")
    slow = {"base64", "datetime", "gettext", "hyperscan", "json", "locale", "typing"}
    assert found & (HEAVY | slow) == set()


def test_what_a_filter_needs_to_spell_a_secret_out() -> None:
    """JSON's own module is for texts beyond ASCII, and for secrets that are JSON."""
    spell = "from ci_identity.redaction.needles import spellings\nspellings(%r.encode())"
    assert "json" not in imported(spell % 'a secret\nwith "quotes" and \\')
    assert "json" in imported(spell % "gehêim")
