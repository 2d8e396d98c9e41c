"""Our own HTTP, over loopback: what steers it, what bounds it, and what it never does."""

import gzip
import ipaddress
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ci_identity import _call, _http
from ci_identity._address import check_address
from ci_identity._answer import Answer
from ci_identity._call import MAX_BODY
from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity.errors import (
    CiIdentityError,
    InsecureAddressError,
    ProviderAnswerError,
    ProviderUnavailableError,
    SettingError,
    TlsError,
    UnansweredError,
    UnsendableError,
)


class Server:
    """A server on loopback whose answers are `answer(request)`; it keeps every request's headers.

    Attributes:
        address: where it listens; https where it has a certificate.
        requests: method, path and headers of each request.
        over: is set when the test ends, for those who answer slowly.
    """

    def __init__(self, answer: "Answering", certificate: Path | None = None) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.over = Event()
        self._server = _HTTPServer(("127.0.0.1", 0), _Request)
        self._server.test = self
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    test: Server

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _HTTPServer  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def _answer(self) -> None:
        test = self.server.test
        test.requests.append((self.command, self.path, dict(self.headers)))
        test.answer(self)

    do_GET = do_POST = do_CONNECT = _answer  # noqa: N815  # names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


Answering = Callable[[_Request], None]


def says(status: int, body: bytes = b"{}", **headers: str) -> Answering:
    """Return an answer; `_` in a header's name stands for `-`."""

    def answer(request: _Request) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def get(server: Server, path: str = "/") -> bytes:
    """Return the body of a GET under our rules."""
    with HttpSession(Network()) as session:
        return session.get(f"{server.address}{path}").body


# ── addresses ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "https://vault.example",
        "https://vault.example:8200/path",
        "https://[2001:db8::1]:8200",
        "http://127.0.0.1:8200",
        "http://127.8.8.8",
        "http://[::1]:8200",
        "http://localhost:8200",
    ],
)
def test_address_of_a_server(url: str) -> None:
    """https anywhere, plain http on this very machine."""
    assert check_address(url, what="vault.address") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0:8200",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "vault.example:8200",
        "//vault.example",
        "",
        "https://",
        "https://vault.example:99999",
        "https://[::1",
        "file:///etc/passwd",
        # Of these, urllib and urllib3 do not see the same host.
        "http://evil.example\\[::1]/",
        "https://good.example\\evil.example",
        "http://[::1].evil.example",
        "http://evil.example[::1]",
        "http://local\nhost",
        "http://[::1%25evil.example]/",
        "https://v.example /",
        "https://v\u00e4ult.example",
    ],
)
def test_address_that_no_token_is_sent_to(url: str) -> None:
    """The error names where the address came from."""
    with pytest.raises(InsecureAddressError, match=r"vault\.address"):
        check_address(url, what="vault.address")


@pytest.mark.parametrize("url", ["https://user@v.example", "https://u:hunter22@v.example"])
def test_address_with_a_password(url: str) -> None:
    """A user or a password in it is refused and not repeated."""
    with pytest.raises(InsecureAddressError) as caught:
        check_address(url, what="VAULT_ADDR")
    assert "hunter22" not in f"{caught.value}{caught.value.cause}{caught.value.hint}"


# ── proxies and CAs ──────────────────────────────────────────────────────────────────────────

URL = "https://vault.acme.example:8200"
PROXY = "http://proxy.acme.example:3128"


def test_proxy_variables_in_their_order() -> None:
    """Lower case before upper, https before all; the name of the one that counts is known."""
    names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    environ = {name: f"http://{number}.example" for number, name in enumerate(names)}
    environ |= {"http_proxy": PROXY, "HTTP_PROXY": PROXY}
    for name in names:
        network = Network.from_environ(URL, environ)
        assert (network.proxy, network.variables) == (environ.pop(name), (name,))
    assert Network.from_environ(URL, environ) == Network()


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "vault.acme.example",
        "VAULT.ACME.EXAMPLE",
        "acme.example",
        ".acme.example",
        "*.acme.example",
        "vault.acme.example:8200",
        ".acme.example:8200",
        "other.example, acme.example",
        "other.example,,acme.example,",
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_server_that_is_reached_directly(name: str, entry: str) -> None:
    """Every form of `NO_PROXY` that other clients take; then no variable had a say."""
    environ = {"HTTPS_PROXY": PROXY, name: entry}
    assert Network.from_environ(URL, environ) == Network()


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ",",
        ".",
        "*.",
        ":8200",
        "example.com",
        "evilacme.example",
        "t.acme.example",
        "vault.acme.example.evil",
        "vault.acme.example:443",
        "10.0.0.0/8",
        "a*.acme.example",
    ],
)
def test_server_that_is_reached_by_proxy(entry: str) -> None:
    """What is not the server, nor a domain above it, does not cover it."""
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": entry}
    assert Network.from_environ(URL, environ).proxy == PROXY


