"""The two calls of OAuth that this takes: token exchange (RFC 8693) and revocation (RFC 7009)."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus

from ci_identity._answer import Answer, Response
from ci_identity._http import HttpSession
from ci_identity._record import Record
from ci_identity.errors import ProviderAnswerError
from ci_identity.secret import Secret

MAX_LIFE = timedelta(days=3650)
"""What lives longer is as good as without end, and no date would hold it."""

_SUCCESS = range(200, 300)
"""RFC 6749 has 200 alone; a token that came with 201 lives all the same, and is to be ended."""

WRONG_PATH = (
    "compare the path of `token_exchange.url` with the `token_endpoint` that the server tells"
    " of itself, at /.well-known/openid-configuration or beside it (RFC 8414)"
)
"""What to look at where the endpoint seems to be none, or another one."""

_HEADERS = {"Accept": "application/json", "User-Agent": "ci-identity"}


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
    """What is said of the token (RFC 8693, section 2.2.1).

    Attributes:
        token_type: how it is to be used, in lower case: `bearer`.
        life: how long it lives from now, if the server says so.
        scope: what it is for, where that is not what was asked.
    """

    token_type: str
    life: timedelta | None
    scope: frozenset[str] | None


def exchange(
    http: HttpSession, url: str, form: Mapping[str, str], *, hold: Callable[[Secret], None]
) -> Issued:
    """Ask the token endpoint at `url` to exchange a token.

    Args:
        http: the connection.
        url: the endpoint.
        form: the request.
        hold: called with each token as soon as it is read, whatever else may be wrong: the access
            token, and a refresh token that came along.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or not as such an endpoint does.
    """
    response = http.post(url, form=form, headers=_HEADERS)
    answer = response.json()
    if not answer.is_object:
        raise _strange(
            response, hint=WRONG_PATH if response.status == HTTPStatus.NOT_FOUND else None
        )
    if response.status not in _SUCCESS:
        raise _refused(response)
    hold(_token(answer, "access_token", response.host))
    if answer.get("refresh_token"):
        hold(_token(answer, "refresh_token", response.host))
    return Issued(
        token_type=answer.text("token_type").lower(),
        life=_life(answer, response.host),
        scope=None if answer.get("scope") is None else frozenset(answer.text("scope").split()),
    )


def revoke(http: HttpSession, url: str, form: Mapping[str, str]) -> None:
    """Have a token ended by the revocation endpoint at `url`.

    Its answer says no more than 200, and 200 too of a token that it does not know; a body is not to
    be read (RFC 7009, section 2.2). But a page is the answer of something else, and there are
    servers of OAuth that say 200 and an `error`.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or something else did.
    """
    response = http.post(url, form=form, headers=_HEADERS)
    if response.body.lstrip().startswith(b"<"):
        raise _strange(response)
    if not response.is_ok or response.json().get("error") is not None:
        raise _refused(response)


def _strange(response: Response, hint: str | None = None) -> ProviderAnswerError:
    message = f"{response.host} does not answer as OAuth has it (status {response.status})"
    return ProviderAnswerError(message, hint=hint)


def _refused(response: Response) -> Refused:
    error = str(response.json().get("error"))
    return Refused(error if re.fullmatch("[a-z_]{1,40}", error) else "", response.status)


def _token(answer: Answer, name: str, host: str) -> Secret:
    token = answer.text(name)
    if not re.fullmatch("[!-~]{1,65536}", token):
        raise _no(name, host)
    return Secret(token)


def _life(answer: Answer, host: str) -> timedelta | None:
    if answer.get(name := "expires_in") is None:
        return None
    life = answer.integer(name)
    if life <= 0:
        raise _no(name, host)
    return timedelta(seconds=min(life, int(MAX_LIFE.total_seconds())))


def _no(name: str, host: str) -> ProviderAnswerError:
    return ProviderAnswerError(f"{host}: the answer has a {name} that is none")
