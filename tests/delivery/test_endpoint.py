"""The endpoint gives to the processes of one step what they ask for, and to nobody else."""

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from ci_identity.delivery import connection as timing
from ci_identity.delivery import sock_diag
from ci_identity.delivery.endpoint import Asked, Endpoint, Route, new_bearer
from ci_identity.delivery.listener import MAX_CONNECTIONS
from ci_identity.delivery.message import MAX_BODY, MAX_HEAD, Reply
from ci_identity.delivery.peer import Peer, Tree
from ci_identity.delivery.proc import look_at
from ci_identity.delivery.refusal import Refused
from ci_identity.errors import ExchangeError
from tests.delivery.asking import (
    KEYS,
    PATH,
    Answer,
    Stage,
    give,
    receive,
    served,
    served_to_another,
    served_to_us,
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """An endpoint that serves this process and those it starts."""
    with served_to_us() as stage:
        yield stage


@pytest.fixture
def foreign() -> Iterator[Stage]:
    """An endpoint that serves another process, so that this one is a stranger."""
    with served_to_another() as stage:
        yield stage


def assert_refused(stage: Stage, answer: Answer, reason: str) -> None:
    """Assert that this was answered and, as the only thing, reported."""
    assert answer.status == 403
    assert "Connection: close" in answer.head
    assert json.loads(answer.body)["error"] == reason
    assert KEYS not in answer.body
    assert stage.reasons() == [reason]
    assert not stage.accesses


# ── what is granted ──────────────────────────────────────────────────────────────────────────


def test_granted(stage: Stage) -> None:
    """A process of the step that shows the bearer gets what the route has, for no cache."""
    answer = stage.ask(stage.request())
    assert (answer.status, answer.body) == (200, KEYS)
    assert "Cache-Control: no-store" in answer.head


def test_access_is_reported_once(stage: Stage) -> None:
    """Each process that was served is reported once for each path, by its pid and name."""
    stage.endpoint.add("/aws/other", Route(answer=give))
    for path in (PATH, PATH, "/aws/other"):
        assert stage.ask(stage.request(f"GET {path} HTTP/1.1")).status == 200
    with stage.client("c = socket.create_connection(server); c.sendall(request); receive(c)") as c:
        pass
    accesses, refusals = stage.reports()
    assert [(path, peer.pid) for path, peer in accesses] == [
        (PATH, os.getpid()),
        ("/aws/other", os.getpid()),
        (PATH, c.pid),
    ]
    assert accesses[0][1].name == look_at(os.getpid()).name
    assert not refusals


def test_what_the_route_is_told(stage: Stage) -> None:
    """A route gets the request as it was sent, and who has sent it."""
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return Reply(status=201, body=b"", headers=(("X-One", "1"),))

    stage.endpoint.add("/v1", Route(answer=answer, methods=frozenset({"PUT"}), bearer_header=None))
    data = stage.request("PUT /v1?a=%20 HTTP/1.1", Authorization="", Content_Length="4") + b"body"
    replied = stage.ask(data)
    assert replied.status == 201
    assert "X-One: 1" in replied.head
    request = asked[0].request
    assert (request.method, request.path, request.query) == ("PUT", "/v1", "a=%20")
    assert request.body == b"body"
    assert asked[0].peer.pid == os.getpid()


def test_kept_connection(stage: Stage) -> None:
    """Several requests can follow each other on one connection."""
    connection = http.client.HTTPConnection(*stage.server)
    for _ in range(3):
        connection.request("GET", PATH, headers={"Authorization": stage.endpoint.bearer.reveal()})
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, KEYS)
    connection.close()


def test_connection_closed_on_request(stage: Stage) -> None:
    """A client that wants the connection closed after the answer has it closed."""
    with stage.connect() as connection:
        connection.sendall(stage.request(Connection="Close"))
        assert receive(connection).status == 200
        assert connection.recv(1) == b""


def test_request_in_pieces(stage: Stage) -> None:
    """A request is answered once it is complete, in however many pieces it comes."""
    with stage.connect() as connection:
        for byte in stage.request():
            connection.sendall(bytes((byte,)))
        assert receive(connection).body == KEYS


def test_half_closed(stage: Stage) -> None:
    """A client that has said that it sends no more still gets its answer."""
    with stage.connect() as connection:
        connection.sendall(stage.request())
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).body == KEYS


