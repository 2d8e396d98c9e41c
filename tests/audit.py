"""What a server's own record must show of every job that got in, whoever let it in."""

import hvac.exceptions

from ci_identity.sandbox.openbao import AuditEntry, OpenBao


def assert_all_revoked(openbao: OpenBao, *, logins_before: int = 0) -> None:
    """Assert that every login since then was ended, by itself or by its accessor, and is dead.

    Args:
        openbao: the server.
        logins_before: how many of its logins not to look at: `len(openbao.logins())` of earlier.
    """
    ended = {_ended_token(entry) for entry in openbao.revocations()}
    for login in openbao.logins()[logins_before:]:
        if login["auth"]["token_type"] == "batch":
            continue  # it has no accessor, and nobody can end it
        accessor = login["auth"]["accessor"]
        assert accessor in ended, f"the login token {accessor} was never revoked"
        assert not is_alive(openbao, accessor, namespace=_namespace(login))


def is_alive(openbao: OpenBao, accessor: str, *, namespace: str | None = None) -> bool:
    """True if the server still knows the token with this accessor."""
    try:
        openbao.client(namespace=namespace).auth.token.lookup_accessor(accessor)
    except hvac.exceptions.VaultError:
        return False
    return True


def _ended_token(entry: AuditEntry) -> str | None:
    """Return the accessor of the token that this revocation ended, if it ended one."""
    match entry["request"]["path"]:
        case "auth/token/revoke-self":
            return str(entry["auth"]["accessor"])
        case "auth/token/revoke-accessor":
            return str(entry["request"]["data"]["accessor"])
        case _:
            return None


def _namespace(login: AuditEntry) -> str | None:
    path: str | None = login["request"]["namespace"].get("path")
    return path
