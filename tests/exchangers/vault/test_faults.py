"""A server that fails for a while, for good, or in words that are not Vault's."""

import time
from collections.abc import Iterator

import pytest

from ci_identity._call import READ_TIMEOUT
from ci_identity.errors import (
    ExchangeError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TokenLifeError,
    VaultTokenKindError,
)
from ci_identity.model import Outcome
from tests.exchangers.front import Fault, Front, answers, hang, lose, reset, with_, without
from tests.exchangers.shop import Shop

LOGIN, CREATE, CAPABILITIES = "auth/jwt/login", "auth/token/create", "sys/capabilities-self"
REVOKE = "auth/token/revoke-self"
LIFE = ("auth", "lease_duration")


@pytest.fixture
def front(shop: Shop) -> Iterator[Front]:
    """A server in front of the shop's, which the shop's grants name."""
    with Front(shop.openbao.address) as front:
        yield front


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for another try."""
    monkeypatch.setattr("ci_identity.exchangers.vault.client.RETRY_BUDGET", 0.0)


TRANSIENT = {
    **{str(status): answers(status) for status in (408, 412, 425, 429, 500, 502, 503, 504)},
    "reset": reset,
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_may_pass_is_tried_again(shop: Shop, front: Front, fault: Fault) -> None:
    """An answer that says "later", or none at all, is not the end: the same is asked once more."""
    paths = [LOGIN, CAPABILITIES, CREATE, shop.path]
    for path in paths:
        front.faults[path] = [fault]
    with shop.exchange(shop.target(address=front.address)) as seen:
        assert seen.values == {"PASSWORD": shop.password}
    assert [front.asked.count(path) for path in paths] == [2, 2, 2, 2]
    assert len(seen.pauses) == 4


def test_server_says_how_long_to_wait(shop: Shop, front: Front) -> None:
    """`Retry-After` is honoured (RFC 9110, section 10.2.3)."""
    front.faults[LOGIN] = [answers(429, Retry_After="7")]
    with shop.exchange(shop.target(address=front.address)) as seen:
        pass
    assert seen.pauses == [7.0]


def test_wait_beyond_the_budget_is_an_error_at_once(shop: Shop, front: Front) -> None:
    """Nobody waits an hour for a token of five minutes."""
    front.faults[LOGIN] = [answers(429, Retry_After="3600")]
    error = shop.refuse(shop.target(address=front.address))
    assert isinstance(error, ProviderUnavailableError)
    assert error.retry_after == 3600
    assert front.asked == [LOGIN]
    assert shop.last.pauses == []


@pytest.mark.usefixtures("brief")
def test_server_that_stays_away(shop: Shop, front: Front) -> None:
    """When the budget is over the last failure is told, by its host and not by a traceback."""
    front.is_down = True
    error = shop.refuse(shop.target(address=front.address))
    assert isinstance(error, ProviderUnavailableError)
    assert front.address.removeprefix("http://") in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_permanent_refusal_is_one_call(shop: Shop, front: Front, status: int) -> None:
    """What will not pass is asked once; a body that is no reason is not repeated."""
    front.faults[LOGIN] = [answers(status, '{"errors": ["the proxy says SECRET"]}')]
    error = shop.refuse(shop.target(address=front.address))
    assert isinstance(error, ExchangeError)
    assert "SECRET" not in f"{error}{error.cause}{error.hint}"
    assert front.asked == [LOGIN]


def test_redirect_is_not_followed(shop: Shop, front: Front) -> None:
    """A token is carried to no other address than the grant's."""
    with Front(shop.openbao.address) as other:
        for status in (301, 302, 303, 307, 308):
            front.faults[LOGIN] = [answers(status, Location=f"{other.address}/v1/{LOGIN}")]
            error = shop.refuse(shop.target(address=front.address))
            assert isinstance(error, ProviderAnswerError)
            assert other.address not in str(error)
        assert other.asked == []


NOT_VAULT = {
    "page": answers(200, "<html>Sign in</html>", Content_Type="text/html"),
    "list": answers(200, "[]"),
    "text": answers(200, '"welcome"'),
    "null": answers(200, "null"),
    "empty": answers(200, ""),
    "nothing": answers(204, ""),
    "no auth": answers(200, "{}"),
    "auth is a list": answers(200, '{"auth": []}'),
    "huge": answers(200, '{"auth": "' + "a" * (2 << 20) + '"}'),
}


@pytest.mark.parametrize("fault", NOT_VAULT.values(), ids=NOT_VAULT)
def test_what_is_no_answer_of_vault(shop: Shop, front: Front, fault: Fault) -> None:
    """A captive portal, an empty page, other JSON: an error that says so, never a traceback."""
    front.faults[LOGIN] = [fault]
    error = shop.refuse(shop.target(address=front.address))
    assert type(error) is ProviderAnswerError
    assert front.asked == [LOGIN]


@pytest.mark.parametrize(
    "fault",
    [
        without("auth", "lease_duration"),
        without("auth", "accessor"),
        without("auth", "token_type"),
        with_(value="soon", path=LIFE),
        with_(value=True, path=LIFE),
    ],
    ids=["no life", "no accessor", "no kind", "life is a text", "life is a boolean"],
)
def test_login_that_cannot_be_understood_is_ended(shop: Shop, front: Front, fault: Fault) -> None:
    """From the moment there is a token it is held, and ended whatever else is missing."""
    front.faults[LOGIN] = [fault]
    error = shop.refuse(shop.target(address=front.address))
    assert type(error) is ProviderAnswerError
    assert shop.last.credential.revoke(budget=5.0).outcome is Outcome.REVOKED