def test_large_reply(stage: Stage) -> None:
    """A reply that is larger than the kernel's buffers arrives whole."""
    body = bytes(range(256)) * (1 << 16)
    stage.endpoint.add("/large", Route(answer=lambda _: Reply(status=200, body=body)))
    assert stage.ask(stage.request("GET /large HTTP/1.1")).body == body


def test_mapped_client(stage: Stage) -> None:
    """A client that uses an IPv6 socket for IPv4, as Java does, is served."""
    code = """
c = socket.socket(socket.AF_INET6)
c.connect(("::ffff:127.0.0.1", server[1]))
c.sendall(request)
print(receive(c))
"""
    with stage.client(code) as client:
        assert client.communicate()[0] == b"200\n"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_our_own_names(stage: Stage, host: str) -> None:
    """The endpoint can be called by the loopback's address and by its name."""
    assert stage.ask(stage.request(Host=f"{host}:{stage.server[1]}")).status == 200


def test_bearer_is_masked_by_gitlab() -> None:
    """A bearer is long, new each time, and begins as what GitLab's runner masks unasked."""
    first, second = new_bearer().reveal(), new_bearer().reveal()
    assert first != second
    assert first.startswith("gltok-")
    assert len(first) == len("gltok-") + 64


# ── who is refused ───────────────────────────────────────────────────────────────────────────


def test_another_process_of_the_same_user(foreign: Stage) -> None:
    """A process outside the tree that has stolen the bearer gets a 403, and its name is known."""
    assert_refused(foreign, foreign.ask(foreign.request()), "endpoint-peer")
    path, refused = foreign.refusals[0]
    us = look_at(os.getpid())
    assert refused.peer == Peer(pid=us.pid, uid=os.getuid(), name=us.name, started=us.started)
    assert path in {PATH, None}  # cut off before it could ask, perhaps


def test_stranger_is_told_at_once(foreign: Stage) -> None:
    """A process outside the tree that says nothing is not waited for: it is told, and cut off."""
    with foreign.connect() as connection:
        assert receive(connection).status == 403
        assert connection.recv(1) == b""
    assert foreign.reasons() == ["endpoint-peer"]


def test_stranger_is_told_no_more_than_that() -> None:
    """What else is wrong with a stranger's request is not said."""
    arrived, go_on = threading.Event(), threading.Event()

    class Nobody:
        def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
            del inodes
            arrived.set()
            go_on.wait()
            return {}

    with served(Nobody()) as stage, stage.connect():
        arrived.wait()
        with stage.connect() as connection:
            connection.sendall(b"garbled\r\n\r\n")  # is there when it is accepted
            go_on.set()
            assert receive(connection).status == 403
        assert set(stage.reasons()) == {"endpoint-peer"}
        assert not any(refused.detail for _, refused in stage.refusals)


