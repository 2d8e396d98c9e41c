"""Why the endpoint refuses, in words for a client, for a person and for the record."""

import json
from enum import StrEnum

from ci_identity._record import Record
from ci_identity.delivery.message import Reply
from ci_identity.delivery.peer import Peer


class Reason(StrEnum):
    """Why a request was refused. The values are codes, as those of errors are."""

    PEER = "endpoint-peer"
    REQUEST = "endpoint-request"
    HOST = "endpoint-host"
    BROWSER = "endpoint-browser"
    PATH = "endpoint-path"
    METHOD = "endpoint-method"
    BEARER = "endpoint-bearer"
    OTHER = "endpoint-other"
    FAILED = "endpoint-failed"

    @property
    def sentence(self) -> str:
        """The same for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.PEER: "this process is not one of the step that was given the credential",
    Reason.REQUEST: "this is not a request that the endpoint takes",
    Reason.HOST: "the request is for another host",
    Reason.BROWSER: "the request comes from a web page",
    Reason.PATH: "nothing is served at this path, or no longer",
    Reason.METHOD: "this method is not served at this path",
    Reason.BEARER: "the token of the request is missing or wrong",
    Reason.OTHER: "this is not what the grant is for",
    Reason.FAILED: "there is no credential to give right now; the log of the step says more",
}


class Refused(Record):
    """A request that was refused.

    Attributes:
        reason: why.
        peer: who asked, as far as it is known.
        detail: what is wrong with what was sent; fit to be shown.
        times: how often this process was refused this path for this reason, this time included.
    """

    reason: Reason
    peer: Peer
    detail: str = ""
    times: int = 1


def refusal(refused: Refused) -> Reply:
    """Return the 403 that most clients show a part of, whatever key they look for."""
    text = ": ".join(filter(None, ("ci-identity", refused.reason.sentence, refused.detail)))
    answer = {
        "error": str(refused.reason),
        "error_description": text,
        "code": str(refused.reason),
        "message": text,
        "errors": [text],
    }
    return Reply(status=403, body=json.dumps(answer).encode())
