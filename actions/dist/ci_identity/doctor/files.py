"""The well-known files in which tools leave logins behind."""

import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import yaml

from ci_identity._record import Record
from ci_identity.doctor import readers
from ci_identity.doctor.finding import Finding, Kind
from ci_identity.doctor.shapes import has_password, recognise_id_token

MAX_FILE = 256 << 10
"""Bytes of a file that are read."""


class WellKnown(Record):
    """One kind of file.

    Attributes:
        places: where it can be: from `~`, from `.` (the working directory), from `/`, or from where
            a variable points; `*` as in a shell. Separated by blanks.
        what: what it is good for.
        read: finds the logins in it.
        kind: what they are.
        is_hidden: whether `exec` points the tool elsewhere.
    """

    places: str
    what: str
    read: readers.Reader = readers.read_whole
    kind: Kind = Kind.CREDENTIAL
    is_hidden: bool = False


FILES = (
    WellKnown(
        places="~/.netrc ~/_netrc $NETRC", what="logins for curl, git, pip", read=readers.read_netrc
    ),
    WellKnown(
        places="~/.aws/credentials ~/.aws/config ~/.boto $AWS_SHARED_CREDENTIALS_FILE"
        " $AWS_CONFIG_FILE $BOTO_CONFIG",
        what="AWS: a profile's key",
        read=readers.ini("(?i)aws_secret_access_key|aws_session_token"),
        is_hidden=True,
    ),
    WellKnown(
        places="~/.aws/cli/cache/*.json ~/.aws/sso/cache/*.json",
        what="AWS: a cached session",
        read=readers.tree("SecretAccessKey|accessToken|refreshToken", json.loads),
        is_hidden=True,
    ),
    WellKnown(
        places="~/.config/gcloud/application_default_credentials.json"
        " $CLOUDSDK_CONFIG/application_default_credentials.json",
        what="GCP: a credential",
        read=readers.tree("private_key|refresh_token|Authorization", json.loads),
        is_hidden=True,
    ),
    WellKnown(
        places="./gha-creds-*.json $GOOGLE_APPLICATION_CREDENTIALS",
        what="GCP: a credential; an Authorization in it mints id tokens of this job",
        read=readers.tree("private_key|refresh_token|Authorization", json.loads),
    ),
    WellKnown(
        places="~/.config/gcloud/credentials.db ~/.config/gcloud/access_tokens.db"
        " $CLOUDSDK_CONFIG/credentials.db $CLOUDSDK_CONFIG/access_tokens.db",
        what="GCP: logins of gcloud",
        is_hidden=True,
    ),
    WellKnown(
        places="~/.azure/msal_token_cache.* ~/.azure/service_principal_entries.*"
        " ~/.azure/accessTokens.json ~/.azd/auth/*.json $AZURE_CONFIG_DIR/msal_token_cache.*"
        " $AZURE_CONFIG_DIR/service_principal_entries.*",
        what="Azure: logins of az or azd",
        is_hidden=True,
    ),
    WellKnown(
        places="~/.kube/config $KUBECONFIG",
        what="Kubernetes: a user's login",
        read=readers.tree(
            "token|password|client-key-data|(access|id|refresh)-token", yaml.safe_load
        ),
        is_hidden=True,
    ),
    WellKnown(
        places="~/.docker/config.json $DOCKER_CONFIG/config.json ~/.config/containers/auth.json",
        what="a container registry's login",
        read=readers.tree("auth|identitytoken|registrytoken|password", json.loads),
    ),
    WellKnown(
        places="~/.npmrc ./.npmrc $NPM_CONFIG_USERCONFIG",
        what="npm: a registry's login",
        read=readers.ini("(?:.*:)?_(?:authToken|auth|password)"),
    ),
    WellKnown(
        places="~/.yarnrc.yml ./.yarnrc.yml",
        what="yarn: a registry's login",
        read=readers.tree("npmAuthToken|npmAuthIdent", yaml.safe_load),
    ),
    WellKnown(places="~/.pypirc", what="Python: an index's login", read=readers.ini("password")),
    WellKnown(
        places="~/.pip/pip.conf ~/.config/pip/pip.conf /etc/pip.conf $PIP_CONFIG_FILE",
        what="pip: an index's address with a password in it",
        read=readers.ini("(?:extra[-_])?index[-_]url", has_password),
    ),
    WellKnown(
        places="~/.git-credentials ~/.config/git/credentials",
        what="git: a host's login",
        read=readers.read_addresses,
    ),
    WellKnown(
        places="./.git/config ~/.gitconfig ~/.config/git/config"
        " $RUNNER_TEMP/git-credentials-*.config",
        what="git: a login sent with each request; actions/checkout leaves the job token so",
        read=readers.read_git_config,
    ),
    WellKnown(
        places="~/.config/gh/hosts.yml ~/.config/hub $GH_CONFIG_DIR/hosts.yml",
        what="GitHub: a login of gh or hub",
        read=readers.tree("oauth_token", yaml.safe_load),
    ),
    WellKnown(places="~/.vault-token", what="Vault, OpenBao: a token"),
    WellKnown(
        places="~/.terraform.d/credentials.tfrc.json",
        what="Terraform: a host's login",
        read=readers.tree("token", json.loads),
    ),
    WellKnown(
        places="~/.cargo/credentials.toml ~/.cargo/credentials $CARGO_HOME/credentials.toml",
        what="Cargo: a registry's login",
        read=readers.tree("token|secret-key", tomllib.loads),
    ),
    WellKnown(
        places="~/.m2/settings.xml", what="Maven: a server's login", read=readers.read_servers
    ),
    WellKnown(
        places="~/.gem/credentials ~/.local/share/gem/credentials",
        what="RubyGems: an API key",
        read=readers.tree(":?.*api_key|https?://.*", yaml.safe_load),
    ),
    WellKnown(
        places="~/.ssh/*",
        what="SSH: a private key without passphrase",
        read=readers.read_key,
        kind=Kind.PRIVATE_KEY,
    ),
    WellKnown(
        places="/var/run/secrets/*/serviceaccount/token /var/run/secrets/azure/tokens/*",
        what="the pod's service account: an identity that is the machine's, not the job's",
    ),
    WellKnown(places="/run/secrets/*", what="a secret that was mounted into this container"),
)