def test_stranger_that_sends_much_can_read_why(
    foreign: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason arrives although what the client still sends is not wanted."""
    monkeypatch.setattr(timing, "LINGER_TIMEOUT", 1e6)
    with foreign.connect() as connection:
        connection.sendall(b"x" * (16 << 20))  # more than the kernel would hold
        assert receive(connection).status == 403


def test_strangers_that_stay_keep_nobody_out() -> None:
    """Strangers who open more connections than there are do not stop a process of the step."""
    ask = """
for _ in sys.stdin:
    c = socket.create_connection(server)
    c.sendall(request)
    print(receive(c), flush=True)
"""
    with served(OnlyChildren()) as stage:
        crowd = [stage.connect() for _ in range(MAX_CONNECTIONS + 50)]
        with stage.client(ask) as client:
            assert client.communicate(b"\n\n")[0] == b"200\n200\n"
        for one in crowd:
            one.close()
        assert set(stage.reasons()) == {"endpoint-peer"}


class OnlyChildren:
    """Serves the processes that this one has started, and not itself."""

    def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
        found = Tree(os.getpid()).owners(inodes)
        return {inode: peer for inode, peer in found.items() if peer.pid != os.getpid()}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user(stage: Stage) -> None:
    """A process of another user is refused, and its user is known, even below our process."""
    code = "c = socket.create_connection(server); c.sendall(request); print(receive(c))"
    prefix = ("setpriv", "--reuid=65534", "--clear-groups")
    with stage.client(code, prefix=prefix) as client:
        assert client.communicate()[0] == b"403\n"
    assert stage.reasons() == ["endpoint-peer"]
    assert stage.refusals[0][1].peer.uid == 65534
    assert stage.refusals[0][1].peer.pid == client.pid


DAEMON = """
import os, socket, sys
from ci_identity.delivery.process import adopt_orphans
from tests.delivery.asking import receive, served_to_us

if sys.argv[1] == "adopted":
    adopt_orphans()
(told, telling), (heard, saying) = os.pipe(), os.pipe()
middle = os.fork()
if not middle:
    if os.fork():
        os._exit(0)
    port, _, request = os.read(told, 65536).partition(b" ")
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(request)
        os.write(saying, str(receive(connection).status).encode())
    os._exit(0)
os.waitpid(middle, 0)
with served_to_us() as stage:
    os.write(telling, f"{stage.server[1]} ".encode() + stage.request())
    print(os.read(heard, 100).decode())
"""


@pytest.mark.parametrize(("whose", "status"), [("adopted", b"200\n"), ("nobody's", b"403\n")])
def test_double_fork(whose: str, status: bytes) -> None:
    """A daemon of the step is served where `exec` adopts it, and refused where nobody does."""
    words = [sys.executable, "-c", DAEMON, whose]
    assert subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout == status


ORPHAN = """
waited, go = os.pipe()
if os.fork():
    os.read(waited, 1)
    os._exit(0)
parent = os.getppid()
connection, other = socket.create_connection(server), socket.create_connection(server)
connection.sendall(request[:-2])
other.sendall(request)
print(receive(other))
os.write(go, b"x")
while os.getppid() == parent:
    time.sleep(0.001)
connection.sendall(request[-2:])
print(receive(connection))
"""


def test_process_that_leaves_the_tree(stage: Stage) -> None:
    """A process that connects, loses its parent, and then asks is refused: it is nobody's now."""
    with stage.client(ORPHAN) as client:
        assert client.communicate()[0] == b"200\n403\n"
    assert stage.reasons() == ["endpoint-peer"]


HAND_ON = """
connection, other = socket.create_connection(server), socket.create_connection(server)
connection.sendall(request if sys.argv[1] == "used" else request[:4])
if sys.argv[1] == "used":
    assert receive(connection) == "200"
other.sendall(request)
assert receive(other) == "200"  # so the first connection was looked at while it was ours
socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b"x"], [connection.fileno()])
"""


@pytest.mark.parametrize("state", ["used", "begun"])
def test_connection_that_is_handed_on(state: str) -> None:
    """A stranger who gets the connection of a process that was served is not served on it."""
    ours, theirs = socket.socketpair()
    with served(OnlyChildren()) as stage, ours, theirs:
        fd = theirs.fileno()
        with stage.client(HAND_ON, state, str(fd), pass_fds=[fd]) as client:
            descriptor = socket.recv_fds(ours, 1, 1)[1][0]
            client.wait()
        with socket.socket(fileno=descriptor) as connection:
            connection.sendall(stage.request()[0 if state == "used" else 4 :])
            assert receive(connection).status == 403
        assert stage.reasons() == ["endpoint-peer"]
        assert stage.refusals[0][1].peer.pid == os.getpid()


def test_those_who_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    """When it cannot be found out who asks, nobody is served, and it is said once asked."""

    class Broken:
        def owners(self, inodes: AbstractSet[int]) -> Mapping[int, Peer]:
            message = f"s3cret {inodes}"
            raise OSError(message)

    with served(Broken()) as stage, caplog.at_level(logging.WARNING):
        assert stage.ask(stage.request()).status == 403
        assert stage.ask(stage.request()).status == 403
        assert set(stage.reasons()) == {"endpoint-peer"}
    assert "cannot tell which process asks: OSError" in caplog.text
    assert "s3cret" not in caplog.text


def test_without_peers() -> None:
    """Where a system cannot tell who asks, the bearer and the host are checked, and no more."""
    with served(None) as stage:
        assert stage.ask(stage.request()).body == KEYS
        assert stage.ask(stage.request(Authorization="wrong")).status == 403
        assert stage.ask(stage.request(Host="evil")).status == 403
        accesses, refusals = stage.reports()
    assert accesses == [(PATH, Peer())]
    assert [one.reason for _, one in refusals] == ["endpoint-bearer", "endpoint-host"]


# ── what is refused ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda bearer: bearer[:-1],
        lambda bearer: bearer + "x",
        lambda bearer: f"Bearer {bearer}",
        lambda bearer: bearer.upper(),
        lambda bearer: f"{bearer}, {bearer}",
        lambda _: "\xe9" * 49,
    ],
    ids=["none", "shorter", "longer", "with a scheme", "upper case", "twice", "not ASCII"],
)
def test_wrong_bearer(stage: Stage, spoil: Callable[[str], str]) -> None:
    """Only the whole bearer, and nothing beside it, is taken."""
    spoilt = spoil(stage.endpoint.bearer.reveal())
    assert_refused(stage, stage.ask(stage.request(Authorization=spoilt)), "endpoint-bearer")
    assert stage.refusals[0][0] == PATH


