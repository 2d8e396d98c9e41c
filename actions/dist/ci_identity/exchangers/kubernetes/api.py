"""Three calls to an API server, and what its answers say. No SDK: each is one request.

Sources: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/,
https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/,
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Self, cast
from urllib.parse import quote, urlsplit

from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity._jws import take_apart
from ci_identity._network import Network
from ci_identity._record import Record
from ci_identity.errors import ProviderAnswerError, TlsError, UnansweredError
from ci_identity.model import KubernetesTarget
from ci_identity.secret import Secret

SECRET_TYPE = "ci-identity/lease"  # noqa: S105  # a type of object: nothing is in it
"""What a throw-away Secret is, so that a policy can tell it from all others."""

_WORD = r"[A-Za-z][A-Za-z0-9.\[\]/-]{0,63}"
_USER = r' User "((?:[^"\\]|\\.){1,1024})" cannot '
_RULE = r"^admission webhook |AdmissionPolicy .* denied request"
_UID = re.compile(r"[0-9A-Za-z-]{1,64}")
_TOKEN = re.compile(r"[\w.-]{16,65536}", re.ASCII)


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """The API server said no.

    Attributes:
        status: the HTTP status.
        reason: the word it has for it, such as `Forbidden`; empty if it has none.
        kind: the kind of object that it is about, such as `serviceaccounts`; empty if unknown.
        fields: the fields of the request that it does not take.
        user: who the job is to it, where RBAC says no: strangers write that.
        is_ruled_out: whether a rule says no to what RBAC allows.
    """

    def __init__(self, status: int, answer: Answer) -> None:
        super().__init__("the API server refused")
        self.status = status
        self.reason = _word(answer.get("reason"))
        self.kind = _word(answer.get("details", "kind"))
        causes = answer.get("details", "causes")
        named = [
            _word(cast("Mapping[str, object]", cause).get("field"))
            for cause in (cast("list[object]", causes) if isinstance(causes, list) else [])
            if isinstance(cause, dict)
        ]
        self.fields = tuple(filter(None, named))
        text = str(answer.get("message"))
        found = re.search(_USER, text)
        self.user = found[1] if found else ""
        self.is_ruled_out = bool(re.search(_RULE, text)) or (
            status == HTTPStatus.FORBIDDEN and not found
        )

    @property
    def is_about_a_secret(self) -> bool:
        """Whether it is the Secret that it has something to say of: two words of it are in use."""
        return self.kind in {"secrets", "Secret"}


class ThrowAway:
    """The Secret of one lease: empty, and only there to be deleted.

    Attributes:
        name: its name, which nobody else gives.
        uid: what the API server calls it; `None` while its answer is not known.
        may_be_there: whether it was made, or nobody knows.
        may_be_bound: whether a token that ends with it was issued, or nobody knows.
    """

    def __init__(self, name: str, uid: str | None = None) -> None:
        self.name = name
        self.uid = uid
        self.may_be_there = self.may_be_bound = False

    @property
    def precondition(self) -> Mapping[str, str]:
        """The uid, where a request is to be for no other object of that name."""
        return {"uid": self.uid} if self.uid else {}


class Issued(Record):
    """A token as it was issued.

    Attributes:
        token: the token.
        claims: its claims, unverified.
        ends: when it ends by them (UTC), whatever is said beside it.
        life: how long that is from when it was issued, both by the server's clock.
    """

    token: Secret
    claims: Answer
    ends: datetime
    life: timedelta


class Api:
    """One connection to an API server, for what a grant needs there; a context manager.

    Args:
        target: the grant's `kubernetes:`.
        network: how it is reached.
        bearer: returns the job's token.
        deadline: when its requests are broken off (`time.monotonic()`).

    Every call raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or not as an API server does.
    """

    def __init__(
        self,
        target: KubernetesTarget,
        network: Network,
        bearer: Callable[[], Secret],
        *,
        deadline: float,
    ) -> None:
        self._target = target
        self._namespace = f"/api/v1/namespaces/{quote(target.namespace, safe='')}"
        self._bearer = bearer
        self._http = HttpSession(network)
        self._http.deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def make(self, secret: ThrowAway, about: Mapping[str, Mapping[str, str]]) -> None:
        """Create the Secret, with nothing in it but `about`: its labels and annotations.

        One that is there already is ours: an answer was lost, and nobody else has its name.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret.name, **about},
            "type": SECRET_TYPE,
            "immutable": True,
        }
        try:
            answer = self._call("POST", f"{self._namespace}/secrets", body)
        except (UnansweredError, ProviderAnswerError):
            secret.may_be_there = True
            raise
        except Refused as refused:
            if refused.reason != "AlreadyExists":
                raise
            secret.may_be_there = True
            return
        secret.may_be_there = True
        uid = answer.text("metadata", "uid")
        if not _UID.fullmatch(uid):
            message = f"{self._host}: the answer has a uid that is none"
            raise ProviderAnswerError(message)
        secret.uid = uid

    def issue(self, secret: ThrowAway, life: timedelta) -> Issued:
        """Have a token of the service account issued that ends with the Secret."""
        bound = {"apiVersion": "v1", "kind": "Secret", "name": secret.name, **secret.precondition}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": list(self._target.token_audiences),
                "expirationSeconds": int(life.total_seconds()),
                "boundObjectRef": bound,
            },
        }
        account = quote(self._target.service_account, safe="")
        path = f"{self._namespace}/serviceaccounts/{account}/token"
        was_bound, secret.may_be_bound = secret.may_be_bound, True
        try:
            answer = self._call("POST", path, body)
        except Refused:
            secret.may_be_bound = was_bound
            raise
        return _issued(answer.text("status", "token"), self._host)

    def delete(self, secret: ThrowAway) -> bool:
        """Delete the Secret; return whether it is gone, and does not only wait to be."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": secret.precondition}
        try:
            answer = self._call("DELETE", f"{self._namespace}/secrets/{secret.name}", body)
        except Refused as refused:
            # Not there any more, or another one of that name is (a precondition that failed).
            gone = {"NotFound", "Conflict"} if secret.uid else {"NotFound"}
            if not (refused.is_about_a_secret and refused.reason in gone):
                raise
            return True
        return answer.get("kind") == "Status" and answer.get("status") == "Success"

    @property
    def _host(self) -> str:
        return urlsplit(self._target.server).netloc

    def _call(self, method: str, path: str, body: Mapping[str, object]) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._bearer().reveal()}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "ci-identity",
        }
        url = self._target.server.rstrip("/") + path
        try:
            response = self._http.send(method, url, headers=headers, body=json.dumps(body).encode())
        except TlsError as error:
            raise TlsError(str(error), hint="name the cluster's CA in `ca_file`") from None
        answer = response.json()
        has_failed = response.status >= HTTPStatus.MULTIPLE_CHOICES
        if not answer.is_object or (has_failed and answer.get("kind") != "Status"):
            message = f"{self._host} answers as no API server does (status {response.status})"
            raise ProviderAnswerError(message)
        if has_failed:
            raise Refused(response.status, answer)
        return answer


def _issued(token: str, host: str) -> Issued:
    try:
        if _TOKEN.fullmatch(token):
            claims = Answer(take_apart(token)[1], host)
            ends, begins = (
                datetime.fromtimestamp(claims.integer(name), UTC) for name in ("exp", "iat")
            )
            return Issued(token=Secret(token), claims=claims, ends=ends, life=ends - begins)
    except (ValueError, OverflowError, OSError):
        pass
    message = f"{host}: the answer has a token that is none"
    raise ProviderAnswerError(message)


def _word(found: object) -> str:
    return found if isinstance(found, str) and re.fullmatch(_WORD, found) else ""
