"""How a server is reached: through which proxy, trusting which CAs, and who had a say in it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from ci_identity._address import is_loopback
from ci_identity._record import Record
from ci_identity.errors import SettingError

HTTPS_PORT = 443
_NO_VARIABLES: tuple[str, ...] = ()


class Network(Record):
    """How one server is reached, and which environment variables had a say in it.

    Attributes:
        ca_file: the CA bundle to verify with; `None` for the system's own, else Mozilla's.
        proxy: the proxy's address, or `None`.
        variables: the names of the variables that decided the two.
    """

    ca_file: str | None = None
    proxy: str | None = None
    variables: tuple[str, ...] = ()

    @classmethod
    def from_environ(
        cls, url: str, environ: Mapping[str, str], *, ca_variables: tuple[str, ...] = ()
    ) -> "Network":
        """Read CA and proxy for `url` from `environ`, the provider's own CA variables first.

        Raises:
            SettingError: a CA variable names a file that is not there, or the proxy none we speak.
        """
        parts = urlsplit(url)
        if parts.scheme == "http":  # to this very machine, by `check_address`: nobody to ask
            return cls()
        is_here = is_loopback(parts.hostname or "")
        proxy, variables = (None, _NO_VARIABLES) if is_here else _proxy(url, environ)
        for name in (*ca_variables, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            if ca_file := environ.get(name):
                _check_ca_file(name, ca_file)
                return cls(ca_file=ca_file, proxy=proxy, variables=(*variables, name))
        return cls(proxy=proxy, variables=variables)


def _proxy(url: str, environ: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    for name in ("no_proxy", "NO_PROXY"):
        entries = environ.get(name, "").lower().split(",")
        if any(_is_covered(url, entry.strip()) for entry in entries):
            return None, ()
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if proxy := environ.get(name):
            return _checked(proxy, name), (name,)
    return None, ()


def _checked(proxy: str, name: str) -> str:
    """Return the address of a proxy, with its scheme."""
    full = proxy if "://" in proxy else f"http://{proxy}"  # as curl takes it
    with suppress(ValueError):
        parts = urlsplit(full)
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return full
    message = f"{name} is not the address of a proxy that can be used"
    hint = "write http://[USER:PASSWORD@]HOST:PORT; proxies by https or SOCKS are not spoken to"
    raise SettingError(message, hint=hint)


def _is_covered(url: str, entry: str) -> bool:
    """True if an entry of `NO_PROXY` covers `url`: a domain, a network or `*`, perhaps a port.

    What Go's and Python's own clients take too (https://pkg.go.dev/golang.org/x/net/http/httpproxy).
    """
    import ipaddress  # noqa: PLC0415  # for this alone

    parts = urlsplit(url)
    host = parts.hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, _, port = entry.partition(":")
    domain = name.removeprefix("*").lstrip(".")
    is_within = entry == "*" or (domain != "" and f".{host}".endswith(f".{domain}"))
    return is_within and port in {"", str(parts.port or HTTPS_PORT)}


def _check_ca_file(name: str, path: str) -> None:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113  # a text of theirs
        message = f"{name} names a CA file that cannot be read: {path}"
        raise SettingError(message)