def test_token_that_never_ends_by_itself(shop: Shop, front: Front) -> None:
    """`lease_duration: 0` means no end, not the shortest: it is shortened like a long one."""
    front.faults[LOGIN] = [with_(value=0, path=LIFE)]
    with shop.exchange(shop.target(address=front.address)):
        assert "auth/token/renew-self" in front.asked


def test_child_with_a_longer_life_than_asked_is_refused(shop: Shop, front: Front) -> None:
    """What the server says of the child is checked against what was asked."""
    front.faults[CREATE] = [with_(value=3600, path=LIFE)]
    assert isinstance(shop.refuse(shop.target(address=front.address)), TokenLifeError)


@pytest.mark.parametrize(
    ("asked", "path", "value"),
    [
        (CREATE, ("auth", "token_policies"), [["shop-db"]]),
        (CREATE, ("auth", "identity_policies"), True),
        (CAPABILITIES, ("data", CREATE), [[]]),
        (CAPABILITIES, ("data", CREATE), "update"),
    ],
)
def test_policies_and_rights_are_lists_of_texts(
    shop: Shop, front: Front, asked: str, path: tuple[str, ...], value: object
) -> None:
    """Whatever else stands there is no answer of Vault, and nothing is read from it."""
    front.faults[asked] = [with_(value=value, path=path)]
    error = shop.refuse(shop.target(address=front.address))
    assert type(error) is ProviderAnswerError


def test_kind_of_token_that_nobody_knows(shop: Shop, front: Front) -> None:
    """Only a service token will do, whatever kinds there may be."""
    front.faults[LOGIN] = [with_(value="default-batch", path=("auth", "token_type"))]
    assert isinstance(shop.refuse(shop.target(address=front.address)), VaultTokenKindError)


def test_cancelled_while_waiting(shop: Shop, front: Front) -> None:
    """Whoever cancels the job while the server is waited for is heard; what was issued ends."""

    class CancelledError(Exception):
        pass

    def cancel(_: float) -> None:
        raise CancelledError

    front.faults[CREATE] = [answers(503)]
    with (
        pytest.raises(CancelledError),
        shop.exchange(shop.target(address=front.address), pause=cancel),
    ):
        pass
    assert front.asked[-1] == REVOKE


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_server_gone_at_the_end(shop: Shop, front: Front) -> None:
    """Revocation gives up within its budget and says that it failed; it never raises."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        front.is_down = True
        began = time.monotonic()
        ending = seen.credential.revoke(budget=0.2)
        assert time.monotonic() - began < 3
        front.is_down = False
        assert ending.outcome is Outcome.FAILED
        assert ending.reason == "revocation"
        assert ending.detail.startswith("login token: 127.0.0.1:")
        assert seen.credential.revoke(budget=5.0) is ending
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])


def test_server_that_hangs_at_the_end(shop: Shop, front: Front) -> None:
    """A server that accepts and is silent gets no more time than the budget has left."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        front.faults[REVOKE] = [hang]
        began = time.monotonic()
        assert seen.credential.revoke(budget=0.3).outcome is Outcome.FAILED
        assert time.monotonic() - began < READ_TIMEOUT / 2
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])


def test_end_is_tried_again(shop: Shop, front: Front) -> None:
    """A server that cannot answer just then is asked again."""
    front.faults[REVOKE] = [reset, answers(503)]
    with shop.exchange(shop.target(address=front.address)) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
    assert front.asked.count(REVOKE) == 3


def test_end_whose_answer_was_lost(shop: Shop, front: Front) -> None:
    """Asked again, the server refuses, as it may a token that is alive: that is not `revoked`."""
    front.faults[REVOKE] = [lose]
    with shop.exchange(shop.target(address=front.address)) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.FAILED
    assert front.asked.count(REVOKE) == 2


def test_ending_twice_asks_once(shop: Shop, front: Front) -> None:
    """The second time nothing is asked, and the answer is the same."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        assert seen.credential.revoke(budget=5.0) is seen.credential.revoke(budget=5.0)
    assert front.asked.count(REVOKE) == 1


def test_refused_end_is_one_call(shop: Shop, front: Front) -> None:
    """A server that says no is believed; its words are not repeated."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        front.faults[REVOKE] = [answers(403, '{"errors": ["SECRET"]}')]
        ending = seen.credential.revoke(budget=5.0)
        assert ending.outcome is Outcome.FAILED
        assert ending.detail == "login token: the server could not revoke it, or would not"
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])
    assert front.asked.count(REVOKE) == 1


def test_page_is_no_confirmation(shop: Shop, front: Front) -> None:
    """Something else that answers 200 has not revoked anything."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        front.faults[REVOKE] = [answers(200, "<html>", Content_Type="text/html")]
        assert seen.credential.revoke(budget=0.2).outcome is Outcome.FAILED
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])


def test_ended_by_itself_only_if_the_login_token_has(shop: Shop, front: Front) -> None:
    """A step's token that is over says nothing of a login that could not be shortened."""
    shop.role(token_period="1h")
    with shop.exchange(shop.target(address=front.address)) as seen:
        seen.credential.expires_at = seen.credential.expires_at.replace(year=2020)
        front.is_down = True
        assert seen.credential.revoke(budget=0.1).outcome is Outcome.FAILED
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])


def test_what_has_ended_by_itself_is_called_so(shop: Shop, front: Front) -> None:
    """If the server is gone and the login token's life is over, nothing is left to fail."""
    with shop.exchange(shop.target(address=front.address)) as seen:
        seen.credential.login_expires_at = seen.credential.expires_at.replace(year=2020)
        front.is_down = True
        assert seen.credential.revoke(budget=0.1).outcome is Outcome.EXPIRES
        shop.root.auth.token.revoke_accessor(seen.accessors()[0])