def test_second_bearer(stage: Stage) -> None:
    """A right bearer beside a wrong one, in a header of the same name, is not taken."""
    more = "Authorization: wrong"
    answer = stage.ask(stage.request(f"GET {PATH} HTTP/1.1", more))
    assert_refused(stage, answer, "endpoint-bearer")


def test_bearer_in_another_header(stage: Stage) -> None:
    """A route says in which header its protocol carries the bearer; no other one counts."""
    stage.endpoint.add("/msi", Route(answer=give, bearer_header="X-IDENTITY-HEADER"))
    bearer = stage.endpoint.bearer.reveal()
    line = "GET /msi HTTP/1.1"
    assert stage.ask(stage.request(line)).status == 403
    assert stage.ask(stage.request(line, Authorization="", X_Identity_Header=bearer)).status == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "evil.example:{port}",
     "[::1]:{port}", "127.0.0.1:{port}.evil.example", "localhost.:{port}",
     "127.0.0.2:{port}", "127.0.0.1:0{port}"],
)  # fmt: skip
def test_wrong_host(stage: Stage, host: str) -> None:
    """A web page that has its own name point at us (DNS rebinding) is refused by that name."""
    wrong = host.format(port=stage.server[1])
    assert_refused(stage, stage.ask(stage.request(Host=wrong)), "endpoint-host")


def test_second_host(stage: Stage) -> None:
    """A right host beside a wrong one is not taken."""
    answer = stage.ask(stage.request(f"GET {PATH} HTTP/1.1", "Host: evil.example"))
    assert_refused(stage, answer, "endpoint-host")


@pytest.mark.parametrize("name", ["Origin", "Sec_Fetch_Site", "sec_fetch_mode"])
def test_browser(stage: Stage, name: str) -> None:
    """What a web page makes a browser send is refused, whatever bearer it has."""
    answer = stage.ask(stage.request(**{name: "null"}))
    assert_refused(stage, answer, "endpoint-browser")


@pytest.mark.parametrize(
    "target",
    ["/", "/aws", "/aws/", f"{PATH}/", f"/{PATH}", f"{PATH}/../deploy-web", f"{PATH};x",
     "/x/..%2faws/deploy-web", "/aws/%64eploy-web", "/aws/./deploy-web", "/AWS/deploy-web",
     f"{PATH}%00", f"{PATH}#x"],
)  # fmt: skip
def test_path(stage: Stage, target: str) -> None:
    """A path is taken as it stands: what only means the same, by some reading, is not served."""
    answer = stage.ask(stage.request(f"GET {target} HTTP/1.1"))
    assert_refused(stage, answer, "endpoint-path")
    assert stage.refusals[0][0] is None


def test_path_that_is_taken_away(stage: Stage) -> None:
    """What is removed is refused at once, on open connections too; the rest goes on."""
    stage.endpoint.add("/aws/other", Route(answer=give))
    with stage.connect() as connection:
        connection.sendall(stage.request())
        assert receive(connection).status == 200
        stage.endpoint.remove(PATH)
        stage.endpoint.remove(PATH)
        connection.sendall(stage.request())
        assert receive(connection).status == 403
    assert stage.ask(stage.request("GET /aws/other HTTP/1.1")).status == 200
    assert stage.reasons() == ["endpoint-path"]


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "get", "TRACE"])
def test_method(stage: Stage, method: str) -> None:
    """A method that the route does not name is refused."""
    answer = stage.ask(stage.request(f"{method} {PATH} HTTP/1.1"))
    assert_refused(stage, answer, "endpoint-method")


