"""The two calls of OAuth that this takes: token exchange (RFC 8693) and revocation (RFC 7009)."""

import re
from collections.abc import Mapping
from datetime import timedelta

from ci_identity._http import Answer, HttpSession, Response
from ci_identity._record import Record
from ci_identity.errors import ProviderAnswerError
from ci_identity.secret import Secret

MAX_LIFE = 10 * 365 * 86_400
"""Seconds. What lives longer is as good as without end, and no date would hold it."""

_HEADERS = {"Accept": "application/json", "User-Agent": "ci-identity"}
_TOKEN = re.compile(r"[!-~]{1,65536}")


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """The server said no.

    Attributes:
        error: the error code (RFC 6749, section 5.2); empty if it gave none that is one.
        status: the status of the answer.
    """

    def __init__(self, error: str, status: int) -> None:
        super().__init__("the server refused")
        self.error = error
        self.status = status

    def __str__(self) -> str:
        return self.error or f"status {self.status}"


class Issued(Record):
    """What the server issued (RFC 8693, section 2.2.1).

    Attributes:
        access_token: the token.
        token_type: how it is to be used, in lower case: `bearer`.
        life: how long it lives from now, if the server says so.
        scope: what it is for, where that is not what was asked.
        refresh_token: another token that nobody asked for, if it came along.
    """

    access_token: Secret
    token_type: str
    life: timedelta | None
    scope: frozenset[str] | None
    refresh_token: Secret | None


def exchange(http: HttpSession, url: str, form: Mapping[str, str]) -> Issued:
    """Ask the token endpoint at `url` to exchange a token.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or not as such an endpoint does.
    """
    response = http.post(url, form=form, headers=_HEADERS)
    answer, host = response.json(), response.host
    if not answer.is_object:
        raise _strange(response)
    if not response.is_ok:
        raise _refused(response)
    scope = None if answer.get("scope") is None else answer.text("scope")
    return Issued(
        access_token=_token(answer, "access_token", host),
        token_type=answer.text("token_type").lower(),
        life=_life(answer, host),
        scope=None if scope is None else frozenset(scope.split()),
        refresh_token=_token(answer, "refresh_token", host)
        if answer.get("refresh_token")
        else None,
    )


def revoke(http: HttpSession, url: str, form: Mapping[str, str]) -> None:
    """Have a token ended by the revocation endpoint at `url`.

    Its answer says no more than 200, and 200 too of a token that it does not know; a body is not to
    be read (RFC 7009, section 2.2). But a page is the answer of something else.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or something else did.
    """
    response = http.post(url, form=form, headers=_HEADERS)
    if response.body.lstrip().startswith(b"<"):
        raise _strange(response)
    if not response.is_ok:
        raise _refused(response)


def _strange(response: Response) -> ProviderAnswerError:
    message = f"{response.host} does not answer as OAuth has it (status {response.status})"
    return ProviderAnswerError(message)


def _refused(response: Response) -> Refused:
    error = str(response.json().get("error"))
    return Refused(error if re.fullmatch("[a-z_]{1,40}", error) else "", response.status)


def _token(answer: Answer, name: str, host: str) -> Secret:
    token = answer.text(name)
    if not _TOKEN.fullmatch(token):
        raise _no(name, host)
    return Secret(token)


def _life(answer: Answer, host: str) -> timedelta | None:
    if answer.get(name := "expires_in") is None:
        return None
    life = answer.integer(name)
    if life <= 0:
        raise _no(name, host)
    return timedelta(seconds=min(life, MAX_LIFE))


def _no(name: str, host: str) -> ProviderAnswerError:
    return ProviderAnswerError(f"{host}: the answer has a {name} that is none")
