"""What every exchanger keeps, whoever the provider is: one table, and one test for each promise."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_identity.errors import CiIdentityError, ExchangeError, LedgerError, ProviderUnavailableError
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.grants.format import TARGETS
from ci_identity.model import Grant, Handle, Outcome, Wanted
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.scrutiny import check_life, check_values
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify
from tests.audit import assert_all_revoked
from tests.exchangers.providers import PROVIDERS, WORDS, Provider, running

pytestmark = pytest.mark.parametrize("name", PROVIDERS)


@dataclass
class Caller:
    """Whoever asks for an exchange, and what it was told.

    Attributes:
        provider: who is asked.
        events: what came, in order: `hold`, `record`, `pause`.
        calls_at_hold: what the provider had been asked when the credential was held.
        calls_at_record: and at each handle.
        breaks_at: the handle at which the ledger is full, counted from 1; 0 for none.
    """

    provider: Provider
    events: list[str] = field(default_factory=list[str])
    held: list[Credential] = field(default_factory=list[Credential])
    handles: list[Handle] = field(default_factory=list[Handle])
    said: list[str] = field(default_factory=list[str])
    calls_at_hold: int = -1
    calls_at_record: list[int] = field(default_factory=list[int])
    breaks_at: int = 0

    def exchange(self) -> Credential:
        """Exchange, and look at what came as a session does."""
        provider, asked_at = self.provider, datetime.now(UTC)
        grant = Grant(
            name="partner",
            conditions={"repository": (Wanted(text="acme/shop"),)},
            target=provider.target,
        )
        exchanger = exchanger_for(grant, provider.environ)
        credential = exchanger.exchange(self._request(grant))
        assert self.held == [credential]
        check_life("partner", credential.expires_at, asked_at=asked_at, ttl=provider.ttl)
        check_values(credential.variables, credential.secrets)
        for shown in (repr(exchanger), repr(credential), f"{vars(credential)}"):
            self.assert_nothing_secret(shown)
        return credential

    def refuse(self) -> CiIdentityError:
        """Return what an exchange raises; nothing secret is in it, or behind it."""
        with pytest.raises(CiIdentityError) as caught:
            self.exchange()
        error = caught.value
        lines = "".join(traceback.format_exception(error))
        self.assert_nothing_secret(f"{error!r}{vars(error)}{error.cause}{error.hint}{lines}")
        return error

    def assert_nothing_secret(self, text: str) -> None:
        """Assert that neither the job's token, nor what was issued, nor the provider is quoted."""
        issued = [secret.reveal() for one in self.held for secret in secrets_of(one)]
        for secret in (self.provider.token.token.reveal(), WORDS, *issued):
            assert secret not in f"{text}{self.said}{self.handles}"

    def _request(self, grant: Grant) -> ExchangeRequest:
        token = self.provider.token
        return ExchangeRequest(
            grant=grant,
            subject_token=token,
            mint=lambda: token,
            identity=identify(token),
            step="upload",
            ttl=self.provider.ttl,
            lease_id="0123456789abcdef",
            hold=self._hold,
            record=self._record,
            warn=self.said.append,
            note=self.said.append,
            pause=lambda _: self.events.append("pause"),
        )

    def _hold(self, credential: Credential) -> None:
        self.calls_at_hold = self.provider.calls
        self.events.append("hold")
        self.held.append(credential)

    def _record(self, handle: Handle) -> None:
        self.events.append("record")
        self.handles.append(handle)
        self.calls_at_record.append(self.provider.calls)
        if len(self.handles) == self.breaks_at:
            message = "the ledger is full"
            raise LedgerError(message)


def secrets_of(credential: Credential) -> list[Secret]:
    """Return every secret that a credential tells of."""
    hidden = [given.value for given in credential.variables.values() if not given.is_public]
    return [*credential.secrets, *hidden]


@pytest.fixture
def provider(name: str, issuer: Issuer, openbao: OpenBao, tmp_path: Path) -> Iterator[Provider]:
    """The provider of the row; afterwards nobody who got into a Vault is still in."""
    logins = len(openbao.logins())
    with running(name, issuer, openbao, tmp_path) as provider:
        yield provider
    assert_all_revoked(openbao, logins_before=logins)


@pytest.fixture
def caller(provider: Provider) -> Iterator[Caller]:
    """One who asks; whatever was held is ended."""
    caller = Caller(provider)
    yield caller
    for credential in caller.held:
        credential.revoke(budget=5)


def test_every_target_has_a_row(name: str) -> None:
    """A new exchanger joins the table."""
    del name
    assert {row.partition(" ")[0] for row in PROVIDERS} == set(TARGETS)


