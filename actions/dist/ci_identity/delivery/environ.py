"""What a step's process may see: nothing that mints, holds or leads to a credential not granted."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Never

from ci_identity._jws import decode
from ci_identity.errors import DeliveryError
from ci_identity.model import UnverifiedClaims

_LONG = 16
"""Characters from which on a value in another variable is a copy and no coincidence."""

MAX_TOKEN_FILE = 1 << 16
"""Bytes. The largest honest id token is under 16 KiB; a larger file is something else."""


JOB_TOKENS = frozenset({
    "GITHUB_TOKEN", "GH_TOKEN", "GITEA_TOKEN", "FORGEJO_TOKEN",
    "CI_JOB_TOKEN", "CI_REGISTRY_PASSWORD", "CI_DEPENDENCY_PROXY_PASSWORD", "CI_REPOSITORY_URL",
})  # fmt: skip
"""The CI's own job token, in some CIs a JWT: it stays, since steps work with the repository."""

_NEVER_REMOVED = JOB_TOKENS | {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TMPDIR", "TZ", "PWD",
    "GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY",
    "GITHUB_EVENT_PATH",
}  # fmt: skip
"""What no process can miss, and files of the CI that hold what an outsider may have written."""

AWS_CONFIG = "aws-config"
"""The name of the private AWS config file, in which each grant has a profile."""

_PRIVATE_FILES = {
    "AWS_CONFIG_FILE": AWS_CONFIG,
    "KUBECONFIG": "kubeconfig",
}
_PRIVATE_FOLDERS = {
    "CLOUDSDK_CONFIG": "gcloud",
    "AZURE_CONFIG_DIR": "azure",
    "AZD_CONFIG_DIR": "azd",
}
_NO_FILES = {
    # Not an empty file of ours: what another process of this user puts into one would win.
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "BOTO_CONFIG": os.devnull,  # ~/.boto would go before the endpoint
    "KUBERC": "off",  # ~/.kube/kuberc could give kubectl another --server, unverified
}
_NO_METADATA = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_GCE_CHECK": "true",
    "METADATA_SERVER_DETECTION": "none",
}
_LOOPBACK = ("127.0.0.1", "localhost")


class Environment(Mapping[str, str]):
    """The variables of one step's process, with its credentials: for reading, never for printing.

    `repr` shows names only; `pickle`, `copy` and `deepcopy` raise `TypeError`. It can be given to
    `subprocess` and `os.posix_spawn` as it is.
    """

    __slots__ = ("__variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.__variables = dict(variables)

    def __getitem__(self, name: str) -> str:
        return self.__variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__variables)

    def __len__(self) -> int:
        return len(self.__variables)

    def __repr__(self) -> str:
        return f"Environment({sorted(self.__variables)})"

    def __reduce_ex__(self, protocol: object) -> Never:
        message = "an Environment is never copied or pickled"
        raise TypeError(message)


def clean(environ: Mapping[str, str], *, private: Path) -> dict[str, str]:
    """Return what a step may inherit of `environ`, with every cloud's ambient logins hidden.

    Args:
        environ: the job's own variables. Region, endpoint, CA and proxy variables stay, and so
            does the CI's job token.
        private: the absolute folder that `private_files` makes; the clouds' own tools are pointed
            to it.
    """
    gone = frozenset(removed(environ))
    kept = {name: value for name, value in environ.items() if name not in gone}
    hidden = _PRIVATE_FILES | _PRIVATE_FOLDERS
    pointers = {name: str(private / file) for name, file in hidden.items()}
    return kept | _without_proxy(kept) | _NO_METADATA | _NO_FILES | pointers


