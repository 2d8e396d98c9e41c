"""What GitLab does to a job that is cancelled or times out: the script is killed, and after_script
runs in a new shell. gitlab-ci-local cancels nothing, so the lines it expands are run here.
"""

from collections.abc import Iterator
from subprocess import Popen

import pytest

from ci_identity.sandbox.openbao import OpenBao
from tests.gitlab.project import Project
from tests.killing import kill_session, may_revoke
from tests.step import Watch

HANG = "ci-identity exec --grant migrate-db -- sh -c 'echo started; exec sleep 600'"


@pytest.fixture
def may_reclaim(openbao: OpenBao) -> Iterator[None]:
    with may_revoke(openbao):
        yield


def killed(project: Project) -> list[str]:
    """Kill a job in mid-script, and return the lines of its after_script."""
    job = project.expanded()["migrate"]
    script = project.shell([*job["before_script"], HANG])
    assert script.stdout is not None
    for line in script.stdout:
        if line == "started\n":
            break
    kill_session(script.pid)
    script.communicate()
    return list(job["after_script"])


def ended(script: "Popen[str]") -> tuple[int, str]:
    output, _ = script.communicate()
    return script.returncode, output


@pytest.mark.usefixtures("may_reclaim")
def test_after_script_revokes_what_a_killed_script_left(project: Project, openbao: OpenBao) -> None:
    """In its new shell it finds the ledger, logs in once more, and revokes; nothing is left."""
    watch = Watch(openbao)
    after = killed(project)
    code, said = ended(project.shell(after, CI_JOB_STATUS="canceled"))
    assert code == 0, said
    assert "ci-identity: the job's status is canceled\n" in said
    assert "migrate-db: revoked; the server confirmed it\n" in said
    assert list(project.builds.iterdir()) == []
    watch.assert_revoked(logins=2)


def test_after_script_fails_and_says_what_lives(project: Project, openbao: OpenBao) -> None:
    """Where the role may not, it names the handles and their end, fails, and keeps the ledger."""
    watch = Watch(openbao)
    after = killed(project)
    code, said = ended(project.shell(after, CI_JOB_STATUS="canceled"))
    assert code == 9
    assert "migrate-db: NOT revoked (token: refused; a policy of the role must have: " in said
    (left,) = project.builds.iterdir()
    assert (left / "state" / "ledger.jsonl").exists()
    login = said.partition("from outside, revoke accessor:")[2].partition(",")[0]
    openbao.client().auth.token.revoke_accessor(login)
    watch.assert_revoked(logins=2)


def test_a_job_that_was_cancelled_before_its_script(project: Project) -> None:
    """after_script copes where before_script never ran."""
    after = project.expanded()["migrate"]["after_script"]
    code, said = ended(project.shell(after, CI_JOB_STATUS="canceled"))
    assert (code, "ci-identity: no grant was asked for\n" in said) == (0, True)


def test_images_without_bash(project: Project, openbao: OpenBao) -> None:
    """The component's lines are those of a plain POSIX shell."""
    watch = Watch(openbao)
    job = project.expanded()["migrate"]
    for lines in ([*job["before_script"], *job["script"]], job["after_script"]):
        code, said = ended(project.shell(lines, program="sh"))
        assert code == 0, said
    watch.assert_revoked()
