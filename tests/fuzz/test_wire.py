"""Answers in every shape: what we take, Python's own client reads the same; the rest is none."""

import io
import socket
from http.client import HTTPException, HTTPResponse
from itertools import pairwise
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from ci_identity._record import replace
from ci_identity._wire import Connection, NotHttpError, Received
from tests.fuzz.shapes import some

LIMIT = 1000

starts = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\n", b"HTTP/1.1 204 x\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 \xff\r\n"),
        *(b"HTTP/1.1 099 x\r\n", b"HTTP/1.1 1000 x\r\n", b"HTTP/2 200\r\n", b"ICY 200 OK\r\n", b""),
    ]
)
fields = st.sampled_from(
    [
        *(b"Content-Length: 5\r\n", b"content-length:5\r\n", b"Content-Length: 05\n"),
        *(b"Content-Length: -5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length : 5\r\n"),
        *(b"Content-Length: 5_0\r\n", b"Content-Length: \xb2\r\n", b"Content-Length:\r\n 5\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
        *(b"transfer-encoding: CHUNKED\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
        *(
            b"Connection: close\r\n",
            b"X: a\rContent-Length: 5\r\n",
            b"X\0: a\r\n",
            b": a\r\n",
            b"X\r\n",
        ),
        *(b" folded\r\n", b"X: \xe4\r\n"),
    ]
)
bodies = st.sampled_from(
    [
        *(b"hello", b"hell", b"5\r\nhello\r\n0\r\n\r\n", b"5;x=y\nhello\r\n0\r\n\r\n"),
        *(
            b"5\r\nhello0\r\n\r\n",
            b"0\r\nX: y\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"\r\n0\r\n\r\n",
        ),
        *(
            b"-1\r\nhello",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n",
        ),
        *(b"FFFFFFFFFFFFFFFFFF\r\n", b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n", b"x" * 2000, b""),
    ]
)
answers = st.builds(
    lambda *parts: b"".join(parts),
    starts,
    st.lists(fields, max_size=3).map(b"".join),
    st.sampled_from([b"\r\n", b"\n", b""]),
    bodies,
    st.binary(max_size=3),
)


class Pieces:
    """A connection on which this comes, in these pieces, and then nothing more."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        self._pieces = [data[start:end] for start, end in pairwise(edges) if start < end]

    def recv(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(b"".join(self._pieces))


def read(data: bytes, cuts: list[int]) -> Received | None:
    """Return what is read of it; `None` if it is no answer."""
    connection = Connection(("", 0), "x")
    connection.sock = cast("socket.socket", Pieces(data, cuts))
    try:
        return connection.answer(LIMIT)
    except NotHttpError:
        return None


@some
@given(answers, st.lists(st.integers(0, 10_000), max_size=5))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    """Where the pieces end says nothing; nothing but `NotHttpError` is raised."""
    whole, cut = read(data, []), read(data, cuts)
    assert (whole is None) == (cut is None)
    if whole and cut:  # `is_last` may differ: more than the answer has come by then, or comes yet
        assert replace(cut, is_last=whole.is_last) == whole


@some
@given(answers)
def test_what_we_take_is_read_the_same_by_others(data: bytes) -> None:
    """Whoever reads an answer otherwise than others can be shown another one."""
    ours = read(data, [])
    if ours is None:
        return
    if ours.status == 204:  # RFC 9112, section 6.3: whatever its fields say; Python's believes them
        assert ours.body == b""
        return
    theirs = HTTPResponse(cast("Any", Pieces(data, [])))
    try:
        theirs.begin()
        body = theirs.read(LIMIT + 1)
    except (HTTPException, ValueError) as error:
        raise AssertionError(data) from error
    assert (ours.status, ours.body) == (theirs.status, body)
    assert len(ours.body) <= LIMIT + 1
