"""Azure DevOps's source against a server that answers with real bytes over loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci_identity.errors import (
    AudienceError,
    IdTokenPermissionError,
    InsecureAddressError,
    TokenRequestError,
)
from ci_identity.model import SubjectToken
from ci_identity.sources.azure_devops import AUDIENCE, AzureDevOpsSource
from ci_identity.sources.claims import identify

Sign = Callable[..., str]
CLAIMS: dict[str, object] = {
    "iss": "https://vstoken.dev.azure.com/0ca3ddd9-f0b0-4635-a98c-5866526961b6",
    "sub": "p://acme/shop/deploy",
    "aud": AUDIENCE,
    "org_id": "0ca3ddd9-f0b0-4635-a98c-5866526961b6",
    "prj_id": "271ef6f7-5998-4b0f-86fb-4b54d9129990",
    "def_id": "1",
    "rpo_id": "acme/shop",
    "rpo_uri": "https://github.com/acme/shop.git",
    "rpo_ver": "c291ea713801eb300054d353d279e7b02331f671",
    "rpo_ref": "refs/heads/main",
    "run_id": "5",
}
"""As in a real token (goteleport.com, RFD 211)."""


@dataclass(slots=True)
class Server:
    """Azure DevOps, as far as one job's token goes."""

    address: str = ""
    body: object = None
    status: int = 200
    asked: list[tuple[str, str, dict[str, str]]] = field(
        default_factory=list[tuple[str, str, dict[str, str]]]
    )

    def environ(self, **others: str) -> dict[str, str]:
        """Return the variables of a step that maps the job's access token."""
        path = "271ef6f7/_apis/distributedtask/hubs/build/plans/p/jobs/j/oidctoken"
        return {
            "TF_BUILD": "True",
            "SYSTEM_OIDCREQUESTURI": f"{self.address}/{path}",
            "SYSTEM_ACCESSTOKEN": "access-0123456789",
            **others,
        }


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"])).decode()
            server.asked.append((self.path, content, dict(self.headers)))
            body = json.dumps(server.body).encode()
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "600")  # longer than we wait
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        server.address = f"http://127.0.0.1:{running.server_port}"
        yield server
        running.shutdown()


def _fetch(
    environ: dict[str, str], now: datetime, audience: str | None = AUDIENCE
) -> SubjectToken | None:
    return AzureDevOpsSource(environ, now=lambda: now, pause=lambda _: None).fetch(audience)


def test_the_server_is_asked_with_the_jobs_bearer(
    server: Server, sign: Sign, now: datetime
) -> None:
    """A POST of the version that has it, and no sign-in page in place of an answer."""
    token = sign(**CLAIMS)
    server.body = {"oidcToken": token}
    found = _fetch(server.environ(), now)
    assert found is not None
    assert (found.token.reveal(), found.source) == (token, "azure-devops")
    ((path, content, headers),) = server.asked
    assert path.endswith("/oidctoken?api-version=7.1-preview.1")
    assert content == "{}"
    assert headers["Authorization"] == "Bearer access-0123456789"
    assert headers["X-TFS-FedAuthRedirect"] == "Suppress"
    assert headers["Content-Type"] == "application/json"


def test_an_address_with_a_query_keeps_it(server: Server, sign: Sign, now: datetime) -> None:
    """The version is added to what is there."""
    server.body = {"oidcToken": sign(**CLAIMS)}
    _fetch(server.environ(SYSTEM_OIDCREQUESTURI=f"{server.address}/t?a=b"), now)
    assert server.asked[0][0] == "/t?a=b&api-version=7.1-preview.1"


def test_its_claims_give_a_job(server: Server, sign: Sign, now: datetime) -> None:
    """Repositories may be elsewhere, so they are told by their address."""
    server.body = {"oidcToken": sign(**CLAIMS)}
    found = _fetch(server.environ(SYSTEM_DEBUG="true"), now, None)
    assert found is not None
    job = identify(found)
    assert (job.repository, job.repository_id) == ("https://github.com/acme/shop.git", "acme/shop")
    assert (job.ref, job.run, job.fork, job.debug) == ("refs/heads/main", "5", False, True)


@pytest.mark.parametrize(
    ("ref", "is_fork", "expected"),
    [
        ("refs/heads/main", "", False),
        ("refs/tags/v1", "False", False),
        ("refs/pull/7/merge", "False", False),
        ("refs/pull/7/merge", "True", True),
        ("refs/heads/main", "True", True),
        ("refs/pull/7/merge", "", None),
        (None, "", None),
    ],
)
def test_a_fork_is_told_by_ref_and_variable(
    server: Server,
    sign: Sign,
    now: datetime,
    *,
    ref: str | None,
    is_fork: str,
    expected: bool | None,
) -> None:
    """A pull request's ref alone does not say whose it is."""
    server.body = {"oidcToken": sign(**CLAIMS | {"rpo_ref": ref})}
    found = _fetch(server.environ(SYSTEM_PULLREQUEST_ISFORK=is_fork), now)
    assert found is not None
    assert identify(found).fork is expected


def test_another_audience_cannot_be_had(server: Server, sign: Sign, now: datetime) -> None:
    """The hint has the one that there is."""
    server.body = {"oidcToken": sign(**CLAIMS)}
    with pytest.raises(AudienceError, match=r"vault was asked for") as caught:
        _fetch(server.environ(), now, "vault")
    assert f"audience: {AUDIENCE}" in caught.value.hint


@pytest.mark.parametrize("name", ["SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI"])
def test_a_step_without_the_jobs_token_is_told(server: Server, now: datetime, name: str) -> None:
    """It must be mapped in the step, which is what most forget."""
    with pytest.raises(IdTokenPermissionError, match=rf"no {name}$") as caught:
        _fetch(server.environ(**{name: ""}), now)
    assert "$(System.AccessToken)" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"message": "hunter2"}, "answered 401"),
        (500, {"message": "hunter2"}, "answered 500"),
        (302, {}, "answered 302"),
        (200, {"value": "hunter2"}, "no oidcToken"),
        (200, ["hunter2"], "no oidcToken"),
    ],
)
def test_an_answer_without_a_token_is_told(
    server: Server, now: datetime, status: int, body: object, said: str
) -> None:
    """With the host and the status, and nothing of the answer."""
    server.status, server.body = status, body
    with pytest.raises(
        TokenRequestError, match=rf"^Azure DevOps's token endpoint: .*{said}"
    ) as caught:
        _fetch(server.environ(), now)
    assert "hunter2" not in f"{caught.value!r}"
    assert "access-0123456789" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_outside_azure_it_says_nothing_and_plain_http_is_refused(now: datetime) -> None:
    """The job's access token is worth more than its id token."""
    assert _fetch({"SYSTEM_ACCESSTOKEN": "x"}, now) is None
    environ = {
        "TF_BUILD": "True",
        "SYSTEM_OIDCREQUESTURI": "http://dev.azure.com/t",
        "SYSTEM_ACCESSTOKEN": "x",
    }
    with pytest.raises(InsecureAddressError, match="SYSTEM_OIDCREQUESTURI"):
        _fetch(environ, now)
