"""What names no CI job: pods, SPIFFE IDs, machines. Real files; a real Workload API on a socket."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it comes without types
import pytest
from spiffe._proto import workload_pb2, workload_pb2_grpc

from ci_identity.errors import (
    AudienceError,
    IdTokenMissingError,
    MalformedTokenError,
    MissingDependencyError,
    TokenFileError,
    TokenRequestError,
)
from ci_identity.model import SourceName
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify
from ci_identity.sources.kubernetes import KubernetesSource
from ci_identity.sources.machine import MachineSource
from ci_identity.sources.spiffe import SpiffeSource

Sign = Callable[..., str]
_LATER = int(datetime.now(UTC).timestamp()) + 86_400
"""The library looks at the clock itself."""
POD: dict[str, object] = {
    "iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/0123",
    "sub": "system:serviceaccount:ci:deployer",
    "aud": ["vault"],
    "kubernetes.io": {
        "namespace": "ci",
        "node": {"name": "node-1", "uid": "n"},
        "pod": {"name": "runner-7", "uid": "p"},
        "serviceaccount": {"name": "deployer", "uid": "s"},
    },
}

# ── Kubernetes ───────────────────────────────────────────────────────────────────────────────


def _volume(folder: Path, token: str) -> Path:
    """Make a projected volume as a kubelet does: token -> ..data/token, ..data -> ..2026."""
    data = folder / "..2026_11_01"
    data.mkdir()
    (data / "token").write_text(token)
    (folder / "..data").symlink_to(data.name)
    (folder / "token").symlink_to("..data/token")
    return folder / "token"


def test_a_pods_token_names_a_workload(tmp_path: Path, sign: Sign, now: datetime) -> None:
    """Pod and account, but no repository; and whose code it runs cannot be told."""
    environ = {"CI_IDENTITY_TOKEN_FILE": str(_volume(tmp_path, sign(**POD)))}
    job = identify(KubernetesSource(environ, now=lambda: now).fetch("vault"))
    assert (job.source, job.workload) == ("kubernetes", SourceName.KUBERNETES)
    assert (job.subject, job.repository, job.fork) == (POD["sub"], None, None)


def test_a_pods_token_is_one_however_it_is_handed_over(
    tmp_path: Path, sign: Sign, now: datetime
) -> None:
    """A file that is named by hand does not make a job of it."""
    del now
    token = sign(**POD | {"exp": _LATER})
    for environ in (
        {"CI_IDENTITY_TOKEN_FILE": str(_volume(tmp_path, token))},
        {"CI_IDENTITY_TOKEN": token},
    ):
        assert identify(fetch(sources(environ), "vault")).workload == "kubernetes"


def test_without_a_file_the_volume_is_explained() -> None:
    """The pod's default token is never taken in its place."""
    with pytest.raises(TokenFileError, match=r"^CI_IDENTITY_TOKEN_FILE does not name") as caught:
        KubernetesSource({}).fetch("vault")
    assert "serviceAccountToken" in caught.value.hint


# ── machines ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "issuer",
    [
        "https://accounts.google.com",
        "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0",
        "https://a1b2c3d4-0000.tokens.sts.global.api.aws",
    ],
)
def test_a_clouds_own_token_names_a_machine(sign: Sign, now: datetime, issuer: str) -> None:
    """Every process of the machine can have it."""
    environ = {"CI_IDENTITY_TOKEN": sign(iss=issuer)}
    job = identify(MachineSource(environ, now=lambda: now).fetch("vault"))
    assert (job.source, job.workload) == ("machine", SourceName.MACHINE)


def test_a_machines_token_may_be_in_a_file(tmp_path: Path, sign: Sign, now: datetime) -> None:
    """The file first, as everywhere."""
    file = tmp_path / "token"
    file.write_text(sign(jti="file"))
    environ = {"CI_IDENTITY_TOKEN_FILE": str(file), "CI_IDENTITY_TOKEN": sign()}
    found = MachineSource(environ, now=lambda: now).fetch("vault")
    assert (found.claims["jti"], found.source) == ("file", "machine")
    with pytest.raises(IdTokenMissingError, match="no token of the machine"):
        MachineSource({}).fetch("vault")


