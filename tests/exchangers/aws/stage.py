"""One exchange as its caller sees it, and an STS that answers as it is told."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ci_identity.exchangers.aws import AwsCredential, AwsExchanger
from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.model import (
    AwsTarget,
    Grant,
    Handle,
    JobIdentity,
    SubjectToken,
    UnverifiedClaims,
    Wanted,
)
from ci_identity.sandbox.claims import github_claims, gitlab_claims
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify

GITHUB = "https://token.actions.githubusercontent.com"
ROLE = "arn:aws:iam::123456789012:role/ci/deploy-web"
LEASE = "0123456789abcdef"
NAME = f"acme.shop-9001.1-31337-deploy-web-{LEASE}"
ROLE_ID = "AROAEXAMPLEEXAMPLE123"
KEY_ID, KEY, TOKEN = "ASIAEXAMPLEEXAMPLE12", "an/example+secret+key", "an/example+session+token=="
JWT = "ey.the-token-of-the-job.x"


def job(**claims: Any) -> JobIdentity:
    """Return a job of GitHub Actions with these claims."""
    return identify(subject_token(**claims))


def gitlab_job(issuer: str, **claims: Any) -> JobIdentity:
    """Return a job of a GitLab with these claims."""
    found = UnverifiedClaims(gitlab_claims(issuer, "sts.amazonaws.com", claims))
    return identify(SubjectToken(token=Secret(JWT), claims=found, source="gitlab"))


def subject_token(
    jwt: str = JWT, *, issuer: str = GITHUB, aud: str = "sts.amazonaws.com", **claims: Any
) -> SubjectToken:
    """Return the token of a job of GitHub Actions with these claims."""
    found = UnverifiedClaims(github_claims(issuer, aud, claims))
    return SubjectToken(token=Secret(jwt), claims=found, source="github")


def target(**changes: Any) -> AwsTarget:
    """Return the grant's `aws:`, but for `changes`."""
    return AwsTarget(**({"role": ROLE, "region": "eu-west-1"} | changes))


@dataclass
class Stage:
    """One exchange: what it is asked, and everything that it told its caller.

    Attributes:
        mints: the tokens that minting again gives, in order; the last one for ever.
        events: `hold` and `record`, in the order in which they came.
        now: the machine's clock.
    """

    target: AwsTarget = field(default_factory=target)
    token: SubjectToken = field(default_factory=subject_token)
    mints: list[SubjectToken] = field(default_factory=list[SubjectToken])
    ttl: timedelta = timedelta(minutes=15)
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    held: list[Credential] = field(default_factory=list[Credential])
    handles: list[Handle] = field(default_factory=list[Handle])
    events: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    pauses: list[float] = field(default_factory=list[float])
    minted: int = 0

    def exchange(self) -> AwsCredential:
        """Exchange the token, and return what came of it."""
        return self.exchanger().exchange(self.request)

    def exchanger(self) -> AwsExchanger:
        """Return an exchanger that knows nothing yet."""
        return AwsExchanger(self.target, self.environ, now=self.now)

    def refuse(self) -> Exception:
        """Return what the exchange raises, whose words hold no token and none of AWS's."""
        try:
            self.exchange()
        except Exception as error:  # noqa: BLE001  # the caller says which one it must be
            said = f"{error!r}{error}{getattr(error, 'cause', '')}{getattr(error, 'hint', '')}"
            said += f"{self.warnings}{self.notes}{error.__cause__}"
            for text in (JWT, KEY, TOKEN, "WORDS"):
                assert text not in said
            return error
        raise AssertionError(self.handles)

    @property
    def request(self) -> ExchangeRequest:
        """What the exchanger is asked for."""
        conditions = {"repository": (Wanted(text="acme/shop"),)}
        return ExchangeRequest(
            grant=Grant(name="deploy-web", conditions=conditions, target=self.target),
            subject_token=self.token,
            mint=self._mint,
            identity=identify(self.token),
            step="deploy",
            ttl=self.ttl,
            lease_id=LEASE,
            hold=self._hold,
            record=self._record,
            warn=self.warnings.append,
            note=self.notes.append,
            pause=self.pauses.append,
        )

    def _mint(self) -> SubjectToken:
        self.minted += 1
        return self.mints.pop(0) if len(self.mints) > 1 else (self.mints or [self.token])[0]

    def _hold(self, credential: Credential) -> None:
        self.events.append("hold")
        self.held.append(credential)

    def _record(self, handle: Handle) -> None:
        self.events.append("record")
        self.handles.append(handle)


