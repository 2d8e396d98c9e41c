"""What Kubernetes' clients are handed: a kubeconfig, and what its exec plugin is answered."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_identity.agent.instance import Instance
from ci_identity.delivery.endpoint import Asked, Peer, Reply, Request
from ci_identity.delivery.interface import Door
from ci_identity.delivery.kubernetes import KubernetesOffer, exec_answer
from ci_identity.model import KubernetesTarget, KubernetesToken
from ci_identity.secret import Secret

TARGET = KubernetesTarget(
    server="https://k8s.acme.example", namespace="shop", service_account="deployer", audience="acme"
)
ENDS = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
TOKEN = KubernetesToken(token=Secret("the.account's.token"), expires_at=ENDS)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(
        address="http://127.0.0.1:1",
        bearer=Secret("the-bearer"),
        folder=tmp_path,
        command=["/a b/python", "-I", "-m", "ci_identity"],
    )


def offer(grant: str = "rollout", target: KubernetesTarget = TARGET) -> KubernetesOffer:
    return KubernetesOffer(grant=grant, target=target, token=lambda: TOKEN)


def test_kubeconfig_names_cluster_namespace_and_plugin(door: Door) -> None:
    """One context, called as the grant; the command is this very ci-identity."""
    config = json.loads(offer().files(door, [offer()])["kubeconfig-rollout"])
    (cluster,), (user,), (context,) = (config[name] for name in ("clusters", "users", "contexts"))
    assert cluster["cluster"] == {"server": "https://k8s.acme.example"}
    assert context["context"]["namespace"] == "shop"
    assert config["current-context"] == context["name"] == "rollout"
    plugin = user["user"]["exec"]
    assert plugin["apiVersion"] == "client.authentication.k8s.io/v1"
    assert plugin["command"] == "/a b/python"
    assert plugin["args"] == [
        "-I", "-m", "ci_identity", "credential", "--grant", "rollout",
        "--format", "kubernetes-exec", "--endpoint", str(door.folder),
    ]  # fmt: skip


def test_ca_is_in_the_kubeconfig_itself(door: Door, tmp_path: Path) -> None:
    """So that a step that checks out something else has the same."""
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN\n")
    target = KubernetesTarget(
        server="https://k", namespace="n", service_account="a", audience="a",
        ca_file=str(tmp_path / "ca.pem"),
    )  # fmt: skip
    text = offer(target=target).files(door, [offer(target=target)])["kubeconfig-rollout"]
    data = json.loads(text)["clusters"][0]["cluster"]["certificate-authority-data"]
    assert base64.b64decode(data) == b"-----BEGIN\n"


def test_no_secret_is_in_a_kubeconfig(door: Door) -> None:
    """Neither the token nor the bearer: kubectl prints all of a plugin's settings."""
    offers = [offer(), offer("again")]
    files = offers[0].files(door, offers)
    for name in ("kubeconfig-rollout", "kubeconfig-again"):
        assert "the-bearer" not in files[name]
        assert TOKEN.token.reveal() not in files[name]


def test_folder_leads_the_plugin_to_the_endpoint(door: Door) -> None:
    """As an agent's folder does, which is read by the same code."""
    for name, text in offer().files(door, [offer()]).items():
        (door.folder / name).write_text(text)
    assert Instance(door.folder).door() == (door.address, door.bearer)


def test_variables_name_the_files_of_all(door: Door) -> None:
    """kubectl joins them, and the first one's context is the current one."""
    offers = [offer(), offer("again")]
    given = offers[0].variables(door, offers)
    folder = door.folder
    texts = {name: one.value.reveal() for name, one in given.items()}
    assert texts == {
        "KUBECONFIG": f"{folder}/kubeconfig-rollout:{folder}/kubeconfig-again",
        "KUBE_CONFIG_PATH": f"{folder}/kubeconfig-rollout",
    }
    assert all(one.is_public for one in given.values())
    job_wide = dict.fromkeys(texts, f"{folder}/kubeconfig-again")
    assert offers[1].pointers(door, Path("/bearer")) == job_wide | {"KUBERC": "off"}


def test_answer_is_what_client_go_expects(door: Door) -> None:
    """An ExecCredential; clients ask anew a minute before the end, when there is another."""
    route = offer().routes(door)["/kubernetes/rollout"]
    assert route.bearer_header == "Authorization"
    asked = Asked(request=Request(method="GET", path="/kubernetes/rollout"), peer=Peer())
    reply = route.answer(asked)
    assert isinstance(reply, Reply)
    assert json.loads(reply.body) == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "token": "the.account's.token",
            "expirationTimestamp": "2026-11-22T11:59:30Z",
        },
    }
    assert exec_answer(TOKEN) == reply.body.decode()
