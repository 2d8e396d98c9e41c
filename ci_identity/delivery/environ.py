"""What a step's process may see: nothing that mints, holds or leads to a credential not granted."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Never

from ci_identity._jws import decode
from ci_identity._record import Record
from ci_identity.errors import DeliveryError
from ci_identity.model import UnverifiedClaims

_LONG = 16
"""Characters from which on a value in another variable is a copy and no coincidence."""

MAX_TOKEN_FILE = 1 << 16
"""Bytes. The largest honest id token is under 16 KiB; a larger file is something else."""


class Power(StrEnum):
    """What a variable could do for a step that was not granted it."""

    MINT = "mints credentials"
    HOLD = "holds a credential"
    REDIRECT = "leads to another credential"


class Ambient(Record):
    """A variable that a step does not inherit.

    Attributes:
        name: its name; a `*` at the end stands for any rest.
        power: what it could do.
        reason: what it is, for people.
    """

    name: str
    power: Power
    reason: str


_TABLE = {
    Power.MINT: {
        "ACTIONS_ID_TOKEN_REQUEST_*": "GitHub, Forgejo: asks for id tokens of any audience",
        "SYSTEM_OIDCREQUESTURI SYSTEM_ACCESSTOKEN": "Azure DevOps: asks for id tokens",
        "BUILDKITE_AGENT_ACCESS_TOKEN BUILDKITE_AGENT_TOKEN": "Buildkite: asks for id tokens",
        "BUILDKITE_AGENT_JOB_API_*": "Buildkite: changes the job's environment",
        "SPIFFE_ENDPOINT_SOCKET": "SPIFFE: the workload API gives its callers identities",
        "VAULT_SECRET_ID": "Vault: logs in as an AppRole",
    },
    Power.HOLD: {
        "CI_IDENTITY_ENDPOINT_TOKEN": "the bearer of another step's endpoint",
        "CI_IDENTITY_TOKEN": "the id token that was handed to ci-identity",
        "CI_JOB_JWT CI_JOB_JWT_V1 CI_JOB_JWT_V2": "GitLab before 17: an id token",
        "CIRCLE_OIDC_TOKEN CIRCLE_OIDC_TOKEN_V2": "CircleCI: an id token",
        "BITBUCKET_STEP_OIDC_TOKEN": "Bitbucket: an id token",
        "SEMAPHORE_OIDC_TOKEN": "Semaphore: an id token",
        "ACTIONS_RUNTIME_TOKEN": "GitHub: writes caches and artifacts that later jobs trust",
        "ENDPOINT_AUTH_* servicePrincipalKey": "Azure DevOps: a service connection's secret",
        "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN": "AWS: a key, wins everywhere",
        "AWS_ACCESS_KEY AWS_SECRET_KEY AWS_SECURITY_TOKEN": "AWS: a key, as older SDKs name it",
        "AWS_BEARER_TOKEN_*": "AWS: a service's API key",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "AWS: the bearer of a credentials endpoint",
        "GOOGLE_CREDENTIALS GOOGLE_CLOUD_KEYFILE_JSON GCLOUD_KEYFILE_JSON": "GCP: a key file",
        "GOOGLE_CLOUD_KEYFILE GOOGLE_KEYFILE_JSON": "GCP: a key file, as older clients name it",
        "GOOGLE_OAUTH_ACCESS_TOKEN CLOUDSDK_AUTH_ACCESS_TOKEN": "GCP: an access token",
        "AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_* AZURE_CREDENTIALS": "Azure: a login",
        "AZURE_USERNAME AZURE_PASSWORD AZURE_FEDERATED_TOKEN": "Azure: a login",
        "ARM_CLIENT_SECRET ARM_CLIENT_CERTIFICATE* ARM_OIDC_TOKEN": "Azure: Terraform's login",
        "ARM_OIDC_REQUEST_TOKEN ARM_ACCESS_KEY ARM_SAS_TOKEN": "Azure: Terraform's login",
        "IDENTITY_HEADER MSI_SECRET": "Azure: the bearer of a managed-identity endpoint",
        "AZCOPY_SPA_* AZCOPY_OAUTH_TOKEN_INFO": "Azure: azcopy's login",
        "AZURE_ACCESS_TOKEN": "Azure: an access token",
        "VAULT_TOKEN BAO_TOKEN": "Vault, OpenBao: a token",
        "KUBE_TOKEN KUBE_PASSWORD KUBE_CLIENT_*": "Kubernetes: a login",
        "HELM_KUBETOKEN K8S_AUTH_API_KEY K8S_AUTH_PASSWORD": "Kubernetes: a login",
    },
    Power.REDIRECT: {
        "CI_IDENTITY_ENDPOINT": "another step's endpoint",
        "CI_IDENTITY_AGENT": "the job's agent, which may hold other grants",
        "AWS_PROFILE AWS_DEFAULT_PROFILE": "AWS: a profile goes before the endpoint",
        "AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE": "AWS: files of profiles and keys",
        "AWS_CREDENTIAL_FILE AWS_CREDENTIAL_PROFILES_FILE BOTO_CONFIG": "AWS: files of older SDKs",
        "AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN AWS_ROLE_SESSION_NAME": "AWS: another role",
        "AWS_CONTAINER_* AWS_EC2_METADATA_*": "AWS: the machine's role",
        "AWS_CREDENTIAL_EXPIRATION": "AWS: when another key ends",
        "GOOGLE_APPLICATION_CREDENTIALS GOOGLE_GHA_CREDS_PATH": "GCP: a credential file",
        "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": "GCP: another account",
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "GCP: a credential file may run a command",
        "CLOUDSDK_CONFIG CLOUDSDK_ACTIVE_CONFIG_NAME": "GCP: gcloud's own logins",
        "CLOUDSDK_AUTH_* CLOUDSDK_CORE_ACCOUNT": "GCP: gcloud with another account",
        "GCE_METADATA_* NO_GCE_CHECK METADATA_SERVER_DETECTION": "GCP: the machine's account",
        "AZURE_CONFIG_DIR AZD_CONFIG_DIR": "Azure: the logins of az and azd",
        "AZURE_CLIENT_ID AZURE_FEDERATED_TOKEN_FILE": "Azure: another identity",
        "AZURE_TOKEN_CREDENTIALS": "Azure: another kind of login",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST IMDS_ENDPOINT": "Azure: the machine's identity",
        "IDENTITY_ENDPOINT IDENTITY_SERVER_THUMBPRINT MSI_ENDPOINT": "Azure: the host's identity",
        "AZCOPY_AUTO_LOGIN_TYPE AZCOPY_MSI_*": "Azure: azcopy with another identity",
        "ARM_CLIENT_* ARM_OIDC_* ARM_MSI_* ARM_USE_* ARM_ADO_*": "Azure: Terraform's login",
        "VAULT_AGENT_ADDR BAO_AGENT_ADDR": "Vault, OpenBao: an agent that adds its own token",
        "VAULT_CONFIG_PATH BAO_CONFIG_PATH": "Vault, OpenBao: may name a token helper",
        "KUBECONFIG KUBE_CONFIG_PATH*": "Kubernetes: another login",
        "KUBE_HOST KUBE_USER KUBE_CTX* HELM_KUBE* K8S_AUTH_*": "Kubernetes: another login",
        "KUBE_INSECURE KUBE_PROXY_URL KUBE_TLS_SERVER_NAME": "Kubernetes: another server",
        "KUBE_CLUSTER_CA_CERT_DATA": "Kubernetes: another CA",
        "KUBERC": "Kubernetes: a file of options for kubectl, another server's address too",
        "KUBERNETES_MASTER KUBERNETES_SERVICE_*": "Kubernetes: clients take the pod's token",
    },
}
AMBIENT = tuple(
    Ambient(name=name, power=power, reason=reason)
    for power, rows in _TABLE.items()
    for names, reason in rows.items()
    for name in names.split()
)
"""Measured with the SDKs, or from their documentation. A whole name counts before a prefix."""
_EXACT = {row.name: row for row in AMBIENT if not row.name.endswith("*")}
_PREFIXES = tuple(row for row in AMBIENT if row.name.endswith("*"))

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

_JWT = re.compile(
    r"(?<![\w-])e[wy][A-Za-z0-9_-]{8,}\.(?P<payload>e[wy][A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]*",
    re.ASCII,
)
"""RFC 7519, section 3.1. Not inside a word: `ghs_` and `glcbt-` job tokens are none."""


_CHOOSES_WHERE = re.compile(
    r"AWS_ENDPOINT_URL(_\w+)?|AWS_CA_BUNDLE|AZURE_AUTHORITY_HOST|CLOUDSDK_API_ENDPOINT_OVERRIDES_\w+"
    r"|(HTTPS?|ALL)_PROXY|(https?|all)_proxy|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)"
    r"|NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED"
).fullmatch


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
    return tuple(sorted(name for name, value in environ.items() if value and _CHOOSES_WHERE(name)))


def removed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in `environ` that a step does not inherit (or not with this value), sorted.

    Besides those in `AMBIENT` they are the variables that hold an id token, whatever their name,
    those that name a small file with one in it, and those that hold a copy of what is removed.
    """
    secrets = [
        value
        for name, value in environ.items()
        if (row := find_ambient(name)) and row.power is not Power.REDIRECT and len(value) >= _LONG
    ]
    return tuple(
        sorted(name for name, value in environ.items() if _is_removed(name, value, secrets))
    )


def _is_removed(name: str, value: str, secrets: Sequence[str]) -> bool:
    if name in _NEVER_REMOVED:
        return False
    if find_ambient(name) is not None or any(secret in value for secret in secrets):
        return True
    return any(True for text in (value, read_named_file(value)) for _ in find_id_tokens(text))


def find_ambient(name: str) -> Ambient | None:
    """Return the row of `AMBIENT` that a variable's name falls under, if any."""
    exact = _EXACT.get(name)
    return exact or next((row for row in _PREFIXES if name.startswith(row.name[:-1])), None)


def find_id_tokens(text: str) -> Iterator[UnverifiedClaims]:
    """Yield the claims of every JWT in `text` that is an id token: it has `iss`, `aud` and `exp`.

    These three are what every OIDC id token has (OpenID Connect Core 1.0, section 2) and what a
    provider needs to trust one.
    """
    return (claims for claims in find_jwts(text) if {"iss", "aud", "exp"} <= claims.keys())


def find_jwts(text: str) -> Iterator[UnverifiedClaims]:
    """Yield the claims of every JSON Web Token in `text`, of whatever kind."""
    for match in _JWT.finditer(text):
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