# ── an STS ───────────────────────────────────────────────────────────────────────────────────


def answer(form: Mapping[str, str], *, ahead: float = 0, **changes: str) -> str:
    """Return the answer of STS to `form`, but for `changes` to single elements.

    Its clock is `ahead` seconds ahead of the true time.
    """
    role = form["RoleArn"].rpartition("/")[2]
    ends = datetime.fromtimestamp(time.time() + ahead + int(form["DurationSeconds"]), UTC)
    name = form["RoleSessionName"]
    said = {
        "SubjectFromWebIdentityToken": "repo:acme/shop",
        "Audience": "sts.amazonaws.com",
        "Arn": f"arn:aws:sts::123456789012:assumed-role/{role}/{name}",
        "AssumedRoleId": f"{ROLE_ID}:{name}",
        "PackedPolicySize": "6" if "Policy" in form or "PolicyArns.member.1.arn" in form else "",
        "AccessKeyId": KEY_ID,
        "SecretAccessKey": KEY,
        "SessionToken": TOKEN,
        "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
    } | changes
    xml = {name: f"<{name}>{escape(text)}</{name}>" if text else "" for name, text in said.items()}
    user = f"<AssumedRoleUser>{xml.pop('AssumedRoleId')}{xml.pop('Arn')}</AssumedRoleUser>"
    keys = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    credentials = f"<Credentials>{''.join(xml.pop(key) for key in keys)}</Credentials>"
    result = "".join(xml.values()) + user + credentials
    return (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n'
        f"  <AssumeRoleWithWebIdentityResult>{result}</AssumeRoleWithWebIdentityResult>\n"
        "  <ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>"
        "</ResponseMetadata>\n</AssumeRoleWithWebIdentityResponse>\n"
    )


def refusal(code: str, text: str = "") -> str:
    """Return an error of STS."""
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <Error>\n'
        f"    <Type>Sender</Type>\n    <Code>{escape(code)}</Code>\n"
        f"    <Message>{escape(text)} WORDS {JWT}</Message>\n  </Error>\n"
        "  <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n</ErrorResponse>\n"
    )


class Sts:
    """An STS on loopback.

    Attributes:
        address: where it listens.
        asked: method, path, headers and form of every request.
        connections: how many there were.
        faults: what the next requests are answered with, instead of with a session.
        changes: single elements of the sessions it gives.
        ahead: how far its clock is ahead of the true time, in seconds.
        is_over: is set at the end, for those who wait.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        self.connections = 0
        self.faults: list[Fault] = []
        self.changes: dict[str, str] = {}
        self.ahead: float = 0
        self.is_over = Event()
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.sts = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def form(self) -> dict[str, str]:
        """The last form."""
        return self.asked[-1][3]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    sts: Sts

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sts.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sts = self.server.sts
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        fields = parse_qs(body, keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, (value,) in fields.items()}
        sts.asked.append((self.command, self.path, dict(self.headers), form))
        if sts.faults:
            sts.faults.pop(0)(self)
        else:
            say(self, 200, answer(form, ahead=sts.ahead, **sts.changes))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


Fault = Callable[[_Request], None]


def say(request: _Request, status: int, body: str) -> None:
    """Send this answer; a cookie comes with it, as from a load balancer."""
    request.send_response(status)
    request.send_header("Content-Type", "text/xml")
    request.send_header("Set-Cookie", "sticky=1; Path=/")
    request.send_header("Content-Length", str(len(body.encode())))
    request.end_headers()
    request.wfile.write(body.encode())


def says(status: int, body: str) -> Fault:
    """Return the fault of answering so."""
    return lambda request: say(request, status, body)


def reset(request: _Request) -> None:
    """Break the connection off."""
    request.close_connection = True
    request.connection.close()


def hang(request: _Request) -> None:
    """Take the request, and never answer."""
    request.server.sts.is_over.wait(60)
