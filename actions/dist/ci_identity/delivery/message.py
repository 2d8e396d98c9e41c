"""HTTP/1.1, read so strictly that no two readers could disagree on where a request ends.

Source: RFC 9112; section numbers are beside what they ask for. What it leaves to a server (folded
lines, bare line feeds, chunks, pipelining, absolute targets) is refused: no SDK does it, and every
way to smuggle a request does.
"""

import re
import time
from collections.abc import Mapping
from types import MappingProxyType

from ci_identity._record import Record, field

MAX_HEAD = 32 << 10
"""Bytes of the request line and the header fields."""

MAX_BODY = 1 << 20
"""Bytes."""

_END_OF_HEAD = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
_REQUEST_LINE = rb"(%b) (/[!-~]*) HTTP/1\.1" % _TOKEN  # 3.2.1: origin-form only
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"  # RFC 9110, section 5.5
_LENGTH = "[0-9]{1,7}"


class Request(Record):
    """What was asked. Neither headers nor body are shown: they hold a bearer.

    Attributes:
        method: in the client's own spelling; methods are case-sensitive.
        path: as sent, nothing decoded or resolved.
        query: what follows the `?`, as sent.
        headers: by lower-case name; the values of a repeated one are joined by `, `.
        body: the content.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)


class Reply(Record):
    """What is answered.

    Attributes:
        status: the HTTP status code.
        body: the content; not shown, since it holds a credential.
        content_type: what the body is.
        headers: further header fields.
    """

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, is_last: bool) -> bytes:
        """Return its bytes, which say whether the connection stays open after it."""
        from http import HTTPStatus  # noqa: PLC0415  # when somebody asks

        fields = (
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close" if is_last else "keep-alive"),
            *self.headers,
        )
        lines = (f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",)
        head = "\r\n".join((*lines, *(f"{name}: {value}" for name, value in fields)))
        return head.encode("latin-1") + _END_OF_HEAD + self.body


def parse(data: bytes) -> Request | None:
    """Return the request that `data` is, or `None` while a part of it is missing.

    Raises:
        ValueError: it is none, is too large, or is more than one. The message says which, and
            holds nothing of the data.
    """
    end = data.find(_END_OF_HEAD, 0, MAX_HEAD)
    if end < 0:
        if len(data) >= MAX_HEAD:
            message = "the header is too large"
            raise ValueError(message)
        return None
    request_line, *lines = data[:end].split(b"\r\n")
    if not (found := re.fullmatch(_REQUEST_LINE, request_line)):
        message = "the first line is not an HTTP/1.1 request for a path"
        raise ValueError(message)
    headers = _headers(lines)
    body = data[end + len(_END_OF_HEAD) :]
    missing = _length(headers) - len(body)
    if missing < 0:
        message = "more was sent than one request"
        raise ValueError(message)
    if missing:
        return None
    path, _, query = found[2].decode("ascii").partition("?")
    return Request(
        method=found[1].decode("ascii"), path=path, query=query, headers=headers, body=body
    )


def _headers(lines: list[bytes]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        # 5.1: no space before the colon. 5.2: a folded line begins with one.
        if not colon or not re.fullmatch(_TOKEN, raw_name) or not re.fullmatch(_VALUE, raw_value):
            message = "a header line is malformed"
            raise ValueError(message)
        name, value = raw_name.decode("ascii").lower(), raw_value.strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return MappingProxyType(headers)


def _length(headers: Mapping[str, str]) -> int:
    """Return how long the body is (6.3). Two lengths were joined, so they are no number."""
    if "transfer-encoding" in headers:
        message = "chunked requests are not taken"
        raise ValueError(message)
    length = headers.get("content-length", "0")
    if not re.fullmatch(_LENGTH, length) or int(length) > MAX_BODY:
        message = "the length of the body is not a number, or too large"
        raise ValueError(message)
    return int(length)
