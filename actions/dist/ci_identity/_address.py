"""Which addresses a token may be sent to."""

import re

from ci_identity.errors import InsecureAddressError

_LAST_PORT = 65_535
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][!-\[\]-~]*)?"
)
"""No more than every reader of addresses takes in the same way: of `http://evil.example\\[::1]/`
urllib says that the host is `::1`, and urllib3 connects to the other one.
"""


def check_address(url: str, *, what: str) -> str:
    """Return `url` if it is https, or http to this very machine.

    Args:
        url: the address.
        what: where it comes from, for the message: a grant's key or a variable's name.

    Raises:
        InsecureAddressError: it is neither, or holds a user name or a password.
    """
    found = _ADDRESS.fullmatch(url)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        message = f"{what} is not the address of a server"
        raise InsecureAddressError(
            message, cause="it must be https://HOST[:PORT][/PATH], without user or password"
        )
    host = found["host"].strip("[]")
    if found["scheme"] == "https" or is_loopback(host):
        return url
    message = f"{what} is http://{host}: a token must not be sent there"
    raise InsecureAddressError(message)


def is_loopback(host: str) -> bool:
    """True if `host` is this very machine, by its literal address or the name `localhost`."""
    if host == "localhost":
        return True
    if not host[-1:].isdigit() and ":" not in host:
        return False
    import ipaddress  # noqa: PLC0415  # for addresses in numbers alone

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