def kept_redirects(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that choose where a step's own clients send requests.

    A step inherits them: people need proxies and endpoints. An earlier step can have set them.
    """
    chooses_where = re.compile(
        r"AWS_ENDPOINT_URL(_\w+)?|AWS_CA_BUNDLE|AZURE_AUTHORITY_HOST"
        r"|CLOUDSDK_API_ENDPOINT_OVERRIDES_\w+|(HTTPS?|ALL)_PROXY|(https?|all)_proxy"
        r"|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)"
        r"|NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED"
    ).fullmatch
    return tuple(sorted(name for name, value in environ.items() if value and chooses_where(name)))


def removed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in `environ` that a step does not inherit (or not with this value), sorted.

    Besides those in `AMBIENT` they are the variables that hold an id token, whatever their name,
    those that name a small file with one in it, and those that hold a copy of what is removed.
    """
    from ci_identity.delivery.ambient import Power, find_ambient  # noqa: PLC0415  # not for an agent

    secrets = [
        value
        for name, value in environ.items()
        if (row := find_ambient(name)) and row.power is not Power.REDIRECT and len(value) >= _LONG
    ]
    return tuple(
        sorted(
            name
            for name, value in environ.items()
            if name not in _NEVER_REMOVED
            and (find_ambient(name) is not None or _is_removed(value, secrets))
        )
    )


def _is_removed(value: str, secrets: Sequence[str]) -> bool:
    if any(secret in value for secret in secrets):
        return True
    return any(True for text in (value, read_named_file(value)) for _ in find_id_tokens(text))


def find_id_tokens(text: str) -> Iterator[UnverifiedClaims]:
    """Yield the claims of every JWT in `text` that is an id token: it has `iss`, `aud` and `exp`.

    These three are what every OIDC id token has (OpenID Connect Core 1.0, section 2) and what a
    provider needs to trust one.
    """
    return (claims for claims in find_jwts(text) if {"iss", "aud", "exp"} <= claims.keys())


@cache
def _jwt() -> re.Pattern[str]:
    """Return what a JWT looks like (RFC 7519, section 3.1).

    Not inside a word: `ghs_` and `glcbt-` job tokens are none.
    """
    return re.compile(
        r"(?<![\w-])e[wy][A-Za-z0-9_-]{8,}\.(?P<payload>e[wy][A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]*",
        re.ASCII,
    )


def find_jwts(text: str) -> Iterator[UnverifiedClaims]:
    """Yield the claims of every JSON Web Token in `text`, of whatever kind."""
    for match in _jwt().finditer(text):
        try:
            yield UnverifiedClaims(decode(match["payload"]))
        except ValueError:
            continue


def read_named_file(path: str) -> str:
    """Return the text of the small regular file that a variable names; empty if it names none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a value is no path yet: it may hold any text
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_TOKEN_FILE:
            return ""
        with open(path, "rb", opener=_open_without_waiting) as file:
            return file.read(MAX_TOKEN_FILE).decode("ascii", "replace")
    except (OSError, ValueError):  # ValueError: a null byte, or text that no path can have
        return ""


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    # Clients differ in which spelling they read: one that was not set takes over the other's list.
    lists: dict[str, str] = {}
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        entries = (environ.get(name) or environ.get(other) or "").split(",")
        known = {entry.strip() for entry in entries}
        missing = () if "*" in known else (host for host in _LOOPBACK if host not in known)
        lists[name] = ",".join(filter(None, (*entries, *missing)))
    return lists


def private_files(private: Path) -> None:
    """Make the empty files and folders that the variables of `clean` point to, for this user only.

    Args:
        private: the folder, which must not be there yet; its parent must be ours.

    Raises:
        DeliveryError: it is there, or cannot be made.
    """
    try:
        private.mkdir(mode=0o700)
        for folder in _PRIVATE_FOLDERS.values():
            (private / folder).mkdir(mode=0o700)
        for file in _PRIVATE_FILES.values():
            (private / file).touch(mode=0o600, exist_ok=False)  # exclusive: follows no link
    except OSError as error:
        message = f"cannot make the private folder {private}: {error.strerror}"
        raise DeliveryError(message, hint="check the folder's parent and its free space") from None
