"""What the server's parts share: the account's clock, the call being served, and refusals."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NoReturn
from xml.sax.saxutils import escape

from werkzeug.exceptions import HTTPException

from tests.aws.simulator import Simulator

ISO = "%Y-%m-%dT%H:%M:%SZ"

SERVED: ContextVar[dict[str, Any]] = ContextVar("SERVED")
"""The call that is being served, as the log will have it."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What moto does not know of an account.

    Attributes:
        simulator: makes the decisions.
        ahead: how far its clock is ahead of ours.
        session_life: of new sessions in seconds, whatever was asked; `None` for what was asked.
        calls: what was served.
    """

    simulator: Simulator
    ahead: timedelta = timedelta()
    session_life: float | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def now(self) -> datetime:
        """What time it is for AWS."""
        return datetime.now(UTC) + self.ahead

    def context(self) -> dict[str, str]:
        """The condition keys that every request has."""
        now = self.now()
        return {
            "aws:CurrentTime": now.strftime(ISO),
            "aws:EpochTime": str(int(now.timestamp())),
            "aws:SourceIp": "127.0.0.1",
        }


class Refusal(HTTPException):
    """An error as AWS's query protocol (STS, IAM) says it."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(
            "<ErrorResponse>\n"
            f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
            "</Error>\n<RequestId>00000000-0000-0000-0000-000000000000</RequestId>\n"
            "</ErrorResponse>"
        )
        self.code = int(status)

    def get_headers(self, *_: object) -> list[tuple[str, str]]:
        return [("Content-Type", "text/xml")]


def refuse(code: str, message: str) -> NoReturn:
    """Answer 400 with this code and message."""
    raise Refusal(HTTPStatus.BAD_REQUEST, code, message)
