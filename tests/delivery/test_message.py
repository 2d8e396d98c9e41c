"""A request is read in one way only, and what could be read in two is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.delivery.message import MAX_BODY, MAX_HEAD, Reply, parse

HEAD = b"GET /aws/x HTTP/1.1\r\nHost: h\r\n"


def test_request() -> None:
    """Method, path, query, headers and body are given as they were sent."""
    data = (
        b"POST /a/%2e/b?c=%20&d HTTP/1.1\r\nHost: h\r\nX-One:  1 \t\r\nContent-Length: 2\r\n\r\nhi"
    )
    request = parse(data)
    assert request
    assert (request.method, request.path, request.query) == ("POST", "/a/%2e/b", "c=%20&d")
    assert request.headers == {"host": "h", "x-one": "1", "content-length": "2"}
    assert request.body == b"hi"


def test_repeated_header() -> None:
    """The values of a repeated header are joined, so that none can hide behind another."""
    request = parse(HEAD + b"host: evil\r\n\r\n")
    assert request
    assert request.headers["host"] == "h, evil"


def test_nothing_is_shown() -> None:
    """Neither a request nor a reply shows its headers or its body."""
    request = parse(HEAD + b"Authorization: s3cret\r\nContent-Length: 6\r\n\r\ns3cret")
    assert "s3cret" not in repr(request)
    assert "s3cret" not in repr(Reply(status=200, body=b"s3cret"))


@given(st.integers(0, 100))
def test_part(size: int) -> None:
    """While a part is missing there is no request yet, wherever it was cut."""
    data = HEAD + b"Content-Length: 50\r\n\r\n" + b"x" * 50
    cut = data[: min(size, len(data) - 1)]
    assert parse(cut) is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://evil/aws/x HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT evil:443 HTTP/1.1",
        b"GET aws HTTP/1.1",
        b"GET  /aws/x HTTP/1.1",
        b"GET /aws/x",
        b"GET /aws/x HTTP/1.0",
        b"GET /aws/x HTTP/2",
        b"GET /aws/x HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET /aws/\x00 HTTP/1.1",
        b"GET /aws/\xe9 HTTP/1.1",
        b"G(T /aws/x HTTP/1.1",
        b" GET /aws/x HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    ],
)
def test_request_line(line: bytes) -> None:
    """Only a plain request for a path of HTTP/1.1 is one."""
    with pytest.raises(ValueError, match="first line"):
        parse(line + b"\r\nHost: h\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length : 3",
        b" folded",
        b"\tfolded",
        b"no colon",
        b": no name",
        b"X: a\nTransfer-Encoding: chunked",
        b"X: a\rb",
        b"X: \x00",
        b"X(: a",
        b"X\xe9: a",
    ],
)
def test_header_line(line: bytes) -> None:
    """A header that another reader could take for another one is refused."""
    with pytest.raises(ValueError, match="header line"):
        parse(HEAD + line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 0\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 3_0\r\n",
        "Content-Length: ٣\r\n".encode(),
        b"Content-Length:\r\n",
        f"Content-Length: {MAX_BODY + 1}\r\n".encode(),
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ],
)
def test_length(lines: bytes) -> None:
    """A body has one length, in plain digits, and is not in chunks."""
    with pytest.raises(ValueError, match=r"length|chunked"):
        parse(HEAD + lines + b"\r\nabc")


def test_pipelined() -> None:
    """What comes with a request and is no part of it makes it none."""
    with pytest.raises(ValueError, match="more was sent"):
        parse((HEAD + b"\r\n") * 2)
    with pytest.raises(ValueError, match="more was sent"):
        parse(HEAD + b"Content-Length: 1\r\n\r\nabc")


def test_large_header() -> None:
    """A header is read up to a size, whether it ends or not."""
    for data in (b"x" * MAX_HEAD, HEAD + b"X: " + b"x" * MAX_HEAD + b"\r\n\r\n"):
        with pytest.raises(ValueError, match="too large"):
            parse(data)


def test_largest_body() -> None:
    """A body of just the limit is taken."""
    body = b"x" * MAX_BODY
    request = parse(HEAD + f"Content-Length: {MAX_BODY}\r\n\r\n".encode() + body)
    assert request
    assert request.body == body


@given(st.binary(max_size=200))
def test_anything(data: bytes) -> None:
    """Whatever comes is a request, a part of one, or a ValueError."""
    for start in (b"", HEAD, b"GET /"):
        with suppress(ValueError):
            parse(start + data)


def test_reply() -> None:
    """A reply has its length, is for no cache, and says whether the connection stays open."""
    reply = Reply(status=403, body=b"no", content_type="text/plain", headers=(("X-One", "1"),))
    head, _, body = reply.encode(is_last=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\nDate: ")
    assert {
        b"Content-Type: text/plain",
        b"Content-Length: 2",
        b"Cache-Control: no-store",
        b"Connection: close",
        b"X-One: 1",
    } <= set(head.split(b"\r\n"))
    assert body == b"no"
    assert b"Connection: keep-alive" in reply.encode(is_last=False)
