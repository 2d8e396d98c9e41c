"""A secret is never delivered as a variable that steers the child."""

import re

import pytest

from ci_identity.grants.variables import PATTERN, refusal

REFUSED = """
PATH LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES PYTHONPATH PYTHONSTARTUP NODE_OPTIONS
BASH_ENV ENV IFS HOME PS4 GITHUB_ENV GITHUB_PATH CI_IDENTITY_GRANTS ACTIONS_ID_TOKEN_REQUEST_TOKEN
RUNNER_TEMP HTTPS_PROXY https_proxy Http_Proxy NO_PROXY SSL_CERT_FILE VAULT_ADDR VAULT_TOKEN
GIT_SSH_COMMAND GIT_CONFIG_COUNT PERL5LIB RUBYOPT JAVA_TOOL_OPTIONS TMPDIR XDG_CONFIG_HOME
1A A-B A.B A=B
"""
TAKEN = """
DB_PASSWORD db_password _X X1 AWS_ACCESS_KEY_ID GITHUB_TOKEN GH_TOKEN GIT_TOKEN PATHS MY_PATH
ENVIRONMENT NPM_TOKEN PGPASSWORD CI_REGISTRY_PASSWORD HOMEPAGE LDAP_PASSWORD
"""


@pytest.mark.parametrize("name", REFUSED.split())
def test_steering_variable_is_refused_with_its_reason(name: str) -> None:
    """What loaders, shells, interpreters, tools and the CI obey is refused, and what is no name."""
    assert refusal(name)
    assert not re.fullmatch(PATTERN, name)


@pytest.mark.parametrize("name", TAKEN.split())
def test_other_variable_is_taken(name: str) -> None:
    """The names that people give their secrets are free, also those that look alike."""
    assert refusal(name) is None
    assert re.fullmatch(PATTERN, name)