@pytest.mark.parametrize(
    "more",
    [
        ("Transfer-Encoding: chunked",),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Content-Length: 0", "Content-Length: 5"),
        ("X: a\nHost: 127.0.0.1",),
        (" folded",),
        ("X: " + "x" * MAX_HEAD,),
        (f"Content-Length: {MAX_BODY + 1}",),
    ],
    ids=["chunked", "framings", "lengths", "bare LF", "folded", "large header", "large body"],
)
def test_garbled(stage: Stage, more: tuple[str, ...]) -> None:
    """What could smuggle a second request, or fill our memory, is refused before it is used."""
    answer = stage.ask(stage.request(f"GET {PATH} HTTP/1.1", *more))
    assert_refused(stage, answer, "endpoint-request")
    assert json.loads(answer.body)["message"].endswith(stage.refusals[0][1].detail)


def test_absolute_target(stage: Stage) -> None:
    """A request as to a proxy is refused, even for our own address."""
    line = f"GET http://{stage.host}{PATH} HTTP/1.1"
    assert_refused(stage, stage.ask(stage.request(line)), "endpoint-request")


def test_pipelined(stage: Stage) -> None:
    """A second request that comes with the first has both refused, and is never answered."""
    with stage.connect() as connection:
        connection.sendall(stage.request() * 2)
        assert receive(connection).status == 403
        assert connection.recv(1) == b""
    assert stage.reasons() == ["endpoint-request"]


def test_endless_header(stage: Stage) -> None:
    """A header that does not end is read up to its limit."""
    with stage.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD)
        assert receive(connection).status == 403
    assert stage.reasons() == ["endpoint-request"]


# ── clients that take their time ─────────────────────────────────────────────────────────────


