"""How Kubernetes' clients are handed a token: a kubeconfig whose exec plugin asks our endpoint.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from ci_identity._record import Record
from ci_identity.delivery.endpoint import Route
from ci_identity.delivery.interface import ADDRESS_FILE, BEARER_FILE, Door, delivered
from ci_identity.delivery.message import Reply
from ci_identity.model import Delivered, KubernetesTarget, KubernetesToken

EXEC_FORMAT = "kubernetes-exec"

_API = "client.authentication.k8s.io/v1"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SPARE = timedelta(minutes=1)
"""How long before its end clients ask anew: there is another by then, and clocks differ."""


class KubernetesOffer(Record):
    """One grant's token, as it is on offer to the child.

    Attributes:
        grant: the grant's name, which is also the context's.
        target: what the grant is for.
        token: returns the token as it is now. It raises a `CiIdentityError` if there is none.
    """

    grant: str
    target: KubernetesTarget
    token: Callable[[], KubernetesToken]

    @property
    def summary(self) -> str:
        """What the child finds, in a few words for people."""
        return f"a KUBECONFIG for the namespace {self.target.namespace}, without a token in it"

    @property
    def path(self) -> str:
        """Where the token is served."""
        return f"/kubernetes/{self.grant}"

    @property
    def file(self) -> str:
        """The name of the kubeconfig in the private folder."""
        return f"kubeconfig-{self.grant}"

    def routes(self, door: Door) -> Mapping[str, Route]:  # noqa: ARG002  # as `Offer` has it
        """Return what is served, by path."""
        return {
            self.path: Route(
                answer=lambda _: Reply(status=200, body=exec_answer(self.token()).encode())
            )
        }

    def files(self, door: Door, among: "Sequence[KubernetesOffer]") -> Mapping[str, str]:
        """Return a kubeconfig for each grant, and what leads its plugin to the endpoint.

        Not by variables: a kubeconfig that a job's agent wrote is used under `exec` too, where
        those lead to another endpoint; and tools start their plugins with few of them.
        """
        way = {ADDRESS_FILE: door.address, BEARER_FILE: door.bearer.reveal()}
        return way | {offer.file: json.dumps(offer.config(door), indent=2) for offer in among}

    def config(self, door: Door) -> Mapping[str, object]:
        """Return the kubeconfig, in which there is no secret.

        Raises:
            OSError: the cluster's CA cannot be read.
        """
        cluster = {"server": self.target.server}
        if self.target.ca_file:
            authority = Path(self.target.ca_file).read_bytes()
            cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        command, *words = door.command
        ask = ["credential", "--grant", self.grant, "--format", EXEC_FORMAT]
        plugin = {
            "apiVersion": _API,
            "command": command,
            "args": [*words, *ask, "--endpoint", str(door.folder)],
            "interactiveMode": "Never",
            "provideClusterInfo": False,
        }
        context = {
            "cluster": self.grant,
            "user": self.grant,
            "namespace": self.target.namespace,
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.grant, "cluster": cluster}],
            "users": [{"name": self.grant, "user": {"exec": plugin}}],
            "contexts": [{"name": self.grant, "context": context}],
            "current-context": self.grant,
        }

    def variables(self, door: Door, among: "Sequence[KubernetesOffer]") -> Mapping[str, Delivered]:
        """Return the variables of a child; the first grant of several is the current context."""
        paths = [str(door.folder / offer.file) for offer in among]
        # Terraform's provider reads no KUBECONFIG.
        return delivered({"KUBECONFIG": os.pathsep.join(paths), "KUBE_CONFIG_PATH": paths[0]})

    def pointers(self, door: Door, bearer_file: Path) -> Mapping[str, str]:
        """Return the variables of a whole job: where the file is, which has no secret in it."""
        del bearer_file
        path = str(door.folder / self.file)
        # ~/.kube/kuberc could lead kubectl, and with it the token, to another server.
        return {"KUBECONFIG": path, "KUBE_CONFIG_PATH": path, "KUBERC": "off"}


def exec_answer(token: KubernetesToken) -> str:
    """Return what a client expects of its plugin (ExecCredential, v1)."""
    status = {
        "token": token.token.reveal(),
        "expirationTimestamp": f"{token.expires_at - _SPARE:{_TIME}}",
    }
    return json.dumps({"apiVersion": _API, "kind": "ExecCredential", "status": status})
