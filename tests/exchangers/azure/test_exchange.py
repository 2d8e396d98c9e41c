"""One exchange over loopback: what is sent, what is made of the answer, and its end."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci_identity._call import READ_TIMEOUT
from ci_identity._record import replace
from ci_identity.errors import (
    AzureApplicationError,
    AzureResourceError,
    AzureTokenTimeError,
    InsecureAddressError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TokenLifeError,
    UnansweredError,
)
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.azure import AzureExchanger
from ci_identity.exchangers.interface import Ending
from ci_identity.model import Grant, Outcome, Wanted
from ci_identity.sandbox.issuer import Issuer
from tests.azure.entra import (
    AUDIENCE,
    CLIENT,
    STORAGE,
    TENANT,
    VAULT,
    Entra,
    error,
    hang,
    reset,
    says,
)
from tests.exchangers.azure.stage import CORRELATION_ID, LEASE, Stage, subject_token, target

EXPIRED = says(401, error(700024, "Client assertion is not within its valid time range."))


# ── what is sent ─────────────────────────────────────────────────────────────────────────────


def test_exactly_what_is_asked(stage: Stage, entra: Entra) -> None:
    """One POST with these fields, and nothing of what the environment may hold."""
    stage.environ = {"AZURE_CLIENT_SECRET": "ambient", "AZURE_CLIENT_ID": "ambient"}
    stage.exchange()
    (call,) = entra.calls
    assert call.path == f"/{TENANT}/oauth2/v2.0/token"
    assert call.form == {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": stage.token.token.reveal(),
        "scope": f"{VAULT}/.default",
    }
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert call.headers["client-request-id"] == CORRELATION_ID
    assert not {"authorization", "cookie"} & call.headers.keys()


def test_lease_is_found_in_the_sign_in_log() -> None:
    """The correlation id, a UUID, is the lease's id and zeros."""
    assert CORRELATION_ID.replace("-", "")[:16] == LEASE


def test_one_token_for_each_resource(stage: Stage, entra: Entra) -> None:
    """In the order of the grant, by one connection; each is recorded before the next is asked."""
    stage.target = replace(stage.target, resources=(STORAGE, VAULT))
    credential = stage.exchange()
    assert [call.form["scope"] for call in entra.calls] == [
        f"{STORAGE}/.default",
        f"{VAULT}/.default",
    ]
    assert entra.connections == 1
    assert stage.events == ["hold", "record", "record"]
    assert credential.served is not None
    assert [token.resource for token in credential.served.tokens] == [STORAGE, VAULT]
    for token in credential.served.tokens:
        assert entra.accepts(token.access_token.reveal(), token.resource)


def test_resource_with_a_slash_at_its_end(stage: Stage, entra: Entra) -> None:
    """It is sent as written: some resources have the slash in their name, and then it is doubled.

    learn.microsoft.com/entra/identity-platform/scopes-oidc, "Trailing slash and .default".
    """
    entra.resources.add(f"{VAULT}/")
    stage.target = replace(stage.target, resources=(f"{VAULT}/",))
    credential = stage.exchange()
    assert entra.calls[0].form["scope"] == f"{VAULT}//.default"
    assert credential.served
    assert credential.served.of(VAULT) == credential.served.of(f"{VAULT}/") is not None


def test_grant_for_azure_has_this_exchanger() -> None:
    """It is chosen by the grant's target."""
    conditions = {"repository": (Wanted(text="acme/shop"),)}
    grant = Grant(name="rotate", conditions=conditions, target=target())
    assert isinstance(exchanger_for(grant, {}), AzureExchanger)


def test_target_in_the_ledger() -> None:
    """The tenant and the application, by their ids."""
    assert AzureExchanger(target(), {}).target == f"{TENANT}/{CLIENT}"


# ── what is made of the answer ───────────────────────────────────────────────────────────────


def test_tokens_as_they_are_handed_on(stage: Stage) -> None:
    """The tokens are served, not set as variables; they are to be masked, and never shown."""
    credential = stage.exchange()
    assert credential.served is not None
    (token,) = credential.served.tokens
    assert credential.served.client == CLIENT
    assert credential.variables == {}
    assert list(credential.secrets) == [token.access_token]
    assert token.access_token.reveal() not in f"{credential!r}{token!r}{vars(credential)}"


