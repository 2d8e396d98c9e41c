"""gitlab/templates and examples/gitlab, run by gitlab-ci-local against a real OpenBao."""

import base64
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.docs.pages import ROOT
from tests.gitlab.project import COMPONENT, EXAMPLE, Project, make_repository
from tests.step import Watch

INCLUDE = ("--file", "include.gitlab-ci.yml")


def leaks(output: str, world: World) -> list[str]:
    """Return the spellings of the password that an output has."""
    password = world.secrets["password"].reveal()
    spellings = (password, base64.b64encode(password.encode()).decode())
    return [spelling for spelling in spellings if spelling in output]


@pytest.mark.parametrize("words", [("migrate",), INCLUDE], ids=["component", "include"])
def test_the_line_of_the_example_has_the_secret_and_the_log_has_not(
    project: Project, world: World, openbao: OpenBao, words: tuple[str, ...]
) -> None:
    """As component and as include: masked in the log, and every token revoked within the job."""
    watch = Watch(openbao)
    ran = project.run(*words)
    assert ran.code == 0, ran.output
    assert "migrate > the password is [MASKED]\n" in ran.output
    assert "migrate > in base64: [MASKED]\n" in ran.output
    assert "migrate > tokens of migrate: none none\n" in ran.output
    assert "migrate-db: revoked; the server confirmed it" in ran.output
    assert leaks(ran.output, world) == []
    watch.assert_revoked()


def test_lines_around_the_one_with_the_grant(
    project: Project, world: World, openbao: OpenBao
) -> None:
    """Own lines beside the component's run in order, and without the script's credential."""
    watch = Watch(openbao)
    ran = project.run("seed")
    assert ran.code == 0, ran.output
    said = ["prepare has no password", "the password is [MASKED]", "clean has no password"]
    places = [ran.output.index(f"seed > {line}") for line in said]
    assert places == sorted(places)
    assert leaks(ran.output, world) == []
    watch.assert_revoked()


def test_a_job_that_fails_has_its_credential_revoked(project: Project, openbao: OpenBao) -> None:
    """The job fails as its script did; after_script runs, finds nothing live, and reports."""
    watch = Watch(openbao)
    ran = project.run("seed", MAKE_COUNT_EXITS="3")
    assert ran.code == 1
    assert "ci-identity: the job's status is failed\n" in ran.output
    assert "nothing to revoke: " in ran.output
    assert "clean has no password" in ran.output
    assert "FAIL" in ran.output
    watch.assert_revoked()


def test_a_job_that_is_denied_says_why(project: Project, world: World, openbao: OpenBao) -> None:
    """Another branch: the job fails with the claim that says no, and nothing was sent."""
    watch = Watch(openbao)
    token = world.environ("gitlab", {"ref": "feature"})["CI_IDENTITY_TOKEN"]
    ran = project.run("migrate", CI_IDENTITY_TOKEN=token)
    assert ran.code == 1
    assert "error[denied]: the grant migrate-db is not for this job: ref is feature" in ran.output
    assert watch.entries == []


def test_nothing_is_left_behind(project: Project) -> None:
    """Beside the project there is nothing of ours after the job, and in it there never was."""
    before = {path.name for path in project.folder.iterdir()}
    assert project.run("migrate").code == 0
    assert list(project.builds.iterdir()) == []
    assert {path.name for path in project.folder.iterdir()} - before == {".gitlab-ci-local"}


def test_the_report_tells_each_step_of_the_lease(project: Project) -> None:
    """after_script shows the ledger: who asked, what was issued, and how it ended."""
    output = project.run("migrate").output
    report = output.partition("the job's status is success")[2]
    events = ("requested", "issued", "issued", "delivered", "revoked")
    lines = [line.split() for line in report.splitlines() if "migrate-db" in line]
    assert tuple(line[3] for line in lines) == events


