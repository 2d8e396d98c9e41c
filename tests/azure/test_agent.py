"""An Azure grant that the job's agent holds: who has it, and that no step's variables do."""

from pathlib import Path

from tests.agent.job import GitHubJob
from tests.azure.entra import Entra
from tests.azure.test_step import DEFAULT, READ, exec_with, python
from tests.step import Job


def test_later_step_has_it_by_exec(job: Job, entra: Entra, tmp_path: Path) -> None:
    """The step's command finds the agent's endpoint; nothing was asked of Entra for it."""
    with GitHubJob(job.environ, tmp_path) as github:
        assert github.start_agent("rotate").code == 0
        said = github.run("deploy", *exec_with("rotate"), *python(DEFAULT, READ))
        assert "200 {'value': 'of-the-key-vault'}" in said.stdout, said.log
        assert github.stop_agent().code == 0
    assert entra.numbers == [0]


def test_nothing_is_in_the_jobs_environment(job: Job, tmp_path: Path) -> None:
    """The protocol wants its bearer in a variable, which every step would have."""
    with GitHubJob(job.environ, tmp_path) as github:
        assert github.start_agent("rotate").code == 0
        assert set(github.told("GITHUB_ENV")) == {"CI_IDENTITY_AGENT"}