def test_ends_when_entra_says(stage: Stage, entra: Entra) -> None:
    """The end is Entra's own. Of several the last counts for the lease, the first for serving."""
    now = datetime.now(UTC)
    stage.now = lambda: now
    stage.target = replace(stage.target, resources=(VAULT, STORAGE))
    entra.faults = [says(200, _token(entra, VAULT, expires_in=5000))]
    credential = stage.exchange()
    assert credential.expires_at == now + timedelta(seconds=5000)
    assert credential.served is not None
    assert credential.served.expires_at == now + timedelta(seconds=3599)


def _token(entra: Entra, resource: str, **changes: Any) -> str:
    answer = {"token_type": "Bearer", "access_token": entra.access_token(resource)}
    return json.dumps(answer | {"expires_in": 3599} | changes)


def test_what_is_recorded(stage: Stage, entra: Entra) -> None:
    """Held before the call, recorded after it: the token's id in Entra's log, and no secret."""
    entra.claims = {"uti": "Kzv9-x_Q0kuOEXAMPLE"}
    credential = stage.exchange()
    assert stage.held == [credential]
    (handle,) = stage.handles
    assert str(handle) == f"token:{VAULT} Kzv9-x_Q0kuOEXAMPLE"
    assert handle.expires_at == credential.expires_at
    assert handle.fingerprint == credential.secrets[0].fingerprint()


@pytest.mark.parametrize("uti", ["two words", "a\x1b[2J", "x" * 65, 7, None])
def test_id_that_is_none_is_not_recorded(stage: Stage, entra: Entra, uti: object) -> None:
    """What an unverified claim says goes into the ledger only if it looks like an id."""
    entra.claims = {"uti": uti}
    stage.exchange()
    assert str(stage.handles[0]) == f"token:{VAULT}"


def test_token_that_cannot_be_read(stage: Stage, entra: Entra) -> None:
    """Entra may encrypt its tokens to the resource: what is in them is nobody's matter then."""
    entra.changes = {"access_token": "opaque.to-everybody"}
    credential = stage.exchange()
    assert credential.secrets[0].reveal() == "opaque.to-everybody"
    assert str(stage.handles[0]) == f"token:{VAULT}"


def test_where_to_look_for_it_is_noted(stage: Stage) -> None:
    """The log names the correlation id, and that nobody can end the tokens."""
    stage.exchange()
    (note,) = stage.notes
    assert note == (
        "rotate: 1 token of Entra, which nobody can end sooner; its sign-in log has the"
        f" correlation id {CORRELATION_ID}"
    )
    assert stage.warnings == []


OTHERS = {
    "tenant": {"tid": "99999999-2222-3333-4444-555555555555"},
    "client": {"appid": "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"},
    "client of version 2": {"appid": None, "azp": "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"},
    "not a text": {"tid": ["x"]},
}


@pytest.mark.parametrize("claims", OTHERS.values(), ids=OTHERS)
def test_token_of_somebody_else(stage: Stage, entra: Entra, claims: dict[str, object]) -> None:
    """Tenant and application must be those asked for; what was issued is on record, and ends."""
    entra.claims = {name: value for name, value in claims.items() if value is not None}
    if "azp" in claims:
        entra.changes = {"access_token": _without(entra, "appid")}
    assert isinstance(stage.refuse(), AzureApplicationError)
    assert stage.events == ["hold", "record"]
    assert stage.held[0].revoke(budget=1.0).outcome is Outcome.EXPIRES
    assert stage.held[0].served is None


def _without(entra: Entra, name: str) -> str:
    import jwt  # noqa: PLC0415  # for this one

    claims = jwt.decode(entra.access_token(VAULT), options={"verify_signature": False})
    del claims[name]
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


def test_ids_in_upper_case(stage: Stage, entra: Entra) -> None:
    """UUIDs are the same in either case (RFC 9562, section 4)."""
    entra.claims = {"tid": TENANT.upper(), "appid": CLIENT.upper()}
    stage.exchange()


NOT_ENTRA = {
    "page": "<html><p>Sign in</html>",
    "empty": "",
    "list": "[]",
    "text": '"x"',
    "deep": "[" * 100_000,
    "huge": '{"access_token": "' + "a" * (2 << 20) + '"}',
    "no token": '{"token_type": "Bearer", "expires_in": 3599}',
    "token is none": '{"token_type": "Bearer", "expires_in": 3599, "access_token": "two words"}',
    "token is empty": '{"token_type": "Bearer", "expires_in": 3599, "access_token": ""}',
    "other type": '{"token_type": "pop", "expires_in": 3599, "access_token": "x"}',
    "no life": '{"token_type": "Bearer", "access_token": "x"}',
    "life is none": '{"token_type": "Bearer", "expires_in": 0, "access_token": "x"}',
    "life is endless": '{"token_type": "Bearer", "expires_in": 1e400, "access_token": "x"}',
    "life is long": '{"token_type": "Bearer", "expires_in": 999999999, "access_token": "x"}',
}


