"""Which variables a secret may not be delivered as: those that steer the child, or us."""

import re

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""POSIX, Base Definitions 8.1, and lower case."""

STEERING = {
    r"LD_.*|DYLD_.*|GCONV_PATH|GLIBC_TUNABLES": "the loader takes code or orders from it",
    r"PATH|PATHEXT|SHELL|IFS|CDPATH|HOME|TMPDIR|TEMP|TMP|XDG_.*": (
        "it decides which programs and files are found"
    ),
    r"ENV|BASH_.*|BASHOPTS|SHELLOPTS|PS4|PROMPT_COMMAND|ZDOTDIR": "shells run what it holds",
    r"PYTHON.*|PERL.*|RUBYOPT|RUBYLIB|PHPRC|NODE_OPTIONS|NODE_PATH|JAVA_TOOL_OPTIONS|"
    r"_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH": "an interpreter takes code or options from it",
    r"EDITOR|VISUAL|PAGER|BROWSER|SSH_ASKPASS|GIT_SSH|GIT_SSH_COMMAND|GIT_ASKPASS|GIT_EXEC_PATH|"
    r"GIT_EDITOR|GIT_PAGER|GIT_PROXY_COMMAND|GIT_TEMPLATE_DIR|GIT_EXTERNAL_DIFF|GIT_CONFIG.*": (
        "tools run what it names"
    ),
    r"([Hh][Tt][Tt][Pp][Ss]?|[Aa][Ll][Ll]|[Nn][Oo])_[Pp][Rr][Oo][Xx][Yy]|SSL_CERT_FILE|"
    r"SSL_CERT_DIR|SSLKEYLOGFILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|AWS_CA_BUNDLE|"
    r"NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED": (
        "it decides where traffic goes and which servers are trusted"
    ),
    r"CI|GITLAB_CI|ACTIONS_.*|RUNNER_.*|CI_JOB_.*|GITHUB_(?!TOKEN$).*": "it is the CI's own",
    r"CI_IDENTITY_.*|VAULT_.*|BAO_.*": "it is what ci-identity itself sets or reads",
}
"""Pattern of names to why they are refused. GITHUB_TOKEN carries a secret and steers nothing."""

PATTERN = rf"(?!({'|'.join(STEERING)})$){NAME}"
"""The same as one regular expression, for the JSON Schema."""


def refusal(name: str) -> str | None:
    """Return why a secret may not be delivered as the variable `name`, or `None` if it may."""
    if not re.fullmatch(NAME, name):
        return "a variable's name has only A-Z, a-z, 0-9 and _, and does not start with a digit"
    for pattern, reason in STEERING.items():
        if re.fullmatch(pattern, name):
            return reason
    return None
