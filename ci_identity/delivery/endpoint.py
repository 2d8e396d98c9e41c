"""Hands credentials to one process tree over loopback HTTP, and tells who else has asked."""

import os
from collections.abc import Callable, Sequence

from ci_identity import _log
from ci_identity._record import Record
from ci_identity.delivery.connection import Connection
from ci_identity.delivery.listener import LOOPBACK, Listener, start_thread
from ci_identity.delivery.message import Reply, Request
from ci_identity.delivery.peer import Doorway, Peer, Peers, Seen
from ci_identity.delivery.refusal import Reason, Refused, refusal
from ci_identity.delivery.reports import Reports
from ci_identity.errors import CiIdentityError
from ci_identity.secret import Secret

__all__ = [
    "Asked",
    "Endpoint",
    "Peer",
    "Peers",
    "Refused",
    "Reply",
    "Request",
    "Route",
    "new_bearer",
]

_REFUSED = 400
_MASKED_PREFIX = "gltok-"
"""GitLab's runner masks words that begin with it, at no cost (token_masker.go)."""


class Asked(Record):
    """A request that has passed every check.

    Attributes:
        request: what was asked.
        peer: who asked; nothing is known of it where the endpoint has no peers to check.
    """

    request: Request
    peer: Peer


class Route(Record):
    """What is served at one path.

    Attributes:
        answer: returns the reply, or why there is none. What it raises becomes a 403; its text is
            seen by nobody.
        methods: the methods that it answers.
        serves: whether a process that the endpoint serves at all is served this.
        bearer_header: the header whose whole value must be the bearer; `None` where the protocol
            has none, and `answer` has to check for itself.
        is_slow: `answer` waits for something, such as another server, and gets a thread for it.
        refusal: puts a refusal in the words of the protocol. The status must be 403: SDKs repeat
            what fails with 5xx.
    """

    answer: Callable[[Asked], Reply | Refused]
    methods: frozenset[str] = frozenset({"GET"})
    serves: Callable[[Peer], bool] = lambda _: True
    bearer_header: str | None = "Authorization"
    is_slow: bool = False
    refusal: Callable[[Refused], Reply] = refusal


def new_bearer() -> Secret:
    """Return a token for the loopback alone, of 256 random bits."""
    return Secret(_MASKED_PREFIX + os.urandom(32).hex())


