"""What known secrets look like: a small reviewed table, made for few false alarms."""

import re
from datetime import UTC, datetime
from typing import cast

from ci_identity._record import Record
from ci_identity.delivery.environ import find_id_tokens, find_jwts
from ci_identity.doctor.finding import Kind
from ci_identity.model import UnverifiedClaims


class Shape(Record):
    """The look of one kind of token.

    Attributes:
        what: the token's name, for people.
        pattern: a regular expression that it fits from its first character on.
        source: the page of the provider that documents it.
        kind: what it is to a thief.
        names: variables that it is looked for in; a regular expression.
    """

    what: str
    pattern: str
    source: str
    kind: Kind = Kind.CREDENTIAL
    names: str = ""

    def is_in(self, text: str, *, name: str) -> bool:
        """True if such a token begins in `text`, at a place where a word may begin."""
        word = rf"(?<![A-Za-z0-9_])(?:{self.pattern})"
        return re.search(self.names, name) is not None and re.search(word, text) is not None


_GITHUB = (
    "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/"
    "about-authentication-to-github#githubs-token-formats"
)
_GITLAB = "https://docs.gitlab.com/security/tokens/#token-prefixes"
_VAULT = "https://developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes"
_AWS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"
_SLACK = "https://docs.slack.dev/authentication/tokens"

SHAPES = (
    Shape(what="AWS: the id of a lasting key", pattern="AKIA[A-Z2-7]{16}(?![A-Z0-9])", source=_AWS),
    Shape(what="AWS: the id of a session key", pattern="ASIA[A-Z2-7]{16}(?![A-Z0-9])", source=_AWS),
    Shape(
        what="GitHub: an installation's token, as jobs have one",
        pattern=r"ghs_[A-Za-z0-9_.-]{30,}",
        source=_GITHUB,
        kind=Kind.JOB_TOKEN,
    ),
    Shape(what="GitHub: a person's token", pattern=r"gh[por]_[A-Za-z0-9_.-]{30,}", source=_GITHUB),
    Shape(what="GitHub: an app's user token", pattern=r"ghu_[A-Za-z0-9_.-]{30,}", source=_GITHUB),
    Shape(what="GitHub: a person's token", pattern="github_pat_[A-Za-z0-9_]{50,}", source=_GITHUB),
    Shape(
        what="GitLab: the job's token",
        pattern=r"glcbt-[A-Za-z0-9_.-]{20,}",
        source=_GITLAB,
        kind=Kind.JOB_TOKEN,
    ),
    Shape(
        what="GitLab: a token of a person, project, deployment, runner, agent or feed",
        pattern=r"gl(?:pat|oas|dt|rt|rtr|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_.-]{20,}",
        source=_GITLAB,
    ),
    Shape(what="Vault: a token", pattern=r"hv[sbr]\.[A-Za-z0-9_-]{20,}", source=_VAULT),
    Shape(
        what="Vault, OpenBao: a token",
        pattern=r"[sbr]\.[A-Za-z0-9]{24,}",
        source=_VAULT,
        names="(?i)vault|bao",
    ),
    Shape(what="Slack: a token", pattern="xox[abeoprs]-[A-Za-z0-9-]{20,}", source=_SLACK),
    Shape(what="Slack: an app's token", pattern="xapp-[A-Za-z0-9-]{20,}", source=_SLACK),
    Shape(
        what="Slack: a webhook; who has it can post",
        pattern="https://hooks[.]slack[.]com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,}",
        source="https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
    ),
    Shape(
        what="npm: an access token",
        pattern="npm_[A-Za-z0-9]{36}",
        source="https://github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/",
    ),
    Shape(
        what="PyPI: an upload token",
        pattern="pypi-[A-Za-z0-9_-]{50,}",
        source="https://docs.github.com/en/code-security/reference/secret-security/"
        "supported-secret-scanning-patterns",
    ),
    Shape(
        what="Docker: an access token",
        pattern="dckr_[po]at_[A-Za-z0-9_-]{20,}",
        source="https://docs.docker.com/security/access-tokens/",
    ),
    Shape(
        what="Google: an API key",
        pattern="AIza[A-Za-z0-9_-]{35}",
        source="https://cloud.google.com/docs/authentication/api-keys",
    ),
    Shape(
        what="GCP: an access token",
        pattern=r"ya29\.[A-Za-z0-9_-]{20,}",
        source="https://developers.google.com/identity/protocols/oauth2",
    ),
    Shape(
        what="Azure: a storage account's or service bus's key",
        pattern="(?:Account|SharedAccess)Key=[A-Za-z0-9+/]{40,}",
        source="https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string",
    ),
    Shape(
        what="Stripe: a live key",
        pattern="[sr]k_live_[A-Za-z0-9]{20,}",
        source="https://docs.stripe.com/keys",
    ),
)

_PASSWORD_URL = re.compile(
    r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/:@$<{*][^\s/@]*@", re.IGNORECASE
)
"""RFC 3986, section 3.2.1. A password that begins like a placeholder is one."""
_KEY = re.compile(
    r"-----BEGIN (?P<type>(?:[A-Z0-9]+ )*)PRIVATE KEY-----(?P<head>.{0,64})", re.DOTALL
)
"""RFC 7468, section 10, and OpenSSH's own format."""
_OPENSSH_OPEN = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
"""Base64 of the magic and of the cipher's name, `none`: no passphrase (OpenSSH's PROTOCOL.key)."""


def recognise_token(text: str, *, name: str = "") -> tuple[Kind, str] | None:
    """Return what token of a known provider is in `text` (of the variable `name`), if any."""
    return next(((s.kind, s.what) for s in SHAPES if s.is_in(text, name=name)), None)


def recognise_id_token(text: str) -> tuple[Kind, str] | None:
    """Return whose id token is in `text`, for which audience and until when, if there is one."""
    claims = next(find_id_tokens(text), None)
    return (Kind.ID_TOKEN, _describe(claims)) if claims is not None else None


def recognise_format(text: str) -> tuple[Kind, str] | None:
    """Return what secret of a general format is in `text`, if any: a key, a JWT, a password."""
    if is_open_key(text):
        return Kind.PRIVATE_KEY, "a private key without passphrase"
    if (claims := next(find_jwts(text), None)) is not None:
        return Kind.CREDENTIAL, _describe(claims)
    if has_password(text):
        return Kind.CREDENTIAL, "an address with a password in it"
    return None


def has_password(text: str) -> bool:
    """True if there is an address with a password or a known token in `text`."""
    return _PASSWORD_URL.search(text) is not None or recognise_token(text) is not None


def is_open_key(text: str) -> bool:
    """True if there is a private key in `text` that needs no passphrase, as far as it says."""
    for key in _KEY.finditer(text):
        head = key["head"].replace("\\n", "").lstrip()  # in JSON a line end is backslash and n
        is_openssh = key["type"] == "OPENSSH "
        if head.startswith(_OPENSSH_OPEN) if is_openssh else "ENCRYPTED" not in key["type"] + head:
            return True
    return False


def _describe(claims: UnverifiedClaims) -> str:
    audience = claims.get("aud")
    audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
    issuer = claims.get("iss")
    parts = {
        "of": issuer if isinstance(issuer, str) else None,
        "for": ", ".join(each for each in audiences if isinstance(each, str)),
        "until": _time(claims.get("exp")),
    }
    known = (f" {word} {value}" for word, value in parts.items() if value)
    return "a JSON Web Token" + "".join(known)


def _time(seconds: object) -> str | None:
    try:
        moment = datetime.fromtimestamp(float(str(seconds)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
