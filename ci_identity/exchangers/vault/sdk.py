"""A step's token in hvac's own client, for callers of the library. Imports hvac and requests."""

from typing import Any

import hvac
import requests
from requests.adapters import HTTPAdapter

from ci_identity import _tls
from ci_identity._call import READ_TIMEOUT
from ci_identity._network import Network
from ci_identity.secret import Secret

_NO_CERTIFICATE: Any = ()
"""For hvac, which takes the one that VAULT_CLIENT_CERT names where it is given `None`."""


def hvac_client(
    address: str, network: Network, namespace: str | None, token: Secret | None
) -> hvac.Client:
    """Return a client that is not left to find a token, a server, a proxy or a CA by itself."""
    session = requests.Session()
    session.trust_env = False  # no ~/.netrc: requests lets it override headers (psf/requests#3929)
    session.mount("https://", _Adapter(network))
    if network.proxy:
        session.proxies = {"https": network.proxy}
    return hvac.Client(
        url=address,
        token=token.reveal() if token else "",
        namespace=namespace,
        session=session,
        verify=network.ca_file or _tls.system_folder() or True,
        cert=_NO_CERTIFICATE,
        timeout=int(READ_TIMEOUT),
        allow_redirects=False,
    )


class _Adapter(HTTPAdapter):
    """Opens connections whose keys nobody is told: SSLKEYLOGFILE would have them in a file."""

    def __init__(self, network: Network) -> None:
        self._network = network
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = _tls.context(self._network.ca_file)
        super().init_poolmanager(*args, **kwargs, ssl_context=context)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        context = _tls.context(self._network.ca_file)
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=context)
