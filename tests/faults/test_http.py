"""Our own HTTP against servers that lie about where an answer ends, and about who they are."""

import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from ci_identity import _call
from ci_identity._http import HttpSession
from ci_identity._network import Network
from ci_identity.errors import (
    CiIdentityError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TlsError,
    UnansweredError,
    UnsendableError,
)

Behaviour = Callable[[socket.socket], None]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
BAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"


class Server:
    """Behaves on each connection as it is told; the last behaviour is for all that follow.

    Attributes:
        heard: what each connection sent, as far as it was read.
        port: where it listens.
    """

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = [*behaviours]
        self.heard: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            more = len(self._behaviours) > 1
            behave = self._behaviours.pop(0) if more else self._behaviours[0]
            threading.Thread(target=self._serve, args=(client, behave), daemon=True).start()

    def _serve(self, client: socket.socket, behave: Behaviour) -> None:
        with client, suppress(OSError):
            behave(client)


@contextmanager
def serving(*behaviours: Behaviour) -> Iterator[Server]:
    server = Server(*behaviours)
    try:
        yield server
    finally:
        server.close()


def request(client: socket.socket) -> bytes:
    """Read one request without a body."""
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        if not (piece := client.recv(4096)):
            raise ConnectionResetError
        said += piece
    return said


def saying(*answers: bytes, before: float = 0.0) -> Behaviour:
    """Return the behaviour of answering request after request."""

    def behave(client: socket.socket) -> None:
        for answer in answers:
            request(client)
            time.sleep(before)
            client.sendall(answer)

    return behave


def get(server: Server, path: str = "/") -> bytes:
    with HttpSession(Network()) as http:
        http.deadline = time.monotonic() + 5
        return http.get(f"http://127.0.0.1:{server.port}{path}").body


# ── where an answer ends ─────────────────────────────────────────────────────────────────────


def test_a_chunk_of_less_than_nothing() -> None:
    """It is no way to fill our memory: what is taken is not much more than the largest body."""
    sent = 0

    def behave(client: socket.socket) -> None:
        nonlocal sent
        request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        while sent < 256 << 20:
            sent += client.send(bytes(1 << 16))

    with serving(behave) as server, pytest.raises(CiIdentityError):
        get(server)
    assert sent < 32 << 20  # the kernel's buffers


UNCLEAR = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nstale",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nstale",
    "length in words": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nstale",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nstale",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nstale",
    "no header's end": b"HTTP/1.1 200 OK\r\nContent-Le",
    "status alone": b"HTTP/1.1 200 OK\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nstale",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nstale",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstale\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "other protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"Content-Length: 5\r\n\r\nstale",
    "long field": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200_000 + b"\r\n\r\nstale",
    "HTTP/0.9": b"stale",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("raw", UNCLEAR.values(), ids=UNCLEAR)
def test_an_answer_whose_end_is_unclear(raw: bytes) -> None:
    """It is none, and the connection is not used again: the next request opens a new one."""
    with serving(saying(raw), saying(GOOD)) as server, HttpSession(Network()) as http:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(UnansweredError):
            http.get(url)
        assert http.get(url).body == b"good"


WHOLE = {
    "length": GOOD,
    "the same length twice": GOOD.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n2;x=y\r\nod\r\n0\r\n\r\n"
    ),
    "trailer": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n"
        b"Content-Length: 99\r\nLocation: http://192.0.2.1/\r\n\r\n"
    ),
    "to the end": b"HTTP/1.0 200 OK\r\n\r\ngood",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
def test_an_answer_that_is_whole(raw: bytes) -> None:
    """Whatever way it ends in; a trailer changes nothing."""
    with serving(saying(raw)) as server:
        assert get(server) == b"good"


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_an_answer_that_nobody_has_asked_for(delay: float) -> None:
    """What comes after an answer is not the answer to the next request."""

    def behave(client: socket.socket) -> None:
        request(client)
        if delay:
            client.sendall(GOOD)
            time.sleep(delay)
            client.sendall(BAD)
        else:
            client.sendall(GOOD + BAD)
        request(client)
        client.sendall(GOOD)

    with serving(behave, saying(GOOD)) as server, HttpSession(Network()) as http:
        url = f"http://127.0.0.1:{server.port}/"
        assert http.get(url).body == b"good"
        time.sleep(2 * delay)
        assert http.get(url).body == b"good"


def test_an_answer_to_a_request_that_was_interrupted() -> None:
    """Whoever is stopped and then revokes must not take the one for the other."""

    def late(client: socket.socket) -> None:
        request(client)
        time.sleep(0.5)
        client.sendall(BAD)
        request(client)
        client.sendall(BAD)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with serving(late, saying(GOOD)) as server, HttpSession(Network()) as http:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                http.get(f"http://127.0.0.1:{server.port}/")
            assert http.get(f"http://127.0.0.1:{server.port}/").body == b"good"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_each_request_has_a_time_of_its_own() -> None:
    """A kept connection does not keep the little time that the last request had."""

    def behave(client: socket.socket) -> None:
        request(client)
        client.sendall(GOOD)
        request(client)
        time.sleep(0.5)
        client.sendall(GOOD)

    with serving(behave) as server, HttpSession(Network()) as http:
        http.deadline = time.monotonic() + 0.3
        http.get(f"http://127.0.0.1:{server.port}/")
        http.deadline = time.monotonic() + 10
        assert http.get(f"http://127.0.0.1:{server.port}/").body == b"good"


