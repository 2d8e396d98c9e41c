"""Why a token endpoint says no, told by the causes; and what is tried again."""

import pytest

from ci_identity._record import replace
from ci_identity.errors import (
    CiIdentityError,
    ExchangeClientError,
    ExchangeError,
    ExchangeScopeError,
    ExchangeTargetError,
    ExchangeTokenError,
    ProviderAnswerError,
    ProviderUnavailableError,
    UnansweredError,
)
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.token_exchange.stage import Stage, target
from tests.token_exchange.server import AuthorizationServer, Fault, denies, reset, says


@pytest.mark.parametrize("error", ["invalid_request", "invalid_grant"])
def test_a_token_that_is_not_taken(stage: Stage, server: AuthorizationServer, error: str) -> None:
    """Whichever of the two codes a server has for that; the hint has what it was shown."""
    server.token_error, server.subject = error, "somebody-else"
    refused = stage.refuse()
    assert isinstance(refused, ExchangeTokenError)
    assert f"({error})" in str(refused)
    assert f"subject = {stage.token.claims['sub']}" in refused.hint
    assert len(server.calls) == 1


def test_another_key(stage: Stage) -> None:
    """A token that somebody else has signed is nobody's."""
    with Issuer() as other:
        stage.token = replace(stage.token, token=other.sign(dict(stage.token.claims)))
        assert isinstance(stage.refuse(), ExchangeTokenError)


def test_another_type(stage: Stage, server: AuthorizationServer) -> None:
    """The hint says as what the token was shown."""
    server.subject_token_type = "urn:ietf:params:oauth:token-type:id_token"
    error = stage.refuse()
    assert isinstance(error, ExchangeTokenError)
    assert "subject_token_type = jwt" in error.hint


def test_a_target_that_is_not_known(stage: Stage, server: AuthorizationServer) -> None:
    """It is named."""
    server.targets = set()
    error = stage.refuse()
    assert isinstance(error, ExchangeTargetError)
    assert "https://api.partner.example" in str(error)


def test_a_scope_that_is_not_given(stage: Stage, server: AuthorizationServer) -> None:
    """It is named."""
    server.scopes = {"download"}
    error = stage.refuse()
    assert isinstance(error, ExchangeScopeError)
    assert "the scope upload" in str(error)


@pytest.mark.parametrize(("ours", "said"), [(None, "a client without an id"), ("x", "client x")])
def test_a_client_that_is_not_known(
    stage: Stage, server: AuthorizationServer, ours: str | None, said: str
) -> None:
    """With 401, as RFC 6749 has it; the hint names the key."""
    server.client_id = "shop"
    stage.target = target(server, client_id=ours)
    error = stage.refuse()
    assert isinstance(error, ExchangeClientError)
    assert said in str(error)
    assert "client_id" in error.hint


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("unauthorized_client", 400, ExchangeClientError),
        ("unauthorized_client", 403, ExchangeClientError),
        ("unsupported_grant_type", 400, ExchangeClientError),
        ("access_denied", 403, ExchangeTokenError),
        ("something_new", 400, ExchangeError),
        ("something_new", 404, ExchangeError),
    ],
)
def test_what_else_a_server_says(
    stage: Stage, server: AuthorizationServer, code: str, status: int, kind: type[Exception]
) -> None:
    """The code tells, whatever the status is; one that is not known is shown."""
    server.faults = [denies(code, status=status)]
    error = stage.refuse()
    assert type(error) is kind
    assert code in str(error)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "answer", [says(404, "<html>WORDS</html>"), says(404, "{}"), denies("unsupported_grant_type")]
)
def test_another_path_than_the_token_endpoint_s(
    stage: Stage, server: AuthorizationServer, answer: Fault
) -> None:
    """What is there says so in its way; the hint names the key to look at, and no client."""
    server.faults = [answer]
    error = stage.refuse()
    assert isinstance(error, CiIdentityError)
    assert "the path of `token_exchange.url`" in error.hint
    assert "client" not in f"{error}{error.cause}{error.hint}"
    assert len(server.calls) == 1


@pytest.mark.parametrize("code", ["x" * 41, "a b", "\x1b[2J", "", "<html>", "Invalid"])
def test_a_code_that_is_none_is_not_shown(
    stage: Stage, server: AuthorizationServer, code: str
) -> None:
    """It is text of whoever answers; the status says as much."""
    server.faults = [denies(code, status=403)]
    error = stage.refuse()
    assert not code or code not in str(error)
    assert "(status 403)" in str(error)


@pytest.mark.parametrize("body", ["<html>WORDS</html>", "", "[" * 100_000, "\x00"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
def test_what_is_no_answer_of_such_a_server(
    stage: Stage, server: AuthorizationServer, status: int, body: str
) -> None:
    """A proxy's page, or half a document, is called what it is."""
    server.faults = [says(status, body)]
    error = stage.refuse()
    assert isinstance(error, ProviderAnswerError)
    assert len(server.calls) == 1


def test_an_answer_that_sends_elsewhere(stage: Stage, server: AuthorizationServer) -> None:
    """The job's token is not carried there."""
    server.faults = [says(307, "", Location=f"{server.address}/token")]
    assert isinstance(stage.refuse(), ProviderAnswerError)
    assert len(server.calls) == 1


# ── another try ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    stage: Stage, server: AuthorizationServer, status: int
) -> None:
    """After a pause."""
    server.faults = [says(status)] * 2
    assert stage.exchange().variables
    assert len(stage.pauses) == 2


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error", "slow_down"])
def test_a_code_that_says_later_is_tried_again(
    stage: Stage, server: AuthorizationServer, code: str
) -> None:
    """Whatever the status says."""
    server.faults = [denies(code)]
    assert stage.exchange().variables


def test_a_pause_that_is_longer_than_the_budget(stage: Stage, server: AuthorizationServer) -> None:
    """Is not waited for."""
    server.faults = [says(503, Retry_After="600")]
    error = stage.refuse()
    assert isinstance(error, ProviderUnavailableError)
    assert [len(server.calls), stage.pauses] == [1, []]


@pytest.mark.usefixtures("brief")
def test_an_answer_that_never_comes(stage: Stage, server: AuthorizationServer) -> None:
    """What may have been issued then is said, without a word of Vault's."""
    server.faults = [reset] * 1000
    error = stage.refuse()
    assert isinstance(error, UnansweredError)
    assert "server's own log" in error.hint
    assert "a token that nobody has" in stage.warnings[0]