def is_over(connection: socket.socket) -> bool:
    """Send one more byte, and tell whether the other end has closed."""
    try:
        connection.send(b"x")
        return connection.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_client_that_dribbles(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not come to the end of its request is cut off; others are served."""
    monkeypatch.setattr(timing, "REQUEST_TIMEOUT", 0.2)
    with stage.connect() as slow:
        while not is_over(slow):
            assert stage.ask(stage.request()).status == 200
    assert stage.reasons() == []


def test_kept_connection_that_is_not_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing more is asked is closed after a while."""
    monkeypatch.setattr(timing, "IDLE_TIMEOUT", 0.05)
    with stage.connect() as connection:
        connection.sendall(stage.request())
        assert receive(connection).status == 200
        assert connection.recv(1) == b""


def test_too_many_connections(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit the connection that has waited longest makes room for a new one."""
    monkeypatch.setattr(timing, "REQUEST_TIMEOUT", 1e6)
    crowd = [stage.connect() for _ in range(MAX_CONNECTIONS)]
    assert stage.ask(stage.request()).status == 200
    assert crowd[0].recv(1) == b""
    crowd[-1].sendall(stage.request())
    assert receive(crowd[-1]).status == 200
    for one in crowd:
        one.close()


def test_client_that_has_gone(stage: Stage) -> None:
    """Clients that leave without reading, at any point, do no harm."""
    for data in (b"", b"GET", stage.request()):
        connection = stage.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(data)
        connection.close()
    assert stage.ask(stage.request()).status == 200


# ── routes that fail, or take their time ─────────────────────────────────────────────────────


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [(ExchangeError("s3cret"), "error[exchange-refused]"), (KeyError("s3cret"), "KeyError")],
    ids=["ours", "any"],
)
def test_route_that_raises(
    stage: Stage, caplog: pytest.LogCaptureFixture, error: Exception, said: str, *, is_slow: bool
) -> None:
    """A route that fails is a 403, since SDKs repeat what is a 5xx; its text goes nowhere."""

    def fail(_: Asked) -> Reply:
        raise error

    stage.endpoint.add(PATH, Route(answer=fail, is_slow=is_slow))
    answer = stage.ask(stage.request())
    assert_refused(stage, answer, "endpoint-failed")
    assert b"s3cret" not in answer.body
    assert said in caplog.text
    assert "s3cret" not in caplog.text


def test_words_of_the_protocol(stage: Stage) -> None:
    """A route puts refusals into words that its own clients show."""

    def refusal(refused: Refused) -> Reply:
        return Reply(status=403, body=f"no: {refused.reason}".encode(), content_type="text/plain")

    stage.endpoint.add(PATH, Route(answer=give, refusal=refusal))
    answer = stage.ask(stage.request(Authorization="wrong"))
    assert (answer.status, answer.body) == (403, b"no: endpoint-bearer")


@pytest.mark.parametrize("is_slow", [False, True])
def test_route_with_a_defect(
    stage: Stage, caplog: pytest.LogCaptureFixture, *, is_slow: bool
) -> None:
    """A reply that cannot be sent costs its client the connection, and nobody else anything."""
    broken = Reply(status=999, body=b"s3cret")
    stage.endpoint.add("/broken", Route(answer=lambda _: broken, is_slow=is_slow))
    with stage.connect() as connection:
        connection.sendall(stage.request("GET /broken HTTP/1.1"))
        assert connection.recv(1) == b""
    assert stage.ask(stage.request()).status == 200
    assert "a request could not be answered: ValueError" in caplog.text


def test_slow_route(stage: Stage) -> None:
    """A route that waits for something keeps nobody else waiting."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(_: Asked) -> Reply:
        arrived.set()
        go_on.wait()
        return Reply(status=200, body=b"late")

    stage.endpoint.add("/slow", Route(answer=wait, is_slow=True))
    with stage.connect() as connection:
        connection.sendall(stage.request("GET /slow HTTP/1.1"))
        arrived.wait()
        connection.sendall(stage.request())  # not read before the first one is answered
        assert stage.ask(stage.request()).body == KEYS
        go_on.set()
        assert receive(connection).body == b"late"
        assert receive(connection).body == KEYS


def test_answer_that_comes_too_late(stage: Stage) -> None:
    """What a slow route has to say after the end goes nowhere."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(_: Asked) -> Reply:
        arrived.set()
        go_on.wait()
        return give(_)

    stage.endpoint.add("/slow", Route(answer=wait, is_slow=True))
    with stage.connect() as connection:
        connection.sendall(stage.request("GET /slow HTTP/1.1"))
        arrived.wait()
        stage.endpoint.close()
        go_on.set()
        assert connection.recv(1) == b""
    assert stage.reports() == ([], [])


def test_route_that_refuses_by_itself(stage: Stage) -> None:
    """A route's own 4xx is passed on, and is no access."""
    stage.endpoint.add(PATH, Route(answer=lambda _: Reply(status=404, body=b"{}")))
    assert stage.ask(stage.request()).status == 404
    assert stage.reports() == ([], [])


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_close(stage: Stage) -> None:
    """Once it is closed, open connections are cut and no new one is accepted."""
    with stage.connect() as idle, stage.connect() as begun:
        idle.sendall(stage.request())
        assert receive(idle).status == 200
        begun.sendall(stage.request()[:10])
        stage.endpoint.close()
        assert idle.recv(1) == b""
        assert begun.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        stage.connect()
    stage.endpoint.close()


def test_threads_end(stage: Stage) -> None:
    """Nothing of it runs on after the end."""
    assert stage.ask(stage.request()).status == 200
    stage.endpoint.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("endpoint")]


def test_threads_take_no_signals(stage: Stage) -> None:
    """A signal is never taken by a thread of the endpoint: `exec` waits for it in another one."""
    assert stage.ask(stage.request()).status == 200
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("endpoint")]
    assert len(threads) == 2
    for thread in threads:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert blocked & 1 << 14  # SIGTERM
        assert blocked & 1 << 1  # SIGINT


def test_never_opened() -> None:
    """An endpoint that was never opened has no address, and can be closed."""
    endpoint = Endpoint(peers=None, accessed=print, refused=print)
    with pytest.raises(RuntimeError):
        endpoint.address  # noqa: B018  # the access itself raises
    endpoint.close()


def test_system_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be found out who asks, an endpoint for certain processes does not open."""
    monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", 31)
    with pytest.raises(OSError, match=r".*"), served_to_us():
        pass


def test_opened_twice(stage: Stage) -> None:
    """Opening it again changes nothing."""
    address = stage.endpoint.address
    stage.endpoint.open()
    assert stage.endpoint.address == address
    assert stage.ask(stage.request()).status == 200


def test_no_descriptor_is_inherited(stage: Stage) -> None:
    """A child of the step inherits none of our sockets."""
    listed = subprocess.run(
        ["sh", "-c", "ls -l /proc/self/fd"], stdout=subprocess.PIPE, check=True, close_fds=False
    )
    assert stage.ask(stage.request()).status == 200
    assert b"socket:" not in listed.stdout
