"""What in this job is already a usable secret, and what lets an earlier step into this one."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ci_identity.delivery.ambient import Power, find_ambient
from ci_identity.delivery.environ import JOB_TOKENS, read_named_file, removed
from ci_identity.doctor.files import FILES, find_in_files
from ci_identity.doctor.finding import Finding, Kind
from ci_identity.doctor.injection import find_code_injection
from ci_identity.doctor.shapes import (
    has_password,
    is_open_key,
    recognise_format,
    recognise_id_token,
    recognise_token,
)

NOT_LOOKED_AT = (
    "not looked at: whether a secret still works, and the metadata services of clouds, which give"
    " the machine's identity to any process on it; nothing is sent anywhere"
)
"""What the list does not cover; to be printed with it."""

_NAMED = {
    "SSH_AUTH_SOCK": "an SSH agent: signs in with the keys it holds",
    "DOCKER_AUTH_CONFIG": "logins of container registries",
    "SSHPASS": "a password for SSH",
    "PGPASSWORD": "PostgreSQL: a password",
    "MYSQL_PWD": "MySQL: a password",
    "REDISCLI_AUTH": "Redis: a password",
    "NPM_CONFIG__AUTH": "npm: a registry's login",
    "npm_config__auth": "npm: a registry's login",
}
"""Variables of well-known tools whose names `_SECRET_NAME` does not tell."""

_SECRET_NAME = re.compile(
    "^TF_TOKEN_|(?:^|_)(?:(?:AUTH)?TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|PAT"
    "|API_?KEY|(?:SECRET|PRIVATE|ACCESS)_KEY)$",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"true|false|yes|no|none|null|on|off|[\d.]*|https?://\S*|\$[\w{(].*|\{\{.*|%\w+%|<.*>|\*+",
    re.IGNORECASE | re.DOTALL,
)
"""What stands in a variable with such a name when it is a switch, an address or a placeholder."""

_READ_ELSEWHERE = frozenset(re.findall(r"\$(\w+)", " ".join(known.places for known in FILES)))


def find(
    environ: Mapping[str, str], home: Path, cwd: Path, root: Path = Path("/")
) -> tuple[Finding, ...]:
    """Return what is already usable in this job: in variables, in files, and ways into a step.

    Args:
        environ: the job's variables.
        home: the user's folder.
        cwd: the job's working directory.
        root: where the machine's own files begin.
    """
    return (
        *_find_in_variables(environ, cwd),
        *find_in_files(environ, home=home, cwd=cwd, root=root),
        *find_code_injection(environ, cwd),
    )


def _find_in_variables(environ: Mapping[str, str], cwd: Path) -> Iterator[Finding]:
    gone = frozenset(removed(environ))
    for name, value in sorted(environ.items()):
        path = cwd / value
        if found := next(filter(None, _recognise(name, value, path)), None):
            kind, detail = found
            yield Finding(kind=kind, place=name, detail=detail, is_removed_by_exec=name in gone)
        elif name not in _READ_ELSEWHERE and (found := _recognise_file(path)):
            kind, detail = found  # the file stays, whatever becomes of the variable
            yield Finding(kind=kind, place=name, detail=f"the file it names holds: {detail}")


def _recognise(name: str, value: str, path: Path) -> Iterator[tuple[Kind, str] | None]:
    """Yield what the variable could be, the surest and most telling first."""
    row = find_ambient(name)
    is_value = has_password(value) or _SETTING.fullmatch(value.strip()) is None
    if row is not None and row.power is Power.MINT and is_value:
        yield Kind.MINTING, row.reason
    if name not in JOB_TOKENS:
        yield recognise_id_token(value)
    if row is not None and row.power is Power.HOLD and is_value:
        yield Kind.CREDENTIAL, row.reason
    yield recognise_token(value, name=name)
    if name in JOB_TOKENS and is_value:
        yield Kind.JOB_TOKEN, "the CI's own token: what the job's permissions give"
    yield recognise_format(value)
    if is_value:
        yield _recognise_name(name, path)


def _recognise_file(path: Path) -> tuple[Kind, str] | None:
    text = read_named_file(str(path))
    found = recognise_id_token(text) or recognise_token(text)
    if found is None and is_open_key(text):
        return Kind.PRIVATE_KEY, "a private key without passphrase"
    return found


def _recognise_name(name: str, path: Path) -> tuple[Kind, str] | None:
    if name in _NAMED:
        return Kind.CREDENTIAL, _NAMED[name]
    is_secret = _SECRET_NAME.search(name) is not None and not os.path.lexists(path)
    return (Kind.CREDENTIAL, "a secret, by its name") if is_secret else None
