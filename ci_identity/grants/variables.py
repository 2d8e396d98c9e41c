"""Which variables a secret may not be delivered as: those that steer the child, or us."""

import re

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""POSIX, Base Definitions 8.1, and lower case."""

STEERING = {
    "LD_* DYLD_* GCONV_PATH GLIBC_TUNABLES": "the loader takes code or orders from it",
    "PATH PATHEXT SHELL IFS CDPATH HOME TMPDIR TEMP TMP XDG_*": (
        "it decides which programs and files are found"
    ),
    "ENV BASH_* BASHOPTS SHELLOPTS PS4 PROMPT_COMMAND ZDOTDIR": "shells run what it holds",
    "PYTHON* PERL* RUBYOPT RUBYLIB PHPRC NODE_OPTIONS NODE_PATH JAVA_TOOL_OPTIONS "
    "_JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH": "an interpreter takes code or options from it",
    "EDITOR VISUAL PAGER BROWSER SSH_ASKPASS GIT_SSH GIT_SSH_COMMAND GIT_ASKPASS GIT_EXEC_PATH "
    "GIT_EDITOR GIT_PAGER GIT_PROXY_COMMAND GIT_TEMPLATE_DIR GIT_EXTERNAL_DIFF GIT_CONFIG*": (
        "tools run what it names"
    ),
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE "
    "SSL_CERT_DIR SSLKEYLOGFILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE "
    "NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED": (
        "it decides where traffic goes and which servers are trusted"
    ),
    "CI GITLAB_CI ACTIONS_* RUNNER_* CI_JOB_* GITHUB_*": "it is the CI's own",
    "CI_IDENTITY_* VAULT_* BAO_*": "it is what ci-identity itself sets or reads",
}
"""Names, with a `*` for any rest, to why they are refused."""

_IN_ANY_CASE = "_PROXY"
"""The end of names that clients read in any case."""

_ALLOWED = "GITHUB_TOKEN"
"""It carries a secret and steers nothing."""


def _pattern(name: str) -> str:
    if name.endswith(_IN_ANY_CASE):
        return "".join(f"[{one}{one.lower()}]" if one.isalpha() else one for one in name)
    start, star, _ = name.partition("*")
    if not star:
        return name
    allowed = _ALLOWED.removeprefix(start)
    return f"{start}.*" if allowed == _ALLOWED else f"{start}(?!{allowed}$).*"


PATTERN = rf"(?!({'|'.join(_pattern(one) for all_ in STEERING for one in all_.split())})$){NAME}"
"""What is not refused, as one regular expression for the JSON Schema."""


def refusal(name: str) -> str | None:
    """Return why a secret may not be delivered as the variable `name`, or `None` if it may."""
    if not re.fullmatch(NAME, name):
        return "a variable's name has only A-Z, a-z, 0-9 and _, and does not start with a digit"
    if name == _ALLOWED:
        return None
    for names, reason in STEERING.items():
        if any(_is_meant(name, one) for one in names.split()):
            return reason
    return None


def _is_meant(name: str, one: str) -> bool:
    if one.endswith("*"):
        return name.startswith(one[:-1])
    return (name.upper() if one.endswith(_IN_ANY_CASE) else name) == one