# ── SPIFFE ───────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Agent:
    """A SPIFFE agent on a Unix socket, built on the library's own server stubs."""

    address: str = ""
    tokens: list[str] = field(default_factory=list[str])
    asked: list[tuple[list[str], str]] = field(default_factory=list[tuple[list[str], str]])


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(address=f"unix://{tmp_path}/agent.sock")

    class WorkloadApi(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
        def FetchJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802  # as in the protocol
            header = dict(context.invocation_metadata()).get("workload.spiffe.io")
            if header != "true":  # SPIFFE_Workload_API.md, section 6
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
            agent.asked.append((list(request.audience), request.spiffe_id))
            if not agent.tokens:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued: hunter2")
            svids = [
                workload_pb2.JWTSVID(spiffe_id="spiffe://acme.example/ci", svid=token)
                for token in agent.tokens
            ]
            return workload_pb2.JWTSVIDResponse(svids=svids)

    server = grpc.server(ThreadPoolExecutor(2))
    add = workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server
    add(WorkloadApi(), server)  # type: ignore[no-untyped-call]  # generated
    server.add_insecure_port(agent.address)
    server.start()
    yield agent
    server.stop(None).wait()


def _svid(sign: Sign, **claims: object) -> str:
    base = {"iss": "https://spire.acme.example", "sub": "spiffe://acme.example/ci", "exp": _LATER}
    return sign(**base | claims)


def _spiffe(agent: Agent) -> SpiffeSource:
    return SpiffeSource({"SPIFFE_ENDPOINT_SOCKET": agent.address})


def test_a_jwt_svid_names_a_workload(agent: Agent, sign: Sign) -> None:
    """Asked for with the header that keeps other programs' requests out, for one audience."""
    agent.tokens = [_svid(sign)]
    found = _spiffe(agent).fetch("vault")
    assert found.token.reveal() == agent.tokens[0]
    assert agent.asked == [(["vault"], "")]
    job = identify(found)
    assert (job.source, job.workload) == ("spiffe", SourceName.SPIFFE)
    assert (job.subject, job.repository, job.fork) == ("spiffe://acme.example/ci", None, None)


def test_a_jwt_svid_to_be_looked_at_is_for_nobody(agent: Agent, sign: Sign) -> None:
    """It opens nothing."""
    agent.tokens = [_svid(sign, aud="ci-identity")]
    _spiffe(agent).fetch(None)
    assert agent.asked[0][0] == ["ci-identity"]


def test_an_unknown_workload_is_told(agent: Agent) -> None:
    """Without the agent's own words."""
    with pytest.raises(TokenRequestError, match=r"^the Workload API gave no JWT-SVID$") as caught:
        _spiffe(agent).fetch("vault")
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.cause}"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "names no Unix socket"),
        ("tcp://127.0.0.1:8081", "names no Unix socket"),
        ("/run/agent.sock", "names no Unix socket"),
        ("unix:///no/such/socket", "gave no JWT-SVID"),
    ],
)
def test_a_socket_that_is_none_is_told(address: str, said: str) -> None:
    """TCP as well: the agent could not tell who asks."""
    with pytest.raises(TokenRequestError, match=said) as caught:
        SpiffeSource({"SPIFFE_ENDPOINT_SOCKET": address}).fetch("vault")
    assert "SPIFFE_ENDPOINT_SOCKET" in caught.value.hint


def test_a_token_without_an_issuer_is_explained(agent: Agent, sign: Sign) -> None:
    """SPIRE's default; no grant could name who vouches for it."""
    agent.tokens = [_svid(sign, iss=None)]
    with pytest.raises(MalformedTokenError, match="`iss` is missing") as caught:
        _spiffe(agent).fetch("vault")
    assert "jwt_issuer" in caught.value.hint


def test_a_wrong_audience_is_no_token(agent: Agent, sign: Sign) -> None:
    """The library refuses it before we do."""
    agent.tokens = [_svid(sign, aud="x")]
    with pytest.raises((TokenRequestError, AudienceError)):
        _spiffe(agent).fetch("vault")


def test_the_socket_is_the_jobs_and_not_ours(
    agent: Agent, sign: Sign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would read the variable of our own process."""
    agent.tokens = [_svid(sign)]
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///no/such/socket")
    assert _spiffe(agent).fetch("vault").source == "spiffe"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported only for a grant that asks for it."""
    monkeypatch.setitem(__import__("sys").modules, "spiffe", None)
    with pytest.raises(MissingDependencyError) as caught:
        SpiffeSource({"SPIFFE_ENDPOINT_SOCKET": "unix:///run/agent.sock"}).fetch("vault")
    assert "ci-identity[spiffe]" in caught.value.hint