@pytest.mark.parametrize(
    ("url", "entry", "is_direct"),
    [
        ("https://10.1.2.3:8200", "10.0.0.0/8", True),
        ("https://10.1.2.3:8200", "10.1.2.3", True),
        ("https://10.1.2.3:8200", "10.1.2.3:8200", True),
        ("https://10.1.2.3:8200", "10.1.2.3:443", False),
        ("https://10.1.2.3", "10.1.2.3:443", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://11.1.2.3", "fd00::/8", False),
        ("https://[fd00::1]:8200", "fd00::/8", True),
        ("https://[fd00::1]:8200", "[fd00::1]", True),
        ("https://[fd00::1]:8200", "fd01::/16", False),
    ],
)
def test_networks_in_no_proxy(url: str, entry: str, is_direct: bool) -> None:  # noqa: FBT001
    """An address is covered by itself and by its network."""
    network = Network.from_environ(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": entry})
    assert (network.proxy is None) is is_direct


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://localhost:1", "https://[::1]:1"])
def test_this_machine_is_never_reached_by_proxy(url: str) -> None:
    """Whatever the environment says."""
    assert Network.from_environ(url, {"HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY}) == Network()


def test_proxy_is_asked_and_its_refusal_told() -> None:
    """The CONNECT goes to the proxy, by the server's name; what the proxy says is not repeated."""
    with (
        Server(says(403, b"SECRET")) as proxy,
        HttpSession(Network(proxy=proxy.address)) as session,
        pytest.raises(ProviderUnavailableError, match="the proxy refused") as caught,
    ):
        session.get(f"{URL}/v1/x", headers={"X-Vault-Token": "s.token"})
    ((method, path, headers),) = proxy.requests
    assert (method, path) == ("CONNECT", "vault.acme.example:8200")
    assert "s.token" not in str(headers)
    assert "SECRET" not in str(caught.value)


def test_ca_variables_in_their_order(tmp_path: Path) -> None:
    """The provider's own first, then those of requests, curl and OpenSSL; the name is known."""
    ca = tmp_path / "ca.pem"
    ca.touch()
    names = ["VAULT_CACERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]
    environ = dict.fromkeys(names, str(ca))
    for name in names:
        network = Network.from_environ(URL, environ, ca_variables=("VAULT_CACERT",))
        assert (network.ca_file, network.variables) == (str(ca), (name,))
        del environ[name]


def test_ca_and_proxy_are_both_known(tmp_path: Path) -> None:
    """Both variables are named, so that both can be said and recorded."""
    ca = tmp_path / "ca.pem"
    ca.touch()
    environ = {"HTTPS_PROXY": PROXY, "REQUESTS_CA_BUNDLE": str(ca)}
    network = Network.from_environ(URL, environ)
    assert network.variables == ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE")


def test_ca_file_that_is_a_pipe(tmp_path: Path) -> None:
    """Opening it would wait for somebody to write."""
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(SettingError, match="VAULT_CACERT"):
        Network.from_environ(
            URL, {"VAULT_CACERT": str(tmp_path / "ca.pem")}, ca_variables=("VAULT_CACERT",)
        )


def test_ca_file_that_is_not_there(tmp_path: Path) -> None:
    """The error names the variable and the file."""
    environ = {"VAULT_CACERT": str(tmp_path / "none.pem")}
    with pytest.raises(SettingError, match=r"VAULT_CACERT .*none\.pem"):
        Network.from_environ(URL, environ, ca_variables=("VAULT_CACERT",))


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that nobody but itself has signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_certificate_of_nobody_we_trust(certificate: Path) -> None:
    """The request is not sent, the error may not pass, and the hint says how to trust a CA."""
    with Server(says(200), certificate) as server, pytest.raises(TlsError) as caught:
        get(server)
    assert server.requests == []
    assert caught.value.retry_after is None
    assert "VAULT_CACERT" in caught.value.hint


def test_certificate_of_a_ca_that_was_named(certificate: Path) -> None:
    """A CA file of the environment is what is verified with."""
    environ = {"SSL_CERT_FILE": str(certificate)}
    with Server(says(200, b"[1]"), certificate) as server:
        network = Network.from_environ(server.address, environ)
        with HttpSession(network) as session:
            assert session.get(server.address).body == b"[1]"


def test_keys_of_connections_are_not_written_down(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSLKEYLOGFILE, which an earlier step may have set, would open what we say to the server."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with Server(says(200, b"[1]"), certificate) as server:
        network = Network.from_environ(server.address, {"SSL_CERT_FILE": str(certificate)})
        with HttpSession(network) as session:
            assert session.get(server.address).body == b"[1]"
    written = keys.read_text() if keys.exists() else ""
    assert all(line.startswith("#") for line in written.splitlines())


def test_environment_cannot_lend_a_ca(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the process that was not read as a setting has no say."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Server(says(200), certificate) as server, pytest.raises(TlsError):
        get(server)


# ── what a session never does ────────────────────────────────────────────────────────────────


def test_netrc_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests would let ~/.netrc replace the Authorization header (psf/requests#3929)."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password hunter22\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Server(says(200)) as server, HttpSession(Network()) as session:
        session.get(server.address, headers={"Authorization": "Bearer ours"})
        session.get(server.address)
    sent = [headers.get("Authorization") for _, _, headers in server.requests]
    assert sent == ["Bearer ours", None]


def test_cookies_are_not_kept() -> None:
    """Nothing that one answer sets is sent with the next request."""
    with Server(says(200, Set_Cookie="a=b; Path=/")) as server, HttpSession(Network()) as session:
        session.get(server.address)
        session.get(server.address)
    assert all("Cookie" not in headers for _, _, headers in server.requests)


def test_process_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is the one in `Network`, never one that requests finds by itself."""
    with Server(says(200)) as proxy, Server(says(200, b"[1]")) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("http_proxy", proxy.address)
        assert get(server) == b"[1]"
    assert proxy.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    """The other address is not asked, and not repeated."""
    with (
        Server(says(200)) as other,
        Server(says(status, Location=f"{other.address}/")) as server,
        pytest.raises(ProviderAnswerError, match="another address") as caught,
    ):
        get(server)
    assert other.requests == []
    assert other.address not in str(caught.value)


# ── bounds ───────────────────────────────────────────────────────────────────────────────────


def test_body_of_the_largest_size() -> None:
    """A body as large as it may be is read whole."""
    with Server(says(200, b"a" * MAX_BODY)) as server:
        assert len(get(server)) == MAX_BODY


def test_body_that_is_too_large() -> None:
    """One byte more is an error."""
    with (
        Server(says(200, b"a" * (MAX_BODY + 1))) as server,
        pytest.raises(ProviderAnswerError, match="larger than"),
    ):
        get(server)


def test_packed_body() -> None:
    """We ask for none: one that unpacks to gigabytes is not even looked at."""
    packed = gzip.compress(b"a" * (50 * MAX_BODY))
    with (
        Server(says(200, packed, Content_Encoding="gzip")) as server,
        pytest.raises(ProviderAnswerError, match="packed"),
    ):
        get(server)
    ((_, _, headers),) = server.requests
    assert headers["Accept-Encoding"] == "identity"


def chunked(request: _Request) -> None:
    request.protocol_version = "HTTP/1.1"
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")
    request.close_connection = True


def test_body_in_chunks() -> None:
    """An answer without a length is read to its end."""
    with Server(chunked) as server:
        assert get(server) == b"[1,2]"


def drips(request: _Request) -> None:
    """Promise a long body, and send a byte of it now and then until the test ends."""
    request.send_response(200)
    request.send_header("Content-Length", "60000")
    request.end_headers()
    while not request.server.test.over.wait(0.02):
        request.wfile.write(b" ")
        request.wfile.flush()


def test_body_that_drips_is_cut() -> None:
    """Each byte is in time, the whole is not: the deadline is for the whole answer."""
    with Server(drips) as server, HttpSession(Network()) as session:
        session.deadline = time.monotonic() + 0.3
        with pytest.raises(ProviderUnavailableError, match="no answer") as caught:
            session.get(server.address)
    assert caught.value.retry_after == 0.0


def drips_headers(request: _Request) -> None:
    """Begin an answer, and send a byte of its header now and then until the test ends."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not request.server.test.over.wait(0.02):
        request.wfile.write(b"a")
        request.wfile.flush()


def continues(request: _Request) -> None:
    """Announce an answer, again and again."""
    while not request.server.test.over.wait(0.02):
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.wfile.flush()


@pytest.mark.parametrize("answer", [drips_headers, continues])
def test_header_that_never_ends_is_given_up(answer: "Answering") -> None:
    """Each byte is in time here too; whoever waits for it has leases to revoke."""
    with Server(answer) as server, HttpSession(Network()) as session:
        session.deadline = time.monotonic() + 0.3
        with pytest.raises(UnansweredError, match="timed out"):
            session.get(server.address)


def test_a_pending_signal_shortens_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is cancelled does not wait for a server as long as one that is not."""
    monkeypatch.setattr(_call, "WHEN_CANCELLED", 0.2)
    monkeypatch.setattr(_http, "TOTAL_TIMEOUT", 600.0)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        signal.raise_signal(signal.SIGTERM)
        with Server(drips_headers) as server, pytest.raises(UnansweredError):
            get(server)
    finally:
        signal.sigtimedwait({signal.SIGTERM}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_total_time_is_bounded_without_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer has a time by which it must be whole."""
    monkeypatch.setattr(_http, "TOTAL_TIMEOUT", 0.3)
    with Server(drips) as server, pytest.raises(ProviderUnavailableError, match="no answer"):
        get(server)


def test_server_that_says_nothing() -> None:
    """A server that accepts and then is silent is given up at the deadline."""

    def silent(request: _Request) -> None:
        request.server.test.over.wait(30)

    with Server(silent) as server, HttpSession(Network()) as session:
        session.deadline = time.monotonic() + 0.2
        with pytest.raises(ProviderUnavailableError, match="timed out"):
            session.get(server.address)


def test_body_that_ends_too_early() -> None:
    """A connection that breaks off in mid-body is a failure that may pass, not a short answer."""

    def short(request: _Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b'{"a": 1}')

    with Server(short) as server, pytest.raises(ProviderUnavailableError) as caught:
        get(server)
    assert caught.value.retry_after == 0.0


def answers_by(body: bytes) -> Answering:
    """Return an answer that is `body`, head and all."""

    def answer(request: _Request) -> None:
        request.wfile.write(body)
        request.close_connection = True

    return answer


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 9999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["nothing", "no HTTP", "no status", "status", "long", "many", "no chunk", "half a chunk"],
)
def test_answer_that_is_no_http(raw: bytes) -> None:
    """It is an error of ours, which may pass, and not of a library."""
    with Server(answers_by(raw)) as server, pytest.raises(UnansweredError) as caught:
        get(server)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "t\u00f6ken\u2026", "a\nb"])
def test_header_that_cannot_be_sent(value: str) -> None:
    """Nothing is sent, and the value is not repeated."""
    with (
        Server(says(200)) as server,
        HttpSession(Network()) as session,
        pytest.raises(UnsendableError) as caught,
    ):
        session.get(server.address, headers={"Authorization": value})
    assert server.requests == []
    assert value not in f"{caught.value!r}"


def test_connection_is_used_again() -> None:
    """One connection for all requests of a session, and a new one where the server closed it."""
    seen: list[object] = []

    def answer(request: _Request) -> None:
        request.protocol_version = "HTTP/1.1"
        request.close_connection = len(seen) == 1
        seen.append(request.client_address)
        says(200)(request)

    with Server(answer) as server, HttpSession(Network()) as session:
        for _ in range(4):
            session.get(server.address)
            time.sleep(0.05)
    assert (seen[0] == seen[1], seen[1] == seen[2], seen[2] == seen[3]) == (True, False, True)


def test_nobody_listens() -> None:
    """The error names host and port, and may pass."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with HttpSession(Network()) as session, pytest.raises(ProviderUnavailableError) as caught:
        session.get(f"http://127.0.0.1:{port}/?token=SECRET")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert caught.value.retry_after == 0.0
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("status", sorted(_http.TRANSIENT_STATUS))
def test_status_that_may_pass(status: int) -> None:
    """It is an error that says so; the body is not repeated."""
    with (
        Server(says(status, b"SECRET")) as server,
        pytest.raises(ProviderUnavailableError, match=str(status)) as caught,
    ):
        get(server)
    assert caught.value.retry_after == 0.0
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("status", sorted(_http.TRANSIENT_STATUS))
def test_gateway_without_an_answer(status: int) -> None:
    """What stands behind it may have done what was asked: nobody knows, unlike of a busy server."""
    with Server(says(status, b"")) as server, pytest.raises(ProviderUnavailableError) as caught:
        get(server)
    assert isinstance(caught.value, UnansweredError) == (status in {502, 504})


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404])
def test_other_status_is_an_answer(status: int) -> None:
    """What will not pass is for the caller to read."""
    with (
        Server(says(status, b"")) as server,
        HttpSession(Network()) as session,
    ):
        assert session.get(server.address).status == status


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("-7", 0.0), ("soon", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)],
)
def test_retry_after(header: str, seconds: float) -> None:
    """Whole seconds are taken, and what is something else is as if it were not there."""
    with (
        Server(says(429, Retry_After=header)) as server,
        pytest.raises(ProviderUnavailableError) as caught,
    ):
        get(server)
    assert caught.value.retry_after == seconds


# ── answers ──────────────────────────────────────────────────────────────────────────────────


def test_answer_is_read_by_path_and_type() -> None:
    """What is asked for is there and of its type."""
    answer = Answer({"auth": {"token": "t", "life": 60, "policies": {"a": 1}}}, "host")
    assert answer.text("auth", "token") == "t"
    assert answer.integer("auth", "life") == 60
    assert answer.mapping("auth", "policies") == {"a": 1}
    assert answer.get("auth", "none", "deeper") is None


@pytest.mark.parametrize("value", [None, 1, True, [], {}, 1.0])
def test_answer_of_another_type(value: object) -> None:
    """The error names host and field, never the value."""
    answer = Answer({"auth": {"token": value}}, "vault.example")
    with pytest.raises(ProviderAnswerError, match=r"vault\.example: .* auth\.token of type str"):
        answer.text("auth", "token")


def test_boolean_is_no_number() -> None:
    """Python thinks so, JSON does not."""
    with pytest.raises(ProviderAnswerError):
        Answer({"life": True}, "host").integer("life")


# ── another try ──────────────────────────────────────────────────────────────────────────────


def failing(*errors: CiIdentityError) -> tuple[Callable[[], str], list[int]]:
    """Return a call that raises each error once and then succeeds, and a count of its calls."""
    waiting, calls = list(errors), list[int]()

    def call() -> str:
        calls.append(1)
        if waiting:
            raise waiting.pop(0)
        return "done"

    return call, calls


def never(seconds: float) -> None:
    """Fail the test: nothing was to be waited for."""
    pytest.fail(f"a pause of {seconds} s")


def unavailable(retry_after: float | None = 0.0) -> ProviderUnavailableError:
    return ProviderUnavailableError("down", retry_after=retry_after)


def test_retry_until_it_works() -> None:
    """What may pass is tried again, with a pause before each try that grows no longer than 2 s."""
    call, calls = failing(*[unavailable()] * 6)
    pauses: list[float] = []
    assert retry(call, budget=60, pause=pauses.append) == "done"
    assert (len(calls), len(pauses)) == (7, 6)
    assert all(0 <= pause <= min(0.1 * 2**n, 2.0) for n, pause in enumerate(pauses))


def test_retry_of_what_will_not_pass() -> None:
    """It is one call."""
    call, calls = failing(unavailable(retry_after=None))
    with pytest.raises(ProviderUnavailableError):
        retry(call, budget=60, pause=never)
    assert len(calls) == 1


def test_retry_of_what_is_no_error_of_ours() -> None:
    """A defect is not tried again."""

    def call() -> None:
        message = "defect"
        raise ValueError(message)

    with pytest.raises(ValueError, match="defect"):
        retry(call, budget=60, pause=never)


def test_retry_without_time_left() -> None:
    """The last failure is raised, without a pause that nothing would follow."""
    call, calls = failing(unavailable(retry_after=5.0))
    with pytest.raises(ProviderUnavailableError):
        retry(call, budget=1.0, pause=never)
    assert len(calls) == 1


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine is set up with has no say in these tests."""
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