STUB = """
import os, sys
os.execv({python!r}, [{python!r}, "-I", "-m", "ci_identity", *sys.argv[1:]])
"""


def wheel(folder: Path) -> None:
    """Make a wheel by the name of ours that needs no others, and runs what is tested here."""
    files = {
        "ci_identity/__init__.py": "",
        "ci_identity/__main__.py": STUB.format(python=sys.executable),
        "ci_identity-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ci-identity\n"
        "Version: 0.1.0\n",
        "ci_identity-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        "ci_identity-0.1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(folder / "ci_identity-0.1.0-py3-none-any.whl", "w") as file:
        for name, text in files.items():
            file.writestr(name, text)


def without_command(project: Project, folder: Path) -> Project:
    """Return the project on an image that has a Python, and no `ci-identity`: pip installs it."""
    pipeline = project.folder / ".gitlab-ci.yml"
    audience = "      audience: https://vault.acme.example\n"
    package = "      package: ci-identity==0.1.0\n"
    pipeline.write_text(pipeline.read_text().replace(audience, audience + package))
    (folder / "image").mkdir()
    (folder / "image" / "python3").symlink_to(sys.executable)
    path = project.path.replace(str(Path(sys.executable).parent), str(folder / "image"))
    return replace(project, path=path)


def test_it_is_installed_where_the_image_has_it_not(
    project: Project, openbao: OpenBao, tmp_path: Path
) -> None:
    """The pinned package goes into a folder beside the project, and after_script finds it there."""
    watch = Watch(openbao)
    wheel(tmp_path)
    bare = without_command(project, tmp_path)
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    ran = bare.run("migrate", **pip)
    assert ran.code == 0, ran.output
    assert "nothing to revoke: " in ran.output
    assert list(project.builds.iterdir()) == []
    watch.assert_revoked()


def test_python_variables_do_not_steer_what_is_installed(
    project: Project, openbao: OpenBao, tmp_path: Path
) -> None:
    """Code that PYTHONPATH would have Python load at its start is not loaded by ours."""
    watch = Watch(openbao)
    wheel(tmp_path)
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(66)")
    bare = without_command(project, tmp_path)
    before = bare.expanded()["migrate"]["before_script"]
    lines = [f"export PYTHONPATH={tmp_path}", "ci-identity exec --grant migrate-db -- make migrate"]
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    script = bare.shell([*before, *lines], **pip)
    output, _ = script.communicate()
    assert script.returncode == 0, output
    watch.assert_revoked()


def test_the_users_own_python_stays_first(project: Project, tmp_path: Path) -> None:
    """What is installed for us is no `python` or `pip` of the job's script."""
    wheel(tmp_path)
    bare = without_command(project, tmp_path)
    before = [*bare.expanded()["migrate"]["before_script"], "command -v python3 pip"]
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    output, _ = bare.shell(before, **pip).communicate()
    assert f"{tmp_path}/image/python3\n" in output
    assert str(project.builds) not in output


def test_a_python_that_is_too_old_is_one_clear_line(project: Project, tmp_path: Path) -> None:
    """An image without Python 3.11 fails the job before the script, and after_script copes."""
    bare = without_command(project, tmp_path)
    python = tmp_path / "image" / "python3"
    python.unlink()
    python.symlink_to("/bin/false")
    ran = bare.run("migrate")
    assert ran.code == 1
    assert "ci-identity: python3 is missing, or older than 3.11: use another image" in ran.output
    assert "ci-identity: no grant was asked for" in ran.output


def test_nothing_is_installed_that_nobody_named(project: Project, tmp_path: Path) -> None:
    """Anybody might have the name at the package index that pip asks."""
    pipeline = project.folder / ".gitlab-ci.yml"
    given = pipeline.read_text()
    bare = without_command(project, tmp_path)
    pipeline.write_text(given)
    ran = bare.run("migrate")
    assert ran.code == 1
    assert "ci-identity: it is not in the image: say what pip is to install" in ran.output
    assert "ci-identity: no grant was asked for" in ran.output


def test_the_components_own_pipeline(project: Project, tmp_path: Path) -> None:
    """In its own project the component of the commit is the one that is tried."""
    own = replace(project, folder=tmp_path / "component")
    shutil.copytree(COMPONENT, own.folder)
    make_repository(own.folder, "acme/ci-identity")
    ran = own.run("whoami")
    assert ran.code == 0, ran.output
    assert re.search(r"whoami > +repository +acme/shop\n", ran.output)
    assert "ci-identity: no grant was asked for" in ran.output


# ── the component's file ─────────────────────────────────────────────────────────────────────

OTHER = """\
include:
  - local: ci/exec.yml
    inputs: {audience: https://one.example}
  - local: ci/exec.yml
    inputs:
      {audience: https://two.example, job: .two, timeout: 30m, script-timeout: 25m, package: x==1}
one: {extends: .ci-identity, script: [true]}
two: {extends: .two, script: [true]}
""".replace("[true]", "['true']")


def test_two_includes_under_two_names(project: Project) -> None:
    """A second include, for another audience, does not change the jobs of the first."""
    (project.folder / "two.yml").write_text(OTHER)
    jobs = project.expanded("--file", "two.yml")
    audiences = [jobs[name]["id_tokens"]["CI_IDENTITY_TOKEN"]["aud"] for name in ("one", "two")]
    assert audiences == ["https://one.example", "https://two.example"]
    assert [jobs[name]["timeout"] for name in ("one", "two")] == ["1h", "30m"]
    assert jobs["two"]["variables"]["RUNNER_SCRIPT_TIMEOUT"] == "25m"
    assert '"x==1"' in jobs["two"]["before_script"][0]
    assert "x==1" not in jobs["one"]["before_script"][0]


def test_there_is_time_for_after_script(project: Project) -> None:
    """GitLab runs after_script only if the limits of both scripts fit into the job's."""
    job = project.expanded()["migrate"]
    minutes = {"1h": 60, "55m": 55, "2m": 2}
    script, after = (
        minutes[job["variables"][f"RUNNER_{name}_TIMEOUT"]] for name in ("SCRIPT", "AFTER_SCRIPT")
    )
    assert script + after < minutes[job["timeout"]]


def test_the_version_is_the_packages() -> None:
    """The example's component is this version."""
    (version,) = re.findall(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text())
    assert f"/exec@{version}\n" in (EXAMPLE / ".gitlab-ci.yml").read_text()


def test_every_input_is_described() -> None:
    """Who includes it is told what each input is for, and uses each of them."""
    header, body = (COMPONENT / "templates" / "exec.yml").read_text().split("\n---\n")
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    assert all(entry["description"] for entry in inputs.values())
    assert set(inputs) == set(re.findall(r"\$\[\[ inputs\.([a-z-]+) \]\]", body))


# ── linters ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [(), INCLUDE], ids=["component", "include"])
def test_the_pipeline_is_valid_by_gitlabs_schema(
    project: Project, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """What GitLab makes of the example is what its own JSON Schema allows."""
    check_schema(tmp_path, yaml.safe_dump(project.expanded(*words)))


@pytest.mark.parametrize(
    "path",
    sorted([*COMPONENT.rglob("*.yml"), *EXAMPLE.glob("*gitlab-ci.yml")]),
    ids=lambda path: path.name,
)
def test_every_file_is_valid_by_gitlabs_schema(path: Path, tmp_path: Path) -> None:
    """Each document of each file that we ship, header and body."""
    for text in path.read_text().split("\n---\n"):
        check_schema(tmp_path, text)


def check_schema(folder: Path, text: str) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    file = folder / ".gitlab-ci.yml"
    file.write_text(text)
    options = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    done = subprocess.run(
        [sys.executable, "-I", "-m", "check_jsonschema", *options, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
