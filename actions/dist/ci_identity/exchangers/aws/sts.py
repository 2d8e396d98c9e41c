"""One unsigned call to STS, and what its answer says. No SDK: it takes one request.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.parsers import expat

from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity._record import Record
from ci_identity.errors import ProviderAnswerError
from ci_identity.secret import Secret

ACTION, VERSION = "AssumeRoleWithWebIdentity", "2011-06-15"

_RESULT = (f"{ACTION}Response", f"{ACTION}Result")
_ERROR = ("ErrorResponse", "Error")
_SHAPES = {
    "AssumedRoleId": r"[A-Z0-9]{4,128}:[A-Za-z0-9_+=,.@-]{2,64}",
    "Arn": r"[!-~]{20,2048}",
    "AccessKeyId": r"[A-Za-z0-9_]{16,128}",
    # Real ones have 40 and some hundred; a log could not be masked for a text of one or two.
    "SecretAccessKey": r"[!-~]{16,1024}",
    "SessionToken": r"[!-~]{16,65536}",
    "Expiration": r"[0-9T:.-]{19,32}Z",
}


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """STS said no.

    Attributes:
        code: its error code; empty if it is not one that may be shown.
        text: its message: to be looked at, never passed on.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__("STS refused")
        self.code = code if re.fullmatch("[A-Za-z.]{1,64}", code) else ""
        self.text = text


class Session(Record):
    """What STS issued.

    Attributes:
        role_id: `AssumedRoleId`, which is `aws:userid` in policies: `AROA…:SESSION-NAME`.
        arn: the session's ARN.
        access_key_id, secret_access_key, session_token: the keys.
        expires_at: when AWS ends it (UTC, by AWS's clock).
        packed_policy: how much of the limit for packed policies is used, in percent, if any.
    """

    role_id: str
    arn: str
    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    expires_at: datetime
    packed_policy: int | None


def assume_role(http: HttpSession, url: str, parameters: Mapping[str, str]) -> Session:
    """Ask the STS at `url` for a session.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or not as STS does.
    """
    form = {"Action": ACTION, "Version": VERSION, **parameters}
    response = http.post(url, form=form, headers={"User-Agent": "ci-identity"})
    host = urlsplit(url).netloc
    answer = parse(response.body, host, status=response.status)
    if response.is_ok:
        return _session(answer, host)
    raise Refused(answer.text(*_ERROR, "Code"), str(answer.get(*_ERROR, "Message")))


def _session(answer: Answer, host: str) -> Session:
    def text(*path: str) -> str:
        found = answer.text(*_RESULT, *path)
        if not re.fullmatch(_SHAPES[path[-1]], found):
            message = f"{host}: the answer has a {path[-1]} that is none"
            raise ProviderAnswerError(message)
        return found

    packed = str(answer.get(*_RESULT, "PackedPolicySize"))
    return Session(
        role_id=text("AssumedRoleUser", "AssumedRoleId"),
        arn=text("AssumedRoleUser", "Arn"),
        access_key_id=text("Credentials", "AccessKeyId"),
        secret_access_key=Secret(text("Credentials", "SecretAccessKey")),
        session_token=Secret(text("Credentials", "SessionToken")),
        expires_at=_time(text("Credentials", "Expiration"), host),
        packed_policy=int(packed) if re.fullmatch("[0-9]{1,3}", packed) else None,
    )


def _time(text: str, host: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{host}: the answer has an Expiration that is none"
        raise ProviderAnswerError(message) from None


def parse(body: bytes, host: str, *, status: int) -> Answer:
    """Return an XML answer by the names of its elements; their attributes say nothing here.

    Raises:
        ProviderAnswerError: it is not XML, or brings a document type.
    """
    root: dict[str, object] = {}
    open_elements, texts = [root], [""]

    def start(_: str, __: dict[str, str]) -> None:
        open_elements.append({})
        texts.append("")

    def end(name: str) -> None:
        inner, text = open_elements.pop(), texts.pop()
        open_elements[-1][name] = inner or text

    def data(text: str) -> None:
        texts[-1] += text

    def refuse(*_: object) -> None:
        raise ValueError

    parser = expat.ParserCreate("UTF-8")  # whatever it says itself: a codec of its choice may raise
    parser.buffer_text = True  # or a text of a million lines would be put together line by line
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = refuse  # without one there are no entities of its own
    try:
        parser.Parse(body, True)  # noqa: FBT003  # the parameter has no name
    except (expat.ExpatError, ValueError):
        message = f"{host} does not answer as STS does (status {status})"
        raise ProviderAnswerError(message) from None
    return Answer(root, host)