def test_what_is_not_narrowed_is_not_given(provider: Provider, caller: Caller) -> None:
    """Whoever gives more than was asked is refused, for good; the step gets nothing of it."""
    provider.give_more()
    error = caller.refuse()
    assert isinstance(error, ExchangeError)
    assert error.retry_after is None
    assert caller.held[0].variables == {}


def test_it_never_lives_longer_than_asked(provider: Provider, caller: Caller) -> None:
    """Its end, which people are told, is not after the ask."""
    credential = caller.exchange()
    assert credential.expires_at <= datetime.now(UTC) + provider.ttl


def test_a_longer_life_is_shortened_or_refused(provider: Provider, caller: Caller) -> None:
    """Where the provider gives more time, the step has not got it."""
    provider.give_longer()
    try:
        credential = caller.exchange()
    except ExchangeError as error:
        assert error.retry_after is None  # noqa: PT017  # either is right
    else:
        assert credential.expires_at <= datetime.now(UTC) + provider.ttl


def test_what_is_refused_for_good_is_one_call(provider: Provider, caller: Caller) -> None:
    """Nobody is asked twice for what will not be given."""
    provider.refuse()
    error = caller.refuse()
    assert isinstance(error, ExchangeError)
    assert error.retry_after is None
    assert provider.calls == 1
    assert caller.events == ["hold"]


def test_what_may_pass_is_tried_again(provider: Provider, caller: Caller) -> None:
    """With a pause before each try, which a cancelled job breaks off."""
    provider.say_later(2)
    assert caller.exchange() is caller.held[0]
    assert caller.events.count("pause") == 2


def test_what_does_not_pass_is_given_up(
    name: str, provider: Provider, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the budget is over; and what may work later is called so."""
    where = "client" if name == "vault" else "exchange"
    module = f"ci_identity.exchangers.{name.partition(' ')[0]}.{where}"
    monkeypatch.setattr(f"{module}.RETRY_BUDGET", 0.2)
    provider.say_later(9_999)
    error = caller.refuse()
    assert isinstance(error, ProviderUnavailableError)
    assert error.retry_after is not None
    assert caller.events.count("pause") == provider.calls - 1


def test_it_is_held_before_anything_is_asked(provider: Provider, caller: Caller) -> None:
    """From then on whoever asked ends it, however the exchange goes on."""
    caller.exchange()
    assert caller.calls_at_hold == 0
    assert caller.events[0] == "hold"
    assert provider.calls > 0


def test_each_is_recorded_before_the_next_is_asked_for(caller: Caller) -> None:
    """A crash in between leaves a handle of everything that was issued."""
    caller.exchange()
    assert caller.handles
    assert len(set(caller.calls_at_record)) == len(caller.calls_at_record)
    assert all(
        handle.fingerprint is None or len(handle.fingerprint) == 64 for handle in caller.handles
    )


def test_what_cannot_be_recorded_is_ended(provider: Provider, caller: Caller) -> None:
    """Nothing is handed over, and the end is the one declared."""
    caller.breaks_at = 1
    assert isinstance(caller.refuse(), LedgerError)
    assert caller.held[0].variables == {}
    assert caller.held[0].revoke(budget=5).outcome is provider.strength.outcome


def test_an_end_does_what_is_declared(provider: Provider, caller: Caller) -> None:
    """No more and no less is said of it, and where it is confirmed, the provider agrees."""
    credential = caller.exchange()
    secret = next(iter(secrets_of(credential)), None)
    handle, calls = caller.handles[-1], provider.calls
    assert provider.is_alive(handle, secret)
    ending = credential.revoke(budget=5)
    assert ending.outcome is provider.strength.outcome
    if ending.outcome is Outcome.REVOKED:
        assert not provider.is_alive(handle, secret)
        assert ending.reason is None
    else:
        assert provider.calls == calls
        assert [ending.reason, ending.detail] == ["not-revocable", provider.strength.meaning]


def test_after_the_end_nothing_is_left_to_hand_over(provider: Provider, caller: Caller) -> None:
    """Neither a variable nor an answer of the endpoint; a second end says the same."""
    credential = caller.exchange()
    first, calls = credential.revoke(budget=5), provider.calls
    assert credential.revoke(budget=5) == first
    assert provider.calls == calls
    assert credential.served is None


def test_an_end_of_nothing(provider: Provider, caller: Caller) -> None:
    """What was refused has nothing to end, and nobody is asked to."""
    provider.refuse()
    caller.refuse()
    calls = provider.calls
    ending = caller.held[0].revoke(budget=5)
    assert [ending.outcome, ending.detail] == [Outcome.REVOKED, "nothing had been issued"]
    assert provider.calls == calls
