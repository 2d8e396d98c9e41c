"""What a server answered: a response, and the JSON in it, read by path and type."""

import json
from collections.abc import Mapping
from typing import Self, TypeVar, cast

from ci_identity._record import Record, field
from ci_identity.errors import ProviderAnswerError

_OK = 200

T = TypeVar("T")


class Answer:
    """A JSON answer, read by path and type so that nothing unexpected travels on.

    A field that is missing or of another type raises `ProviderAnswerError`, naming the field only.
    """

    def __init__(self, body: object, host: str) -> None:
        self._body = body
        self._host = host

    @classmethod
    def from_json(cls, body: bytes, host: str) -> Self:
        """Return the answer that `body` is; one without any field if it is not JSON."""
        try:
            return cls(cast("object", json.loads(body)), host)
        except (ValueError, RecursionError):
            return cls(None, host)

    @property
    def is_object(self) -> bool:
        """True if it is an object at all."""
        return isinstance(self._body, dict)

    def text(self, *path: str) -> str:
        """Return the text at `path`."""
        return self._typed(str, path)

    def integer(self, *path: str) -> int:
        """Return the whole number at `path`."""
        return self._typed(int, path)

    def mapping(self, *path: str) -> Mapping[str, object]:
        """Return the object at `path`."""
        return cast("Mapping[str, object]", self._typed(dict, path))

    def texts(self, *path: str) -> list[str]:
        """Return the texts of the list at `path`; none if nothing is there."""
        found = cast("list[object]", self._typed(list, path) if self.get(*path) else [])
        texts = [one for one in found if isinstance(one, str)]
        if len(texts) == len(found):
            return texts
        message = f"{self._host}: the answer has something else than texts in {'.'.join(path)}"
        raise ProviderAnswerError(message)

    def get(self, *path: str) -> object:
        """Return whatever is at `path`, or `None`."""
        found = self._body
        for name in path:
            if not isinstance(found, dict):
                return None
            found = cast("dict[str, object]", found).get(name)
        return found

    def _typed(self, kind: type[T], path: tuple[str, ...]) -> T:
        found = self.get(*path)
        if isinstance(found, kind) and not (kind is int and isinstance(found, bool)):
            return found
        message = f"{self._host}: the answer has no {'.'.join(path)} of type {kind.__name__}"
        raise ProviderAnswerError(message)


class Response(Record):
    """What a server answered. The body is not shown: it may hold a credential.

    Attributes:
        host: who answered, with the port, for messages.
        status: the HTTP status code.
        headers: by lower-case name.
        body: the content.
    """

    host: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """True for 200 OK."""
        return self.status == _OK

    def json(self) -> Answer:
        """Return the answer in it."""
        return Answer.from_json(self.body, self.host)