_SOCKETS = ("var/run/docker.sock", "run/podman/podman.sock", "run/containerd/containerd.sock")


def find_in_files(
    environ: Mapping[str, str], *, home: Path, cwd: Path, root: Path
) -> Iterator[Finding]:
    """Yield what lies in the well-known files, and which of them could not be read."""
    seen: set[Path] = set()
    for known in FILES:
        for place in known.places.split():
            for path in _expand(place, environ, home=home, cwd=cwd, root=root):
                if path not in seen:
                    seen.add(path)
                    yield from _search(path, known, follow=not place.startswith("."))
    for socket in _SOCKETS:
        if _is_open_socket(root / socket):
            detail = "a container engine's socket: who can write to it can become the host's root"
            yield Finding(kind=Kind.ROOT, place=str(root / socket), detail=detail)


def _expand(
    place: str, environ: Mapping[str, str], *, home: Path, cwd: Path, root: Path
) -> Iterator[Path]:
    start, _, rest = place.partition("/")
    if start.startswith("$"):
        named = environ.get(start[1:], "").split(os.pathsep)
        bases = [cwd / each for each in named if each and "\0" not in each]
    else:
        bases = [{"~": home, ".": cwd, "": root}[start]]
    for base in bases:
        if "*" in rest:
            with suppress(OSError):  # the folder's name is too long
                yield from sorted(base.glob(rest))
        else:
            yield base / rest


def _search(path: Path, known: WellKnown, *, follow: bool) -> Iterator[Finding]:
    try:
        text = _read(path, follow=follow)
        places = list(known.read(text)) if text is not None else []
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield _unreadable(path, error.strerror or "an error without a name")
        return
    except (ValueError, RecursionError, yaml.YAMLError):
        yield _unreadable(path, "it is too large or not in its format")
        return
    detail = known.what
    if (token := recognise_id_token(text or "")) is not None:
        detail += f"; {token[1]}"
    if known.is_hidden:
        detail += "; exec points the tools elsewhere, but code can still read it"
    for place in places:
        yield Finding(kind=known.kind, place=f"{path} {place}".strip(), detail=detail)


def _unreadable(path: Path, reason: str) -> Finding:
    return Finding(kind=Kind.UNREADABLE, place=str(path), detail=f"cannot be read: {reason}")


def _read(path: Path, *, follow: bool) -> str | None:
    """Return a regular file's text, `None` for a folder and the like. Never waits for a writer.

    Links are followed where the user or the system makes them, not in the working directory:
    what is checked out there may be an outsider's.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    if not stat.S_ISREG(path.stat().st_mode):
        return None
    with os.fdopen(os.open(path, flags | (0 if follow else os.O_NOFOLLOW)), "rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        message = "larger than we read"
        raise ValueError(message)
    return content.decode(errors="replace")


def _is_open_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode) and os.access(path, os.W_OK)
    except OSError:
        return False
