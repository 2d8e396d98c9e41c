"""Whom we believe to be the server that they say they are."""

import os
import socket
import ssl
from contextlib import suppress
from functools import cache

from ci_identity._wire import UntrustedError
from ci_identity.errors import SettingError


def secured(opened: socket.socket, *, host: str, context: ssl.SSLContext) -> socket.socket:
    """Return a connection on which TLS is spoken with `host`.

    An end that is not announced is an error there, not an end, where this Python can tell (3.11.2
    cannot): whoever cuts a connection cannot pass a piece of an answer off as the whole.

    Raises:
        UntrustedError: whoever answers is not `host`, or speaks no TLS.
    """
    name = host.encode("ascii")  # in bytes, as in `_wire`
    try:
        return context.wrap_socket(opened, server_hostname=name, suppress_ragged_eofs=False)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # gone before it could prove anything
        raise ConnectionResetError from None
    except ssl.SSLError:
        raise UntrustedError from None


@cache
def context(ca_file: str | None) -> ssl.SSLContext:
    """Return what connections are opened with; TLS 1.2 or later, name and chain verified.

    Not `ssl.create_default_context`: it would write the keys of our connections to the file that
    SSLKEYLOGFILE names, and take CAs from SSL_CERT_DIR, which any earlier step may have set.

    Args:
        ca_file: whose certificates are trusted instead of the system's, in PEM.

    Raises:
        SettingError: the file has no certificate.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        try:
            made.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError):
            message = f"there is no certificate to verify with in {ca_file}"
            raise SettingError(message, hint="the file must be in PEM") from None
    elif folder := system_folder():
        made.load_verify_locations(capath=folder)
    else:
        import certifi  # noqa: PLC0415  # OpenSSL 3 takes 40 ms to read it, so only where needed

        made.load_verify_locations(certifi.where())
    return made


def system_folder() -> str | None:
    """Return the folder of the system's own CAs, of which OpenSSL reads the one that it needs."""
    folder = ssl.get_default_verify_paths().openssl_capath  # as built in, whatever variables say
    with suppress(OSError), os.scandir(folder) as entries:
        if any(entry.name.endswith(".0") for entry in entries):  # named by c_rehash
            return folder
    return None
