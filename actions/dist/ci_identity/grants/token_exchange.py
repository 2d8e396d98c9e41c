"""The target `token_exchange`, key by key: what RFC 8693 and the servers that speak it take."""

import re

from ci_identity.grants.kinds import Key, Keys, Made, Names, Text, Word
from ci_identity.grants.nodes import Table
from ci_identity.grants.targets import ADDRESS, AUDIENCE, into
from ci_identity.grants.variables import NAME, refusal
from ci_identity.model import TokenExchangeTarget

_OURS = r"grant_type|subject_token|subject_token_type|audience|scope|client_id"
_LOGINS = (
    r"client_secret|client_assertion|client_assertion_type|actor_token|actor_token_type|assertion"
    r"|refresh_token|username|password|code"
)
_PARAMETER = r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}"


def _refuse_parameter(name: str) -> str | None:
    if re.fullmatch(_OURS, name):
        return "it is sent already, and has a key of its own where it can be chosen"
    if re.fullmatch(_LOGINS, name):
        return "it logs in with something else than the job's token; this file holds no secrets"
    return None if re.fullmatch(_PARAMETER, name) else "it is no name of a field (RFC 6749, A)"


def _variable(name: str) -> str:
    if reason := refusal(name):
        message = f"is not a name that can be used: {reason}"
        raise ValueError(message)
    return name


def check_variable(node: Table, grant: str, target: TokenExchangeTarget) -> None:
    """Refuse a grant whose name makes no variable that a token may be delivered as."""
    name = target.variable_for(grant)
    if reason := refusal(name):
        node.place.refuse(f"needs a `variable`, since it cannot be {name}: {reason}")


TOKEN_EXCHANGE = Keys(
    keys={
        "url": Key(of=ADDRESS, doc="The token endpoint (RFC 8693).", required=True),
        "audience": Key(of=AUDIENCE, doc="The audience, as RFC 8693 has it.", required=True),
        "scope": Key(
            of=Text(expected="scopes, separated by spaces", pattern=r"[!-~]+(?: [!-~]+)*"),
            doc="The scope to ask for; the server's default if absent.",
        ),
        "revoke_url": Key(of=ADDRESS, doc="The revocation endpoint (RFC 7009), if there is one."),
        "client_id": Key(
            of=Text(expected="a client's id", pattern=r"[ -~]+"),
            doc="The id of a client without a secret, where the server wants one.",
        ),
        "subject_token_type": Key(
            of=Word(words={"jwt": "jwt", "id_token": "id_token"}),
            doc="As what the job's token is presented: jwt (the default) or id_token.",
        ),
        "parameters": Key(
            of=Names(
                of=Text(expected="the text of a field"),
                pattern=rf"(?!(?:{_OURS}|{_LOGINS})$){_PARAMETER}",
                refusal=_refuse_parameter,
            ),
            doc="More fields of the request, as the server's documentation has them.",
        ),
        "variable": Key(
            of=Made(of=Text(expected="a variable's name", pattern=NAME), make=_variable),
            doc="The variable of the child; PARTNER_TOKEN for a grant named partner.",
        ),
    },
    make=into(TokenExchangeTarget),
)
