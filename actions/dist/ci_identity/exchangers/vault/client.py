"""One way to talk to a Vault or OpenBao server: its API under our HTTP rules, errors mapped."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import quote

from ci_identity._answer import Answer, Response
from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity.errors import CiIdentityError, ProviderAnswerError
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.secret import Secret

if TYPE_CHECKING:
    import hvac

RETRY_BUDGET = 20.0
"""Seconds for each step of an exchange, retries included."""

DONE = {"request_id": ""}
"""What stands for an answer without content, which is how the server says that it is done."""

_NO_CONTENT = 204
_NOT_FOUND = 404
_AS_IS = "!$&'()+,/:;=@[]~"

T = TypeVar("T")


class Refused(Exception):  # noqa: N818  # a refusal is an answer here; the caller gives it meaning
    """The server said no. `errors` is its text: to be looked at, never passed on."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("the server refused")
        self.errors = errors

    @property
    def is_permission_denied(self) -> bool:
        """True if a policy says no, rather than an engine."""
        return any("permission denied" in text for text in self.errors)


class VaultClient:
    """A server, a namespace and a token; each call gives an `Answer` or raises.

    Not by hvac: it brings 110 ms of import to the way to a credential (docs/adr/0021).
    """

    def __init__(
        self, address: str, network: Network, *, namespace: str | None, token: Secret | None = None
    ) -> None:
        self._address = address.rstrip("/")
        self._network = network
        self._namespace = namespace
        self._token = token
        self._http = HttpSession(network)

    def read(self, path: str) -> Answer:
        """GET an API path; an answer without any field where nothing is there.

        Raises:
            Refused: the server answered with an error.
            ProviderUnavailableError: it did not answer, or said that it cannot right now.
        """
        response = self._http.get(self._url(path), headers=self._headers())
        if response.status == _NOT_FOUND and response.json().is_object:
            return Answer(None, response.host)
        return _answer(response)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """POST `body` to an API path; raises as `read` does."""
        headers = self._headers()
        return _answer(self._http.post(self._url(path), headers=headers, json_body=body or {}))

    @property
    def deadline(self) -> float | None:
        """The time (`time.monotonic()`) at which a call is broken off, if there is one."""
        return self._http.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._http.deadline = deadline

    def hvac(self) -> "hvac.Client":
        """Return a client of hvac's with the same token, for callers of the library."""
        from ci_identity.exchangers.vault.sdk import hvac_client  # noqa: PLC0415  # on demand

        return hvac_client(self._address, self._network, self._namespace, self._token)

    def _url(self, path: str) -> str:
        return f"{self._address}/v1/{quote(path, safe=_AS_IS)}"

    def _headers(self) -> dict[str, str]:
        found = {"X-Vault-Request": "true"}  # which agents that stand before a server may ask for
        if self._namespace:
            found["X-Vault-Namespace"] = self._namespace
        if self._token:
            found["X-Vault-Token"] = self._token.reveal()
        return found


def _answer(response: Response) -> Answer:
    if response.status == _NO_CONTENT:
        return Answer(DONE, response.host)
    answer = response.json()
    errors = answer.get("errors")
    if response.status >= 400 and isinstance(errors, list):  # noqa: PLR2004  # client errors begin
        raise Refused(tuple(str(text) for text in cast("list[object]", errors)))
    if not response.is_ok or not answer.is_object:
        message = f"{response.host} does not answer as Vault does (status {response.status})"
        raise ProviderAnswerError(message)
    return answer


def retried(call: Callable[[], T], request: ExchangeRequest) -> T:
    """Return `call()`, tried again within `RETRY_BUDGET` while the server cannot answer."""
    return retry(call, budget=RETRY_BUDGET, pause=request.pause)


def present(client: VaultClient | None) -> VaultClient:
    """Return `client`, which is there: the login is the first thing that an exchange does."""
    if client is None:
        message = "Vault is used before the login"
        raise CiIdentityError(message)
    return client
