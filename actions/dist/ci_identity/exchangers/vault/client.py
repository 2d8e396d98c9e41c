"""One way to talk to a Vault or OpenBao server: hvac under our HTTP rules, errors mapped."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import hvac
import hvac.exceptions
import requests

from ci_identity._http import Answer, HttpSession, Network, retry
from ci_identity.errors import CiIdentityError, ProviderAnswerError
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.secret import Secret

RETRY_BUDGET = 20.0
"""Seconds for each step of an exchange, retries included."""

_NO_CERTIFICATE: Any = ()
"""For hvac, which takes the one that VAULT_CLIENT_CERT names where it is given `None`."""

T = TypeVar("T")


DONE = {"request_id": ""}
"""What stands for an answer without content, which is how the server says that it is done."""


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

    hvac is not left to find a token or a server by itself: it would read VAULT_TOKEN, VAULT_ADDR
    and ~/.vault-token.
    """

    def __init__(
        self, address: str, network: Network, *, namespace: str | None, token: Secret | None = None
    ) -> None:
        self._session = HttpSession(network)
        self.hvac: Any = hvac.Client(  # Any: hvac has no types
            url=address,
            token=token.reveal() if token else "",
            namespace=namespace,
            session=self._session,
            verify=network.ca_file or True,
            cert=_NO_CERTIFICATE,
            allow_redirects=False,
        )
        self._host = urlsplit(address).netloc

    def call(self, method: Callable[..., Any], /, *args: object, **kwargs: object) -> Answer:
        """Call a method of `self.hvac` and return its answer.

        Raises:
            Refused: the server answered with an error.
            ProviderUnavailableError: it did not answer, or said that it cannot right now.
        """
        try:
            answer = method(*args, **kwargs)
        except hvac.exceptions.VaultError as error:
            texts = error.errors if isinstance(error.errors, list) else ()
            raise Refused(tuple(str(text) for text in texts)) from None
        except (requests.RequestException, ValueError):  # its text may have a header's value
            message = f"{self._host}: the request could not be made"
            raise ProviderAnswerError(message) from None
        if answer is None or isinstance(answer, dict):
            return Answer(cast("object", answer), self._host)
        status = getattr(answer, "status_code", 200)  # hvac gives JSON back without its response
        if status == 204:  # noqa: PLR2004  # No Content: how Vault says "done"
            return Answer(DONE, self._host)
        message = f"{self._host} does not answer as Vault does (status {status})"
        raise ProviderAnswerError(message)

    @property
    def deadline(self) -> float | None:
        """The time (`time.monotonic()`) at which a call is broken off, if there is one."""
        return self._session.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._session.deadline = deadline

    def post(self, path: str, body: Mapping[str, object]) -> Answer:
        """POST `body` to an API path that hvac has no method for; see `call`."""
        return self.call(self.hvac.adapter.post, f"/v1/{path}", json=body)


def retried(call: Callable[[], T], request: ExchangeRequest) -> T:
    """Return `call()`, tried again within `RETRY_BUDGET` while the server cannot answer."""
    return retry(call, budget=RETRY_BUDGET, pause=request.pause)


def present(client: VaultClient | None) -> VaultClient:
    """Return `client`, which is there: the login is the first thing that an exchange does."""
    if client is None:
        message = "Vault is used before the login"
        raise CiIdentityError(message)
    return client