@pytest.mark.parametrize("body", NOT_ENTRA.values(), ids=NOT_ENTRA)
@pytest.mark.parametrize("status", [200, 400])
def test_what_is_no_answer_of_entra(stage: Stage, entra: Entra, body: str, status: int) -> None:
    """A captive portal, half an answer, another token type: one call, and an error."""
    entra.faults = [says(status, body)]
    assert type(stage.refuse()) is ProviderAnswerError
    assert len(entra.calls) == 1
    assert stage.handles == []


# ── its life ─────────────────────────────────────────────────────────────────────────────────


def test_life_that_is_longer_than_asked(stage: Stage, entra: Entra) -> None:
    """Entra cannot be asked for less: the token is refused, on record, and the file must say so."""
    stage.ttl = timedelta(minutes=15)
    refused = stage.refuse()
    assert isinstance(refused, TokenLifeError)
    assert str(refused) == "Entra's tokens live for 3599 s, longer than the 900 s asked for"
    assert "`ttl: 60m`" in refused.hint
    assert stage.events == ["hold", "record"]
    assert len(entra.calls) == 1


def test_life_of_a_managed_identity(stage: Stage, entra: Entra) -> None:
    """24 hours are given to a managed identity; a grant that says so has them."""
    entra.life = 86_399
    assert isinstance(stage.refuse(), TokenLifeError)
    stage.ttl = timedelta(hours=24)
    assert stage.exchange().expires_at > datetime.now(UTC) + timedelta(hours=23)


def test_renewal_that_would_live_too_long_issues_nothing(stage: Stage, entra: Entra) -> None:
    """Towards the end of `max` less is asked for than Entra gave before: nobody is asked."""
    stage.exchange()
    stage.ttl = timedelta(minutes=50)
    assert isinstance(stage.refuse(), TokenLifeError)
    assert len(entra.calls) == 1


# ── its time ─────────────────────────────────────────────────────────────────────────────────


def test_token_that_is_about_to_end_is_minted_again(
    stage: Stage, entra: Entra, jobs: Issuer
) -> None:
    """With less than a minute left it might end on the way."""
    stage.token = subject_token(jobs, exp=int(time.time()) + 59)
    stage.mints = [subject_token(jobs)]
    stage.exchange()
    assert entra.calls[0].form["client_assertion"] == stage.mints[0].token.reveal()