# ── what we send ─────────────────────────────────────────────────────────────────────────────

SPLITTING = ["a\r\nX-Other: b", "a\nX-Other: b", "a\r\n\r\nGET /steal", "a\0b", "\udcff", "é✓"]


@pytest.mark.parametrize("value", SPLITTING)
def test_a_header_that_would_be_two(value: str) -> None:
    """A token with a line end in it makes no request, and is not shown."""
    with serving(saying(GOOD)) as server, HttpSession(Network()) as http:
        try:
            http.get(f"http://127.0.0.1:{server.port}/", headers={"X-Vault-Token": value})
        except UnsendableError as error:
            assert value not in str(error)  # noqa: PT017  # a NUL, or é, may be sent as it is
        assert b"X-Other" not in b"".join(map(bytes, server.heard))


def test_a_request_that_was_given_up_is_not_sent_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up while a name is looked up must not find out later that a login went out."""
    looked_up = threading.Event()
    resolve = socket.getaddrinfo

    def slowly(*args: object, **kwargs: object) -> object:
        looked_up.wait(10)
        return resolve(*args, **kwargs)  # type: ignore[arg-type]  # whatever it was given

    heard = threading.Event()

    def behave(client: socket.socket) -> None:
        request(client)
        heard.set()

    with serving(behave) as server:
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        with HttpSession(Network()) as http:
            http.deadline = time.monotonic() + 0.2
            with pytest.raises(ProviderUnavailableError) as caught:
                http.get(f"http://localhost:{server.port}/")
        assert not isinstance(caught.value, UnansweredError)
        looked_up.set()
        assert not heard.wait(1.0)


# ── who they are ─────────────────────────────────────────────────────────────────────────────


def tls(certificate: trustme.LeafCert, behave: Behaviour, **options: ssl.TLSVersion) -> Behaviour:
    """Return the behaviour of a server that has this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, value in options.items():
        setattr(context, name, value)
    certificate.configure_cert(context)

    def wrapped(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as inner:
            behave(inner)

    return wrapped


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """The CA that we trust."""
    return trustme.CA()


@pytest.fixture
def network(ca: trustme.CA, tmp_path: Path) -> Network:
    """A network where it is trusted, and nobody else."""
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return Network(ca_file=str(tmp_path / "ca.pem"))


def certificates(ca: trustme.CA) -> dict[str, trustme.LeafCert]:
    """Return what servers may show that we do not believe."""
    import datetime as dt  # noqa: PLC0415  # for the one that is over

    over = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    return {
        "wrong name": ca.issue_cert("vault.acme.example"),
        "wrong address": ca.issue_cert("127.0.0.2"),
        "no name but a common one": ca.issue_cert(common_name="127.0.0.1"),
        "over": ca.issue_cert("127.0.0.1", not_before=over, not_after=over),
        "of nobody": trustme.CA().issue_cert("127.0.0.1"),
    }


@pytest.mark.parametrize(
    "kind", ["wrong name", "wrong address", "no name but a common one", "over", "of nobody"]
)
def test_a_certificate_that_proves_nothing(ca: trustme.CA, network: Network, kind: str) -> None:
    """Not a byte of the request is sent."""
    heard = bytearray()

    def behave(client: socket.socket) -> None:
        heard.extend(client.recv(4096))

    with (
        serving(tls(certificates(ca)[kind], behave)) as server,
        HttpSession(network) as http,
        pytest.raises(TlsError),
    ):
        http.get(f"https://127.0.0.1:{server.port}/", headers={"Authorization": "SECRET"})
    assert not heard


def test_a_certificate_that_is_right(ca: trustme.CA, network: Network) -> None:
    """The same server with the right name is spoken to."""
    behave = tls(ca.issue_cert("127.0.0.1"), saying(GOOD))
    with serving(behave) as server, HttpSession(network) as http:
        assert http.get(f"https://127.0.0.1:{server.port}/").body == b"good"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_an_old_tls(ca: trustme.CA, network: Network) -> None:
    """TLS 1.1 is none."""
    old = ssl.TLSVersion.TLSv1_1
    behave = tls(ca.issue_cert("127.0.0.1"), saying(GOOD), maximum_version=old, minimum_version=old)
    with (
        serving(behave) as server,
        HttpSession(network) as http,
        pytest.raises(ProviderUnavailableError),
    ):
        http.get(f"https://127.0.0.1:{server.port}/")


NO_TLS: dict[str, Behaviour] = {
    "plain http": saying(GOOD),
    "nothing": lambda _: None,
    "garbage": lambda client: client.sendall(b"SSH-2.0-OpenSSH\r\n" * 100),
    "an alert": lambda client: client.sendall(b"\x15\x03\x01\x00\x02\x02\x46"),
}


@pytest.mark.parametrize("behave", NO_TLS.values(), ids=NO_TLS)
def test_a_server_that_speaks_no_tls(network: Network, behave: Behaviour) -> None:
    """One clear error; there is no way back to plain http."""
    with serving(behave) as server, HttpSession(network) as http:
        http.deadline = time.monotonic() + 5
        with pytest.raises(ProviderUnavailableError) as caught:
            http.get(f"https://127.0.0.1:{server.port}/", headers={"Authorization": "SECRET"})
        assert "SECRET" not in str(caught.value)


def test_a_server_that_goes_in_the_handshake(network: Network) -> None:
    """It has proved nothing, and disproved nothing: a restart may pass."""

    def behave(client: socket.socket) -> None:
        client.recv(65536)

    with serving(behave) as server, HttpSession(network) as http:
        with pytest.raises(ProviderUnavailableError) as caught:
            http.get(f"https://127.0.0.1:{server.port}/")
        assert not isinstance(caught.value, TlsError)
        assert caught.value.retry_after == 0.0


def test_a_handshake_that_never_ends(network: Network) -> None:
    """Nothing was asked, so that nothing can have been issued."""

    def behave(client: socket.socket) -> None:
        client.sendall(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KiB
        with suppress(OSError):
            while True:
                client.sendall(b"\x02")
                time.sleep(0.02)

    with serving(behave) as server, HttpSession(network) as http:
        http.deadline = time.monotonic() + 0.5
        with pytest.raises(ProviderUnavailableError) as caught:
            http.get(f"https://127.0.0.1:{server.port}/")
        assert not isinstance(caught.value, UnansweredError)
        assert str(caught.value) == f"127.0.0.1:{server.port}: no answer (timed out)"


def test_a_tls_that_is_cut_in_the_body(ca: trustme.CA, network: Network) -> None:
    """Whoever cuts the connection cannot pass a piece off as the whole."""

    def behave(client: socket.socket) -> None:
        request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nstale")

    with (
        serving(tls(ca.issue_cert("127.0.0.1"), behave)) as server,
        HttpSession(network) as http,
        pytest.raises(UnansweredError),
    ):
        http.get(f"https://127.0.0.1:{server.port}/")


# ── proxies ──────────────────────────────────────────────────────────────────────────────────

TARGET = "https://vault.acme.example/v1/auth/jwt/login"
REFUSALS: dict[str, Behaviour] = {
    "407": saying(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
    "403": saying(b"HTTP/1.1 403 SECRET\r\nContent-Length: 6\r\n\r\nSECRET"),
    "502": saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    "redirect": saying(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n"),
    "garbage": saying(b"SSH-2.0-OpenSSH\r\n"),
    "nothing": saying(b""),
    "an answer of its own": saying(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD),
    "half a header": saying(b"HTTP/1.1 200 Connection est"),
    "silence": lambda _: time.sleep(3),
    "endless header": saying(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000),
}


@pytest.mark.parametrize("behave", REFUSALS.values(), ids=REFUSALS)
def test_a_proxy_that_does_not_connect_us(behave: Behaviour) -> None:
    """It learns the server's name and not a byte more; its words are not repeated."""
    heard = bytearray()

    def listening(client: socket.socket) -> None:
        heard.extend(client.recv(65536, socket.MSG_PEEK))
        behave(client)
        client.settimeout(0.2)
        heard.extend(client.recv(65536))

    with serving(listening) as server:
        proxy = f"http://user:password@127.0.0.1:{server.port}"
        with HttpSession(Network(proxy=proxy)) as http:
            http.deadline = time.monotonic() + 1.5
            with pytest.raises(ProviderUnavailableError) as caught:
                http.post(TARGET, headers={"X-Vault-Token": "TOKEN"}, json_body={"jwt": "TOKEN"})
    assert b"CONNECT vault.acme.example:443" in heard
    assert b"TOKEN" not in heard
    for words in ("SECRET", "password", "192.0.2.1"):
        assert words not in str(caught.value)


def test_a_proxy_that_plays_the_server(ca: trustme.CA) -> None:
    """Who sits between and shows a certificate of its own is not the server."""

    def behave(client: socket.socket) -> None:
        request(client)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tls(ca.issue_cert("vault.acme.example"), saying(GOOD))(client)

    with (
        serving(behave) as server,
        HttpSession(Network(proxy=f"http://127.0.0.1:{server.port}")) as http,
        pytest.raises(TlsError),
    ):
        http.get(TARGET, headers={"X-Vault-Token": "TOKEN"})


def test_the_largest_answer_is_bounded_however_it_comes() -> None:
    """In chunks, too, the cap is a cap."""
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n"
    assert len(raw) > _call.MAX_BODY
    with serving(saying(raw)) as server, pytest.raises(ProviderAnswerError):
        get(server)
