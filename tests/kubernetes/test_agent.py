"""A Kubernetes grant that the job's agent holds: its steps find the file, and others do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob, Said
from tests.kubernetes.server import KubernetesWorld
from tests.kubernetes.test_step import KUBECTL, KUBERC, grants_file
from tests.step import COMMAND, Job

GET = (KUBECTL, "get", "configmaps", "-o", "name")


@pytest.fixture
def job(world: World, kubernetes: KubernetesWorld, tmp_path: Path) -> Iterator[GitHubJob]:
    """A job of acme/shop; its agent holds both grants for the step `deploy`."""
    kubernetes.cluster.trust(str(github_claims(world.issuer.address, None, {})["sub"]))
    (tmp_path / "grants.yml").write_text(grants_file(kubernetes, world.issuer.address))
    with GitHubJob(Job.of(world, tmp_path / "state").environ, tmp_path) as job:
        job.environ |= {"CI_IDENTITY_GRANTS": str(tmp_path / "grants.yml"), "HOME": str(tmp_path)}
        succeeded(job.start_agent("rollout", "again", steps=("deploy",)))
        yield job


def succeeded(said: Said) -> Said:
    assert said.code == 0, said.log
    return said


def test_the_named_step_works_with_the_cluster(job: GitHubJob, kubernetes: KubernetesWorld) -> None:
    """What the later steps are told is where the file is; one token serves them all."""
    succeeded(job.run("deploy", *GET))
    succeeded(job.run("deploy", *GET))
    assert len(kubernetes.cluster.issued) == 2  # one for each grant
    told = job.told("GITHUB_ENV")
    assert set(told) == {"CI_IDENTITY_AGENT", "KUBECONFIG", "KUBE_CONFIG_PATH", "KUBERC"}
    assert "kubeconfig-rollout" in str(told)


def test_planted_preferences_lead_nowhere(
    job: GitHubJob, kubernetes: KubernetesWorld, tmp_path: Path
) -> None:
    """An earlier step may write kubectl's file of options: the token is not shown to its server."""
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/kuberc").write_text(KUBERC)
    succeeded(job.run("deploy", *GET))
    assert [call.status for call in kubernetes.of("GET", "/configmaps")] == [200]


def test_another_step_gets_no_token(job: GitHubJob, kubernetes: KubernetesWorld) -> None:
    """It can read the file, and is refused: by kubectl's words too."""
    said = job.run("build", *GET)
    assert said.code != 0
    assert "this process is not one of the step" in said.log
    assert kubernetes.of("GET") == []


@pytest.mark.parametrize("grant", ["rollout", "again"])
def test_exec_takes_the_token_from_the_agent(
    job: GitHubJob, kubernetes: KubernetesWorld, grant: str
) -> None:
    """The named grant's, though exec hides the agent from its command; nothing more is asked."""
    said = job.run(
        "deploy", *COMMAND, "exec", "--grant", grant, "--",
        "sh", "-c", f"{KUBECTL} config current-context && {' '.join(GET)}",
    )  # fmt: skip
    assert succeeded(said).stdout.splitlines()[-1] == grant
    assert len(kubernetes.cluster.issued) == 2


def test_the_end_of_the_job(job: GitHubJob, kubernetes: KubernetesWorld) -> None:
    """The agent deletes the Secrets and removes the files; `revoked` is what is said."""
    path = Path(job.environ["KUBECONFIG"])
    assert path.exists()
    assert "revoked; its Secret is gone" in succeeded(job.stop_agent()).log
    assert not path.exists()
    assert kubernetes.cluster.of("secrets") == {}
    assert job.run("deploy", *GET).code != 0