class Endpoint:
    """An HTTP server on 127.0.0.1 that gives what it has to the processes it serves.

    Every request is checked by itself, on a kept connection too: who asks, right now; that it is
    for this host and no web page made it; its path, its method, its bearer. The rest is refused
    with 403, never with 5xx.

    Args:
        peers: who is served; `None` serves whoever has the bearer (`peer.is_available` tells
            whether a system can do better).
        accessed: called once for each process and path, after the first answer, in a thread of
            its own: the answer does not wait for a disk.
        refused: called in the same thread with the path, if something is served there, and the
            refusal. A flood may be told in jumps of `times`.
        bearer: what is asked for; a new one by default.

    Attributes:
        bearer: the same.
    """

    def __init__(
        self,
        *,
        peers: Peers | None,
        accessed: Callable[[str, Peer], None],
        refused: Callable[[str | None, Refused], None],
        bearer: Secret | None = None,
    ) -> None:
        self.bearer = bearer or new_bearer()
        self._peers = peers
        self._routes: dict[str, Route] = {}
        self._hosts: set[str] = set()
        self._reports = Reports(accessed, refused)
        self._listener: Listener | None = None
        self._doorway: Doorway | None = None

    def open(self) -> None:
        """Listen on a port that is free, and serve. Once only: again changes nothing.

        Raises:
            OSError: no port or descriptor is left, or the system cannot tell who asks.
        """
        if self._listener:
            return
        listener = Listener(self._take)
        try:
            if self._peers:
                self._doorway = Doorway(self._peers, (LOOPBACK, listener.port))
        except OSError:
            listener.close()
            raise
        self._hosts = {f"{name}:{listener.port}" for name in (LOOPBACK, "localhost")}
        self._listener = listener
        self._reports.start()
        listener.start()

    def close(self) -> None:
        """Serve nothing more: every connection is cut. Returns when all reports are made."""
        if self._listener:
            self._listener.close()
            self._reports.close()
        if self._doorway:
            self._doorway.close()

    @property
    def address(self) -> str:
        """`http://127.0.0.1:PORT`, once it is open."""
        if not self._listener:
            message = "the endpoint is not open"
            raise RuntimeError(message)
        return f"http://{LOOPBACK}:{self._listener.port}"

    def add(self, path: str, route: Route) -> None:
        """Serve `route` at `path`, which is compared as it is sent: nothing is decoded."""
        self._routes[path] = route

    def remove(self, path: str) -> None:
        """Serve nothing at `path` from now on; what is being answered just now still is."""
        self._routes.pop(path, None)

    # ── the serving thread ───────────────────────────────────────────────────────────────────

    def _take(self, connections: Sequence[Connection]) -> None:
        for connection, seen in zip(connections, self._look(connections), strict=True):
            request = connection.request
            route = self._routes.get(request.path) if request else None
            if reason := self._objection(connection, route, seen):
                detail = connection.problem if reason is Reason.REQUEST else ""
                refused = Refused(reason=reason, peer=seen.peer, detail=detail)
                self._refuse(connection, route, refused)
            elif request and route:
                self._answer(connection, route, Asked(request=request, peer=seen.peer))

    def _look(self, connections: Sequence[Connection]) -> Sequence[Seen]:
        if self._doorway is None:
            return [Seen(peer=Peer(), is_served=True)] * len(connections)
        try:
            return self._doorway.look([connection.client for connection in connections])
        except Exception as error:  # noqa: BLE001  # who cannot be seen is not served
            _log.warning("cannot tell which process asks: %s", type(error).__name__)
            return [Seen(peer=Peer(), is_served=False)] * len(connections)

    def _objection(self, connection: Connection, route: Route | None, seen: Seen) -> Reason | None:
        """Return what speaks against it; `None` too while the request is incomplete."""
        if not seen.is_served or (route and not route.serves(seen.peer)):
            return Reason.PEER
        if connection.problem:
            return Reason.REQUEST
        request = connection.request
        return self._objection_to(request, route) if request else None

    def _objection_to(self, request: Request, route: Route | None) -> Reason | None:
        if request.headers.get("host", "").lower() not in self._hosts:  # DNS rebinding
            return Reason.HOST
        if any(name == "origin" or name.startswith("sec-fetch-") for name in request.headers):
            return Reason.BROWSER
        if not route:
            return Reason.PATH
        if request.method not in route.methods:
            return Reason.METHOD
        header = route.bearer_header
        if header and Secret(request.headers.get(header.lower(), "")) != self.bearer:
            return Reason.BEARER
        return None

    def _answer(self, connection: Connection, route: Route, asked: Asked) -> None:
        if route.is_slow:
            connection.defer()
            start_thread(lambda: self._answer_later(connection, route, asked), "endpoint-answer")
        else:
            self._send(connection, route, asked, _ask(route, asked))

    def _answer_later(self, connection: Connection, route: Route, asked: Asked) -> None:
        reply = _ask(route, asked)
        if self._listener:
            self._listener.soon(connection, lambda: self._send(connection, route, asked, reply))

    def _send(
        self, connection: Connection, route: Route, asked: Asked, reply: Reply | Refused
    ) -> None:
        if isinstance(reply, Refused):
            self._refuse(connection, route, reply)
            return
        connection.reply(reply, is_last=False)
        if reply.status < _REFUSED:
            self._reports.access(asked.request.path, asked.peer)

    def _refuse(self, connection: Connection, route: Route | None, refused: Refused) -> None:
        path = connection.request.path if connection.request and route else None
        connection.reply((route.refusal if route else refusal)(refused), is_last=True)
        self._reports.refuse(path, refused)


def _ask(route: Route, asked: Asked) -> Reply | Refused:
    """Return the route's own reply, or that it has none."""
    try:
        return route.answer(asked)
    except CiIdentityError as error:
        _log.warning("the endpoint has nothing to give: error[%s]", error.code)
    except Exception as error:  # noqa: BLE001  # whatever it is: its text may be secret
        _log.error("the endpoint has nothing to give: %s", type(error).__name__)
    return Refused(reason=Reason.FAILED, peer=asked.peer)
