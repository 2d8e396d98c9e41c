"""Asks a CI's token endpoint for an id token: bounded, retried, and silent about its answer."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ci_identity._answer import Response
from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity.errors import (
    ProviderUnavailableError,
    TlsError,
    TokenRequestError,
    UnsendableError,
)
from ci_identity.secret import Secret

MINT_BUDGET = 10.0
"""Seconds for asking, with its retries. Apart from the exchange's own, so neither starves."""

Send = Callable[[HttpSession], Response]


def request_token(  # noqa: PLR0913  # all but two are keyword-only
    network: Network,
    send: Send,
    *,
    url: str,
    field: str,
    forge: str,
    variables: str,
    pause: Callable[[float], None],
) -> Secret:
    """Return the token that a CI's endpoint gives.

    Args:
        network: how the endpoint is reached.
        send: sends the request in a session.
        url: the endpoint, for messages.
        field: where in the answer the token is.
        forge: the CI, for messages.
        variables: what the request was made of, for messages.
        pause: sleeps that many seconds.

    Raises:
        TokenRequestError: it gave none; the message holds nothing of the answer.
    """
    what, host = f"{forge}'s token endpoint", urlsplit(url).netloc

    def ask() -> Secret:
        try:
            response = send(session)
            if not response.is_ok:
                message = f"{what}: {host} answered {response.status}"
                raise TokenRequestError(message)
            return Secret(response.json().text(field))
        except ProviderUnavailableError as error:
            message = f"{what}: {error}"
            is_tls = isinstance(error, TlsError)
            hint = "name the CA's file in REQUESTS_CA_BUNDLE" if is_tls else None
            raise TokenRequestError(message, hint=hint, retry_after=error.retry_after) from None
        except UnsendableError:
            message = f"no request can be made of {variables}"
            raise TokenRequestError(message) from None

    with HttpSession(network) as session:
        session.deadline = time.monotonic() + MINT_BUDGET
        return retry(ask, budget=MINT_BUDGET, pause=pause)