def test_token_that_ends_between_two_resources(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """Each call has a token that is alive."""
    start = datetime.now(UTC)
    stage.target = replace(stage.target, resources=(VAULT, STORAGE))
    stage.mints = [subject_token(jobs)]
    stage.now = lambda: start + timedelta(minutes=5 * len(entra.calls))
    stage.exchange()
    assert stage.minted == 1
    assert [call.form["client_assertion"] for call in entra.calls] == [
        stage.token.token.reveal(),
        stage.mints[0].token.reveal(),
    ]


def test_token_that_entra_takes_for_expired(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """It is minted again once, and the call made once more."""
    entra.faults = [EXPIRED]
    stage.mints = [subject_token(jobs, jti="another")]
    stage.exchange()
    assert (stage.minted, len(entra.calls)) == (1, 2)


def test_new_token_that_is_expired_too(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """Then it is the clock, and trying again is of no use."""
    entra.faults = [EXPIRED, EXPIRED]
    stage.mints = [subject_token(jobs, jti="another")]
    assert isinstance(stage.refuse(), AzureTokenTimeError)
    assert len(entra.calls) == 2


def test_token_that_cannot_be_minted_anew(stage: Stage, entra: Entra) -> None:
    """GitLab's job has one for all its life: it is not sent twice."""
    entra.faults = [EXPIRED]
    assert isinstance(stage.refuse(), AzureTokenTimeError)
    assert len(entra.calls) == 1


# ── what may pass ────────────────────────────────────────────────────────────────────────────

PASSING = {
    "busy": says(429, error(90055, "too many"), Retry_After="0"),
    "busy by code": says(400, error(50196, "loop", error="invalid_grant")),
    "directory down": says(400, error(90033, "MsodsServiceUnavailable")),
    "by OAuth's code": says(400, error(1, "x", error="temporarily_unavailable")),
    "down": says(503, "<html>"),
    "keys not fetched": says(400, error(501661, "Request to External OIDC endpoint failed.")),
    "reset": reset,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(stage: Stage, entra: Entra, fault: Any) -> None:
    """One exchange comes of it."""
    entra.faults = [fault]
    stage.exchange()
    assert len(entra.calls) == 2
    assert len(stage.pauses) == 1


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_does_not_pass_ends_within_the_budget(stage: Stage, entra: Entra, fault: Any) -> None:
    """The tries share one budget, whatever the number of resources."""
    entra.faults = [fault] * 100_000
    stage.target = replace(stage.target, resources=(VAULT, STORAGE))
    stage.pauses = _Sleeping()
    assert isinstance(stage.refuse(), ProviderUnavailableError)


class _Sleeping(list[float]):
    def append(self, seconds: float) -> None:
        super().append(seconds)
        time.sleep(seconds)


@pytest.mark.usefixtures("brief")
def test_answer_that_never_comes(stage: Stage, entra: Entra) -> None:
    """A token may live that nobody has: its correlation id is said."""
    assert READ_TIMEOUT > 0.3
    entra.faults = [hang, hang]
    refused = stage.refuse()
    assert isinstance(refused, UnansweredError)
    assert CORRELATION_ID in refused.hint
    assert CORRELATION_ID in stage.warnings[0]


def test_wait_that_entra_asks_for(stage: Stage, entra: Entra) -> None:
    """Its Retry-After is kept, if it is within the budget."""
    entra.faults = [says(429, "{}", Retry_After="7")]
    stage.exchange()
    assert stage.pauses == [7.0]


# ── its end ──────────────────────────────────────────────────────────────────────────────────


def test_second_resource_that_is_refused(stage: Stage, entra: Entra) -> None:
    """The first token is on record by then, and is dropped with the rest."""
    stage.target = replace(stage.target, resources=(VAULT, "https://nothing.example"))
    assert isinstance(stage.refuse(), AzureResourceError)
    assert entra.numbers == [0, 500011]
    assert stage.events == ["hold", "record"]


def test_end_is_stated_for_what_it_is(stage: Stage) -> None:
    """Entra ends no token: it is dropped here, and expires; the second time too."""
    credential = stage.exchange()
    expected = Ending(
        outcome=Outcome.EXPIRES,
        reason="not-revocable",
        detail="Entra cannot end an application's token",
    )
    assert [credential.revoke(budget=1.0), credential.revoke(budget=1.0)] == [expected] * 2
    assert credential.served is None


def test_end_after_the_end(stage: Stage) -> None:
    """Then it has expired by itself."""
    stage.now = lambda: datetime.now(UTC) - timedelta(hours=2)
    stage.mints = [stage.token]
    ending = stage.exchange().revoke(budget=1.0)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "expired")


def test_end_of_what_was_never_issued(stage: Stage, entra: Entra) -> None:
    """Nothing was issued, so nothing is alive."""
    entra.faults = [says(400, error(700016, "x"))]
    stage.refuse()
    assert stage.held[0].revoke(budget=1.0).outcome is Outcome.REVOKED


# ── where ────────────────────────────────────────────────────────────────────────────────────

_CHINA, _US = "login.chinacloudapi.cn", "login.microsoftonline.us"


@pytest.mark.parametrize(
    ("authority", "variable", "audience", "steered_by"),
    [
        (None, "", AUDIENCE, ()),
        (None, f"https://{_US}/", f"{AUDIENCE}USGov", ("AZURE_AUTHORITY_HOST",)),
        (None, _CHINA, f"{AUDIENCE}China", ("AZURE_AUTHORITY_HOST",)),
        ("https://login.partner.microsoftonline.cn", _US, f"{AUDIENCE}China", ()),
        ("https://login.sovcloud-identity.de", "", f"{AUDIENCE}Germany", ()),
        ("https://login.stack.example", "", AUDIENCE, ()),
    ],
)
def test_authority_and_its_audience(
    authority: str | None, variable: str, audience: str, steered_by: tuple[str, ...]
) -> None:
    """The grant's own goes before the variable's, which is said; each cloud has an audience."""
    environ = {"AZURE_AUTHORITY_HOST": variable}
    exchanger = AzureExchanger(target(authority=authority), environ)
    assert (exchanger.audience, exchanger.steered_by) == (audience, steered_by)


@pytest.mark.parametrize("host", ["http://login.example", "https://a@b", "https://x\\[::1]", "a b"])
def test_authority_that_no_token_is_sent_to(host: str) -> None:
    """It must be https, and an address that every reader takes in the same way."""
    with pytest.raises(InsecureAddressError, match="AZURE_AUTHORITY_HOST"):
        AzureExchanger(target(), {"AZURE_AUTHORITY_HOST": host})
