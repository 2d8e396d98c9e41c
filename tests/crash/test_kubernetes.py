"""A job is killed at every point of its work; afterwards `reap` leaves no Secret at the cluster."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_identity.ledger.verify import verify
from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.crash.walk import points, walk
from tests.kubernetes.cluster import ACCOUNT, AUDIENCE, NAMESPACE, Rule
from tests.kubernetes.conftest import kubernetes
from tests.kubernetes.server import KubernetesWorld
from tests.step import COMMAND, Job

__all__ = ["kubernetes"]

EXEC = ("exec", "--grant", "crash", "--", "true")
REAPER = {"repository": "acme/ops", "repository_id": "77", "sub": "repo:acme/ops:reap"}
GRANTS = """\
version: 1
grants:
  crash: {{for: {{issuer: {issuer}, repository_id: 42}}, kubernetes: {target}}}
  reap: {{for: {{issuer: {issuer}, repository_id: 77}}, kubernetes: {target}}}
  elsewhere: {{for: {{issuer: {issuer}, repository_id: 77}}, kubernetes: {elsewhere}}}
"""


@pytest.fixture
def jobs(world: World, kubernetes: KubernetesWorld, tmp_path: Path) -> Callable[..., Job]:
    """Make jobs; the account that the reaper is given a token of may delete Secrets."""
    issuer, cluster = world.issuer.address, kubernetes.cluster
    for claims in ({}, REAPER):
        cluster.trust(str(github_claims(issuer, None, claims)["sub"]))
    account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    cluster.rules[account] = (Rule(verbs=frozenset({"delete"}), resource="secrets"),)
    target = (
        f"{{server: '{kubernetes.server}', ca_file: cluster-ca.pem, audience: {AUDIENCE},"
        f" namespace: {NAMESPACE}, service_account: {ACCOUNT}}}"
    )
    elsewhere = target.replace("127.0.0.1", "localhost")
    grants = tmp_path / "grants.yml"
    grants.write_text(GRANTS.format(issuer=issuer, target=target, elsewhere=elsewhere))
    (tmp_path / "jobs").mkdir()

    def make(name: str, claims: dict[str, str] | None = None) -> Job:
        job = Job.of(world, tmp_path / "jobs" / name, claims=claims)
        job.environ["CI_IDENTITY_GRANTS"] = str(grants)
        return job

    return make


def reap(job: Job, *ledgers: Path, grant: str = "reap", code: int = 0) -> list[dict[str, Any]]:
    words = ["reap", "--grant", grant, "--all", "--json", *map(str, ledgers)]
    done = job.run([*COMMAND, *words])
    assert done.returncode == code, done.stderr.decode()
    return list(json.loads(done.stdout[done.stdout.index(b"[") :]))


@pytest.mark.timeout(600)  # some forty jobs
def test_wherever_a_job_is_killed_no_secret_is_left(
    kubernetes: KubernetesWorld, jobs: Callable[..., Job]
) -> None:
    """Also where the answer that it was made never came to be on record: its name is known."""
    passed = points(jobs("whole"), *EXEC)
    for name in ("/secrets", f"/serviceaccounts/{ACCOUNT}/token"):
        assert any(point.startswith("answered: POST") and name in point for point in passed)
    assert any(point.startswith("answered: DELETE") for point in passed)
    deaths = walk(passed, jobs, EXEC)
    assert kubernetes.cluster.of("secrets")
    ledgers = [death.ledger for death in deaths if death.ledger.exists()]
    reaper = jobs("reaper", REAPER)
    rows = reap(reaper, *ledgers)
    assert kubernetes.cluster.of("secrets") == {}
    assert {row["done"] for row in rows} == {"revoked"}
    assert not any(kubernetes.cluster.takes(token) for token in kubernetes.cluster.issued)
    assert reap(reaper, *ledgers) == []
    for ledger in ledgers:
        verify(ledger)


def test_another_cluster_and_a_right_that_is_missing_are_told(
    kubernetes: KubernetesWorld, jobs: Callable[..., Job]
) -> None:
    """Nothing is said to be over that is not, whatever uid the ledger has for the Secret."""
    (death,) = walk(["written: delivered #1"], jobs, EXEC)
    reaper = jobs("reaper", REAPER)
    (row,) = reap(reaper, death.ledger, grant="elsewhere", code=9)
    assert (row["done"], row["why"]) == ("failed", "it is from another cluster than the grant's")
    account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    may, kubernetes.cluster.rules[account] = kubernetes.cluster.rules[account], ()
    (row,) = reap(reaper, death.ledger, code=9)
    assert row["done"] == "failed"
    assert len(kubernetes.cluster.of("secrets")) == 1
    kubernetes.cluster.rules[account] = may
    (name,) = kubernetes.cluster.of("secrets")
    kubernetes.cluster.of("secrets")[name]["metadata"]["uid"] = "another"
    (row,) = reap(reaper, death.ledger)
    assert row["done"] == "revoked"
    assert kubernetes.cluster.of("secrets") == {}
