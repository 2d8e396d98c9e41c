"""One call to Entra's token endpoint, and what its answer says. No SDK: it takes one request.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow, third
case: access token request with a federated credential.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity._jws import take_apart
from ci_identity._record import Record
from ci_identity.errors import ProviderAnswerError
from ci_identity.secret import Secret

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523, section 2.2

MAX_LIFE = 48 * 3600
"""Seconds. No token of Entra is known to live longer than 28 h; this is for what is no life."""

_TOKEN = re.compile(r"[!-~]{1,65536}")
_NUMBER = re.compile(r"AADSTS([0-9]{4,9})\b")


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """Entra said no.

    Attributes:
        number: the digits of its AADSTS code; empty if it has none.
        error: the error code of OAuth (RFC 6749, section 5.2); empty if it is none.
    """

    def __init__(self, number: str, error: str) -> None:
        super().__init__("Entra refused")
        self.number = number
        self.error = error


class Issued(Record):
    """What Entra issued.

    Attributes:
        access_token: the token.
        life: how long it lives from now.
    """

    access_token: Secret
    life: timedelta

    @property
    def claims(self) -> Mapping[str, object]:
        """Its claims, unverified; empty if the token is not a readable JWT, as Entra may choose."""
        try:
            return take_apart(self.access_token.reveal())[1]
        except ValueError:
            return {}


def ask(http: HttpSession, url: str, form: Mapping[str, str], *, correlation_id: str) -> Issued:
    """Ask the token endpoint at `url` for a token.

    Args:
        http: the connection.
        url: the tenant's token endpoint.
        form: the request.
        correlation_id: a UUID that Entra's sign-in log will have.

    Raises:
        Refused: it answered with an error.
        ProviderUnavailableError: it did not answer, or not as Entra does.
    """
    headers = {"User-Agent": "ci-identity", "client-request-id": correlation_id}
    response = http.post(url, form=form, headers=headers)
    host = urlsplit(url).netloc
    answer = response.json()
    if not answer.is_object:
        message = f"{host} does not answer as Entra does (status {response.status})"
        raise ProviderAnswerError(message)
    if response.is_ok:
        return _issued(answer, host)
    error = answer.text("error")
    raise Refused(_number(answer), error if re.fullmatch("[a-z_]{1,40}", error) else "")


def _issued(answer: Answer, host: str) -> Issued:
    token, life = answer.text("access_token"), answer.integer("expires_in")
    for name, is_one in (
        ("token_type", answer.text("token_type").lower() == "bearer"),
        ("access_token", _TOKEN.fullmatch(token)),
        ("expires_in", 0 < life <= MAX_LIFE),
    ):
        if not is_one:
            message = f"{host}: the answer has a {name} that is none"
            raise ProviderAnswerError(message)
    return Issued(access_token=Secret(token), life=timedelta(seconds=life))


def _number(answer: Answer) -> str:
    codes = answer.get("error_codes")
    if isinstance(codes, list) and codes:
        first = cast("list[object]", codes)[0]
        if type(first) is int and 0 < first < 10**9:
            return str(first)
    found = _NUMBER.match(str(answer.get("error_description")))
    return found[1] if found else ""
