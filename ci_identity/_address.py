"""Which addresses a token may be sent to."""

import ipaddress
from urllib.parse import urlsplit

from ci_identity.errors import InsecureAddressError


def check_address(url: str, *, what: str) -> str:
    """Return `url` if it is https, or http to this very machine.

    Args:
        url: the address.
        what: where it comes from, for the message: a grant's key or a variable's name.

    Raises:
        InsecureAddressError: it is neither, or holds a user name or a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if host is None or parts.username is not None or parts.password is not None:
        message = f"{what} is not the address of a server"
        raise InsecureAddressError(
            message, cause="it must be https://HOST[:PORT][/PATH], without user or password"
        )
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return url
    message = f"{what} is {parts.scheme}://{host}: a token must not be sent there"
    raise InsecureAddressError(message)


def is_loopback(host: str) -> bool:
    """True if `host` is this very machine, by its literal address or the name `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
