"""A session, from the job's token to its end, at a real server: nothing is left of it."""

import logging
import os
import pickle  # noqa: TID251  # to see that it cannot be used
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag

import hvac.exceptions
import pytest

from ci_identity._record import replace
from ci_identity.errors import (
    AudienceError,
    CiIdentityError,
    ConfigurationError,
    DeliveryError,
    DeniedError,
    LedgerError,
    NoIdentityError,
    ProviderAnswerError,
    RevocationError,
    ShortSecretError,
    TokenLifeError,
    UnknownGrantError,
    VaultSecretError,
)
from ci_identity.exchangers.interface import Credential, Ending, ExchangeRequest
from ci_identity.ledger.verify import read, verify
from ci_identity.model import (
    Delivered,
    Grant,
    Handle,
    Outcome,
    SecretReference,
    VaultTarget,
    Wanted,
)
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from ci_identity.secret import Secret
from ci_identity.session import Session, session
from ci_identity.sources.interface import Source
from tests.audit import assert_all_revoked, is_alive
from tests.exchangers.front import Front, answers, without
from tests.exchangers.shop import Shop, references
from tests.ledger.full_disk import room_for

GRANT = "migrate-db"
ORDER = ["requested", "issued", "issued", "delivered", "revoked"]


class BodyError(Exception):
    """What the step itself fails with."""


@pytest.fixture(autouse=True)
def _nobody_stays(openbao: OpenBao) -> Iterator[None]:
    """Whatever a test does, every login that it made is ended."""
    before = len(openbao.logins())
    yield
    assert_all_revoked(openbao, logins_before=before)


@pytest.fixture
def job(world: World, tmp_path: Path) -> dict[str, str]:
    """The variables of a job that the grant is for, with a ledger of its own."""
    return world.environ() | {"CI_IDENTITY_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def shop(openbao: OpenBao, issuer: Issuer) -> Shop:
    """A role, policies and a secret of the test's own."""
    return Shop(openbao, issuer)


def ledger(job: Mapping[str, str]) -> Path:
    return Path(job["CI_IDENTITY_STATE_DIR"]) / "ledger.jsonl"


def events(job: Mapping[str, str]) -> list[object]:
    """Return what the ledger has recorded; its chain holds."""
    verify(ledger(job))
    return [entry["event"] for entry in read(ledger(job))]


def grant_of(shop: Shop, target: VaultTarget | None = None) -> Grant:
    """Return a grant for jobs of acme/shop, at the shop's role."""
    return Grant(
        name=GRANT,
        conditions={"repository": (Wanted(text="acme/shop"),)},
        target=target or shop.target(),
        audience=shop.openbao.address,
        ttl=timedelta(minutes=5),
    )


# ── the order ────────────────────────────────────────────────────────────────────────────────


def test_ledger_has_everything_in_its_order(job: dict[str, str], world: World) -> None:
    """Intent before the exchange, each token as it is issued, the delivery, the end."""
    with session(GRANT, environ=job) as opened:
        assert events(job) == ORDER[:-1]
    entries = list(read(ledger(job)))
    assert events(job) == ORDER
    assert {entry["lease"] for entry in entries} == {opened.lease.id}
    assert {entry["grant"] for entry in entries} == {GRANT}
    assert {entry["step"] for entry in entries} == {"migrate"}
    assert {entry["target"] for entry in entries} == {opened.lease.target}
    assert opened.lease.target == f"{world.openbao.address}/v1/auth/jwt/role/shop-migrate"
    for entry in entries:
        assert entry["identity"] == {
            "issuer": world.issuer.address,
            "subject": "repo:acme@7/shop@42:ref:refs/heads/main",
            "repository": "acme/shop",
            "run": "9001/1",
            "job": "31337",
        }
    assert [entry["outcome"] for entry in entries] == [None, None, None, None, "revoked"]
    assert [entry["reason"] for entry in entries] == [None] * 5
    assert verify(ledger(job)).head == opened.head


def test_ledger_has_handles_and_no_secrets(job: dict[str, str], world: World) -> None:
    """What ends a token from outside is there; the token, the values and the id token are not."""
    with session(GRANT, environ=job):
        issued = [entry for entry in read(ledger(job)) if entry["event"] == "issued"]
        for entry in issued:
            kind, _, accessor = str(entry["handle"]).partition(":")
            assert kind == "accessor"
            assert is_alive(world.openbao, accessor)
            assert len(str(entry["fingerprint"])) == 64
    text = ledger(job).read_text()
    for login in world.openbao.logins():
        assert login["auth"]["client_token"] not in text
    assert all(value.reveal() not in text for value in _hidden(world))
    assert "eyJ" not in text


def _hidden(world: World) -> list[Secret]:
    return [world.secrets["password"], world.secrets["licence"]]


def test_intent_is_on_record_before_the_server_is_asked(job: dict[str, str]) -> None:
    """When the exchanger is called the ledger has the request, and nothing else."""
    seen: list[object] = []

    def look(request: ExchangeRequest) -> None:
        seen.extend(events(job))
        assert request.lease_id

    with _double(job, look):
        pass
    assert seen == ["requested"]


# ── no ledger, no credential ─────────────────────────────────────────────────────────────────


def linked(path: Path) -> None:
    (path.parent / "target").touch(mode=0o600)
    path.symlink_to(path.parent / "target")


def twice(path: Path) -> None:
    path.touch(mode=0o600)
    (path.parent / "other").hardlink_to(path)


def shared(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def broken(path: Path) -> None:
    path.write_text("not an entry\n")
    path.chmod(0o600)


@pytest.mark.parametrize("spoil", [linked, twice, shared, pipe, broken])
def test_no_ledger_no_credential(
    job: dict[str, str], world: World, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """If the intent cannot be recorded the server is never asked."""
    path = tmp_path / "spoilt.jsonl"
    spoil(path)
    job["CI_IDENTITY_LEDGER"] = str(path)
    _refused_unasked(job, world, LedgerError)


def test_no_place_for_a_ledger_no_credential(job: dict[str, str], world: World) -> None:
    """The same where no file can be made."""
    job["CI_IDENTITY_LEDGER"] = "/proc/ledger.jsonl"
    _refused_unasked(job, world, LedgerError)


def test_full_disk_no_credential(job: dict[str, str], world: World) -> None:
    """The same where there is no room for the entry."""
    with room_for(100):
        _refused_unasked(job, world, LedgerError)


def _refused_unasked(job: Mapping[str, str], world: World, error: type[CiIdentityError]) -> None:
    before = len(world.openbao.audit())
    opened = session(GRANT, environ=job)
    with pytest.raises(error):
        opened.open()
    assert len(world.openbao.audit()) == before
    assert opened.variables == {}


def test_disk_that_is_full_after_the_login(
    job: dict[str, str], world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that cannot be recorded is ended; that this is not recorded either is said."""
    with session(GRANT, environ=job):
        pass
    room = len(ledger(job).read_bytes().splitlines(keepends=True)[0])
    ledger(job).unlink()
    before = len(world.openbao.logins())
    opened = session(GRANT, environ=job)
    with room_for(room + 50), pytest.raises(LedgerError):
        opened.open()
    assert len(world.openbao.logins()) == before + 1
    assert opened.outcome is Outcome.REVOKED
    assert events(job) == ["requested"]
    assert "its end could not be recorded" in caplog.text


# ── refused before anything is sent ──────────────────────────────────────────────────────────


def test_denied_job(world: World, tmp_path: Path) -> None:
    """A job that the grant is not for: recorded, explained, and the server is never asked."""
    job = world.environ(claims={"repository": "mallory/shop", "repository_id": "666"})
    job["CI_IDENTITY_STATE_DIR"] = str(tmp_path / "state")
    before = len(world.openbao.audit())
    with pytest.raises(DeniedError) as caught:
        session(GRANT, environ=job).open()
    assert "repository is mallory/shop, wanted acme/shop" in str(caught.value)
    assert "repository_id is 666, wanted 42" in str(caught.value)
    (entry,) = read(ledger(job))
    assert (entry["event"], entry["reason"]) == ("denied", "denied")
    assert entry["handle"] is None
    assert isinstance(entry["identity"], dict)
    assert entry["identity"]["repository"] == "mallory/shop"
    assert len(world.openbao.audit()) == before


def test_other_step_is_denied(job: dict[str, str]) -> None:
    """`step` must be the CI's own id of the running step, where it has one."""
    with pytest.raises(DeniedError, match="step is migrate, wanted other"):
        session(GRANT, step="other", environ=job).open()
    assert events(job) == ["denied"]


def test_no_job(world: World, tmp_path: Path) -> None:
    """Outside a CI there is nobody to give it to; nothing is recorded of nobody."""
    environ = {
        "CI_IDENTITY_GRANTS": str(world.grants_path),
        "CI_IDENTITY_STATE_DIR": str(tmp_path),
    }
    with pytest.raises(NoIdentityError):
        session(GRANT, environ=environ).open()
    assert not ledger(environ).exists()


def test_token_for_another_audience(job: dict[str, str], shop: Shop) -> None:
    """A token that was handed over for somebody else goes nowhere."""
    token = shop.issuer.github_token("https://elsewhere.example").reveal()
    environ = {name: job[name] for name in ("CI_IDENTITY_STATE_DIR",)} | {
        "CI_IDENTITY_TOKEN": token
    }
    with pytest.raises(AudienceError):
        session(grant_of(shop), environ=environ).open()


@pytest.mark.parametrize(
    "ttl", [timedelta(minutes=6), timedelta(0), timedelta(minutes=-1), timedelta(milliseconds=5)]
)
def test_ttl_that_the_grant_does_not_allow(job: dict[str, str], ttl: timedelta) -> None:
    """More than the grant's is refused, and so is what is no time at all: it is not the default."""
    with pytest.raises(ConfigurationError, match="allows a ttl from 1 s to 5 min") as caught:
        session(GRANT, ttl=ttl, environ=job)
    assert "the grant's `ttl` counts" in caught.value.hint


def test_unknown_grant(job: dict[str, str]) -> None:
    """A name that the file does not have is an error before anything else."""
    with pytest.raises(UnknownGrantError):
        session("migrate-bd", environ=job)


# ── the body ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [BodyError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_failed_body_is_cleaned_up_and_not_hidden(
    job: dict[str, str], kind: type[BaseException]
) -> None:
    """However the body ends, the lease ends with it, and the caller learns of the body's end."""
    opened = session(GRANT, environ=job)
    with pytest.raises(kind), opened:
        raise kind
    assert opened.outcome is Outcome.REVOKED
    assert events(job) == ORDER


@pytest.fixture
def stubborn(shop: Shop) -> Iterator[tuple[Grant, Front]]:
    """A grant whose server refuses to revoke the token; the test's end does it."""
    before = len(shop.openbao.logins())
    with Front(shop.openbao.address) as front:
        front.faults["auth/token/revoke-self"] = [answers(403)]
        yield grant_of(shop, shop.target(address=front.address)), front
    for login in shop.openbao.logins()[before:]:
        shop.root.auth.token.revoke_accessor(login["auth"]["accessor"])


def test_failed_revocation_is_an_error(
    job: dict[str, str], stubborn: tuple[Grant, Front], caplog: pytest.LogCaptureFixture
) -> None:
    """A lease that may be alive is not passed over: the error says until when, and what ends it."""
    opened = session(stubborn[0], environ=job)
    with pytest.raises(RevocationError) as caught, opened:
        pass
    handles = [str(e["handle"]) for e in read(ledger(job)) if e["event"] == "issued"]
    for said in (str(caught.value), caplog.text):
        assert "NOT revoked" in said
        assert ", ".join(handles) in said
        assert f"{opened.lease.expires_at:%Y-%m-%d %H:%M:%S} UTC" in said
    assert opened.outcome is Outcome.FAILED
    last = list(read(ledger(job)))[-1]
    assert (last["event"], last["outcome"], last["reason"]) == ("failed", "failed", "revocation")
    assert last["handle"] == handles[0]


def test_failed_revocation_of_a_long_login(
    job: dict[str, str], stubborn: tuple[Grant, Front], shop: Shop
) -> None:
    """What is said is when the login ends, where that could not be made as short as the step's."""
    shop.role(token_period="1h")
    opened = session(stubborn[0], environ=job)
    with pytest.raises(RevocationError) as caught, opened:
        assert opened.lease.expires_at < datetime.now(UTC) + timedelta(minutes=6)
    last = str(list(read(ledger(job)))[-1]["expires_at"])
    assert datetime.fromisoformat(last) > datetime.now(UTC) + timedelta(minutes=50)
    assert f"it may live until {last[:19].replace('T', ' ')} UTC" in str(caught.value)


def test_failed_revocation_never_replaces_the_error_of_the_body(
    job: dict[str, str], stubborn: tuple[Grant, Front], caplog: pytest.LogCaptureFixture
) -> None:
    """The body's own exception goes on; that the revocation failed is said beside it."""
    opened = session(stubborn[0], environ=job)
    with pytest.raises(BodyError), opened:
        raise BodyError
    assert opened.outcome is Outcome.FAILED
    assert "NOT revoked" in caplog.text


def test_closing_twice(job: dict[str, str]) -> None:
    """The second time is the first one's result: one end in the ledger."""
    with session(GRANT, environ=job) as opened:
        first = opened.close()
        assert opened.close() is first
    assert opened.revocation is first
    assert events(job) == ORDER


def test_closing_from_two_threads(job: dict[str, str]) -> None:
    """Whoever comes second waits for the first one's result, and the lease is ended once."""
    opened = _double(job)
    opened.open()
    exchanger = opened._exchanger
    assert isinstance(exchanger, _Double)
    exchanger.may_end.clear()
    with ThreadPoolExecutor(2) as pool:
        closing = [pool.submit(opened.close) for _ in range(2)]
        assert exchanger.is_ending.wait(10)
        assert not wait(closing, timeout=0.1, return_when=FIRST_COMPLETED).done
        exchanger.may_end.set()
        assert closing[0].result() is closing[1].result()
    assert exchanger.ended == 1
    assert events(job) == ["requested", "issued", "delivered", "expires"]


# ── what is half made is undone ──────────────────────────────────────────────────────────────


def failed_opening(
    job: dict[str, str], grant: Grant, error: type[CiIdentityError]
) -> tuple[Session, CiIdentityError]:
    """Open a session that fails after the login; its lease is revoked, recorded with the reason."""
    opened = session(grant, environ=job)
    with pytest.raises(error) as caught:
        opened.open()
    assert type(caught.value) is error
    assert opened.outcome is Outcome.REVOKED
    assert opened.variables == {}
    assert opened.secrets == ()
    last = list(read(ledger(job)))[-1]
    assert (last["event"], last["reason"]) == ("revoked", error.code)
    assert "delivered" not in events(job)
    assert not opened.private_folder.exists()
    return opened, caught.value


def test_missing_field(job: dict[str, str], shop: Shop) -> None:
    """A failure after the login ends the login."""
    target = shop.target(secrets=references(PASSWORD=f"{shop.path}#passwort"))
    failed_opening(job, grant_of(shop, target), VaultSecretError)
    assert events(job) == ["requested", "issued", "issued", "revoked"]


@pytest.mark.parametrize("value", ["12345", "  12345  \n", "", "é1"])
def test_short_secret(job: dict[str, str], shop: Shop, value: str) -> None:
    """A value that cannot be masked is not delivered; the error names its variable only."""
    shop.store({"password": value})
    _, error = failed_opening(job, grant_of(shop), ShortSecretError)
    assert str(error).startswith("PASSWORD: ")
    assert not value.strip() or value.strip() not in str(error)


def test_short_public_value(job: dict[str, str], shop: Shop) -> None:
    """What is public needs no mask and may be short."""
    shop.store({"port": 22})
    public = SecretReference(path=shop.path, field="port", is_public=True)
    grant = grant_of(shop, shop.target(secrets={"PORT": public}))
    with session(grant, environ=job) as opened:
        assert opened.environ["PORT"] == "22"
        assert opened.secrets == ()


@pytest.mark.parametrize("is_public", [True, False])
def test_value_with_a_null_byte(job: dict[str, str], shop: Shop, is_public: bool) -> None:  # noqa: FBT001
    """No variable can hold one; the error says what to do instead."""
    shop.store({"key": "binary\0value"})
    reference = SecretReference(path=shop.path, field="key", is_public=is_public)
    grant = grant_of(shop, shop.target(secrets={"KEY": reference}))
    _, error = failed_opening(job, grant, DeliveryError)
    assert str(error).startswith("KEY: ")
    assert "base64" in error.hint


def test_login_without_a_handle_is_ended(job: dict[str, str], shop: Shop) -> None:
    """A token whose answer cannot be understood has no handle on record, and ends all the same."""
    with Front(shop.openbao.address) as front:
        front.faults["auth/jwt/login"] = [without("auth", "lease_duration")]
        opened = session(grant_of(shop, shop.target(address=front.address)), environ=job)
        with pytest.raises(ProviderAnswerError):
            opened.open()
        assert front.asked == ["auth/jwt/login", "auth/token/revoke-self"]
    assert events(job) == ["requested", "failed"]
    assert list(read(ledger(job)))[-1]["reason"] == "provider-answer"


def test_refused_login_is_recorded(job: dict[str, str], shop: Shop) -> None:
    """Where nothing was issued the ledger says why, and claims no end."""
    opened = session(grant_of(shop, shop.target(role="misspelt")), environ=job)
    with pytest.raises(CiIdentityError):
        opened.open()
    assert events(job) == ["requested", "failed"]
    assert list(read(ledger(job)))[-1]["reason"] == "vault-role"
    assert opened.outcome is None


def test_cancelled_between_issue_and_delivery(job: dict[str, str]) -> None:
    """A signal while the session opens is an exception at the next pause: what there is ends."""
    pauses: list[float] = []

    def cancel(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    grant = session(GRANT, environ=job).grant
    opened = Session(grant, job, pause=cancel)
    with pytest.raises(KeyboardInterrupt):
        opened.open()
    assert events(job) == ["requested", "issued", "issued", "revoked"]
    assert list(read(ledger(job)))[-1]["reason"] == "interrupted"
    assert opened.outcome is Outcome.REVOKED


def test_cancelled_before_the_exchange(job: dict[str, str], openbao: OpenBao) -> None:
    """A signal that came while the token was fetched: nothing is asked of the server, or open."""

    def cancel(_: float) -> None:
        raise KeyboardInterrupt

    before = len(openbao.audit())
    opened = Session(session(GRANT, environ=job).grant, job, pause=cancel)
    with pytest.raises(KeyboardInterrupt):
        opened.open()
    assert not ledger(job).exists()
    assert len(openbao.audit()) == before


# ── what the step gets ───────────────────────────────────────────────────────────────────────


def test_environ_is_what_a_child_needs(job: dict[str, str], world: World) -> None:
    """The grant's values, and the job's variables without those that mint or hold a credential."""
    job |= {"VAULT_TOKEN": "ambient-token-of-the-job", "PATH": os.environ["PATH"], "LANG": "C"}
    with session(GRANT, environ=job) as opened:
        environ = opened.environ
        code = "import os; print(os.environ['DB_USER'], os.environ['DB_PASSWORD'])"
        child = subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
        )
    assert child.stdout.split() == ["shop", world.secrets["password"].reveal()]
    assert environ["LICENCE"] == world.secrets["licence"].reveal()
    assert environ["GITHUB_REPOSITORY"] == "acme/shop"
    assert not [name for name in environ if name.startswith("ACTIONS_ID_TOKEN_REQUEST")]
    assert "VAULT_TOKEN" not in environ


def test_session_shows_no_value(job: dict[str, str], world: World) -> None:
    """Neither it nor what it gives shows a value where it is printed; none can be pickled."""
    with session(GRANT, environ=job) as opened:
        shown = (opened, opened.environ, opened.variables, opened.secrets, opened.lease)
        for value in _hidden(world):
            assert value.reveal() not in repr(shown)
            assert value.reveal() not in str(shown)
        for one in (opened.environ, opened.secrets):
            with pytest.raises(TypeError):
                pickle.dumps(one)


def test_public_value_is_no_secret(job: dict[str, str], world: World) -> None:
    """What the grant calls public is not among what has to be masked."""
    with session(GRANT, environ=job) as opened:
        assert {secret.reveal() for secret in opened.secrets} == {
            value.reveal() for value in _hidden(world)
        }
        assert opened.variables["DB_USER"].is_public


def test_nothing_is_given_after_the_end(job: dict[str, str]) -> None:
    """A session that was closed has no values left."""
    with session(GRANT, environ=job) as opened:
        pass
    assert opened.variables == {}
    assert opened.secrets == ()
    assert not {"DB_USER", "DB_PASSWORD", "LICENCE"} & set(opened.environ)


def test_private_folder_lives_with_the_session(job: dict[str, str]) -> None:
    """Where the clouds' tools are pointed to: for this user only, and gone afterwards."""
    with session(GRANT, environ=job) as opened:
        folder = opened.private_folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert opened.environ["AWS_CONFIG_FILE"].startswith(str(folder))
    assert not folder.exists()


def test_lease_says_what_and_how_long(job: dict[str, str]) -> None:
    """The lease is the grant's, and ends by itself within its ttl, in UTC."""
    with session(GRANT, environ=job) as opened:
        lease = opened.lease
        assert lease.grant == GRANT
        assert lease.expires_at.tzinfo is UTC
        assert timedelta(0) < lease.expires_at - datetime.now(UTC) <= timedelta(minutes=5)
        assert opened.outcome is None


def test_shorter_ttl_is_honoured(job: dict[str, str], world: World) -> None:
    """Less than the grant allows may be asked, and the server's tokens live no longer."""
    with session(GRANT, ttl=timedelta(seconds=40), environ=job) as opened:
        assert opened.lease.expires_at <= datetime.now(UTC) + timedelta(seconds=40)
        for entry in read(ledger(job)):
            if entry["event"] == "issued":
                accessor = str(entry["handle"]).partition(":")[2]
                found = world.openbao.client().auth.token.lookup_accessor(accessor)["data"]
                assert found["ttl"] <= 40


def test_client_of_the_session(job: dict[str, str], world: World) -> None:
    """`hvac()` reads what the grant gives and no more, and is dead after the end."""
    with session(GRANT, environ=job) as opened:
        client = opened.hvac()
        data = client.read("secret/data/shop")["data"]["data"]
        assert data["password"] == world.secrets["password"].reveal()
        with pytest.raises(hvac.exceptions.Forbidden):
            client.read("secret/data/other")
    with pytest.raises(hvac.exceptions.VaultError):
        client.read("secret/data/shop")
    with pytest.raises(ConfigurationError, match="no open Vault token"):
        opened.hvac()


def test_client_before_opening(job: dict[str, str]) -> None:
    """There is no token before there is a session."""
    with pytest.raises(ConfigurationError, match="no open Vault token"):
        session(GRANT, environ=job).hvac()


def test_what_is_said(job: dict[str, str], world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Who it is for, where from, until when, which names; and at the end that it is over."""
    with caplog.at_level(logging.INFO, "ci_identity"), session(GRANT, environ=job) as opened:
        pass
    told = caplog.text
    assert "for acme/shop, run 9001/1, job 31337" in told
    assert f"ends by itself at {opened.lease.expires_at:%H:%M:%S} UTC" in told
    assert "DB_USER (public), DB_PASSWORD, LICENCE" in told
    assert "revoked; the server confirmed it" in told
    assert all(value.reveal() not in told for value in _hidden(world))


def test_variable_that_chose_the_server_is_said_and_recorded(
    job: dict[str, str], shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """An address from the environment is in the log and in every entry."""
    job["VAULT_ADDR"] = shop.openbao.address
    grant = grant_of(shop, shop.target(address=None))
    with caplog.at_level(logging.INFO, "ci_identity"), session(grant, environ=job) as opened:
        ours = ("CI_IDENTITY_GRANTS", "CI_IDENTITY_STATE_DIR")
        assert opened.steered_by == ("VAULT_ADDR", *ours)
    assert "steered by VAULT_ADDR, CI_IDENTITY_GRANTS" in caplog.text
    assert [entry["steered_by"] for entry in read(ledger(job))] == [["VAULT_ADDR", *ours]] * 5


def test_steering_is_said_before_anything_is_sent(
    job: dict[str, str], shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Where an address from the environment would take the token is said before it goes there."""
    job["VAULT_ADDR"] = shop.openbao.address

    def cancel(_: float) -> None:
        raise KeyboardInterrupt

    stopped = Session(grant_of(shop, shop.target(address=None)), job, pause=cancel)
    with caplog.at_level(logging.INFO, "ci_identity"), pytest.raises(KeyboardInterrupt):
        stopped.open()
    assert "steered by VAULT_ADDR" in caplog.text


# ── other jobs ───────────────────────────────────────────────────────────────────────────────


def test_gitlab_job(world: World, tmp_path: Path) -> None:
    """The same grant for a job of GitLab, whose token is a variable that the child does not get."""
    job = world.environ("gitlab") | {"CI_IDENTITY_STATE_DIR": str(tmp_path / "state")}
    with session(GRANT, step="migrate", environ=job) as opened:
        assert opened.identity is not None
        assert (opened.identity.source, opened.identity.job) == ("gitlab", "31338")
        assert opened.environ["DB_USER"] == "shop"
        assert "CI_IDENTITY_TOKEN" not in opened.environ
        assert "CI_IDENTITY_TOKEN" in job
    assert events(job) == ORDER
    assert {entry["step"] for entry in read(ledger(job))} == {"migrate"}


def test_token_in_a_file(world: World, tmp_path: Path) -> None:
    """A token that was written to a file serves as well as the CI's own."""
    file = tmp_path / "token"
    file.write_text(world.issuer.github_token(world.openbao.address).reveal())
    job = {
        "CI_IDENTITY_TOKEN_FILE": str(file),
        "CI_IDENTITY_GRANTS": str(world.grants_path),
        "CI_IDENTITY_STATE_DIR": str(tmp_path / "state"),
    }
    with session(GRANT, step="by hand", environ=job) as opened:
        assert opened.identity is not None
        assert opened.identity.source == "token-file"
        assert opened.environ["DB_USER"] == "shop"
    assert {entry["step"] for entry in read(ledger(job))} == {"by hand"}


def test_sources_of_the_callers_own(job: dict[str, str]) -> None:
    """A maker of a runner hands in where the token comes from; no other place is asked."""
    grant = session(GRANT, environ=job).grant
    none: tuple[Source, ...] = ()
    with pytest.raises(NoIdentityError):
        Session(grant, job, candidates=none).open()


# ── several ──────────────────────────────────────────────────────────────────────────────────


def test_sessions_beside_each_other(job: dict[str, str], shop: Shop) -> None:
    """Two open at once are two leases; the end of one leaves the other alone."""
    first, second = session(GRANT, environ=job), session(grant_of(shop), environ=job)
    with ExitStack() as stack:
        stack.enter_context(first)
        with second:
            assert second.environ["PASSWORD"] == shop.password
            assert "DB_PASSWORD" not in second.environ
        assert second.outcome is Outcome.REVOKED
        assert first.hvac().read("secret/data/shop")
    assert first.lease.id != second.lease.id
    assert sorted(map(str, events(job))) == sorted(ORDER * 2)


def test_sessions_in_threads(job: dict[str, str]) -> None:
    """Many at once keep one ledger, whose chain holds."""

    def one(_: int) -> str:
        with session(GRANT, environ=job) as opened:
            return opened.lease.id

    with ThreadPoolExecutor(4) as pool:
        leases = set(pool.map(one, range(8)))
    assert len(leases) == 8
    assert sorted(map(str, events(job))) == sorted(ORDER * 8)


def test_session_after_a_session(job: dict[str, str]) -> None:
    """Nothing of one session is left to the next."""
    for _ in range(2):
        with session(GRANT, environ=job):
            pass
    assert events(job) == ORDER * 2


# ── exchangers that others write ─────────────────────────────────────────────────────────────


class _Double:
    """An exchanger and its credential, as a third party may write them."""

    target, audience, steered_by = "double", "https://double.example", ()

    def __init__(self, look: Callable[[ExchangeRequest], None], life: timedelta) -> None:
        self.look = look
        self.expires_at = datetime.now(UTC) + life
        self.variables: Mapping[str, Delivered] = {}
        self.served, self.secrets = None, ()
        self.ended = 0
        self.is_ending, self.may_end = Flag(), Flag()
        self.may_end.set()

    def exchange(self, request: ExchangeRequest) -> Credential:
        request.hold(self)
        self.look(request)
        request.record(Handle(kind="double", value="1"))
        return self

    def revoke(self, *, budget: float) -> Ending:
        assert budget > 0
        self.ended += 1
        self.is_ending.set()
        assert self.may_end.wait(10)
        return Ending(outcome=Outcome.EXPIRES, reason="expired", detail="it cannot be revoked")


def _double(
    job: Mapping[str, str],
    look: Callable[[ExchangeRequest], None] = lambda _: None,
    life: timedelta = timedelta(minutes=1),
) -> Session:
    grant = session(GRANT, environ=job).grant
    grant = replace(grant, audience="https://double.example")
    return Session(grant, job, exchanger=_Double(look, life))


def test_credential_that_cannot_be_revoked(job: dict[str, str]) -> None:
    """Where the provider cannot revoke, the outcome says `expires` and is no error."""
    with _double(job) as opened:
        pass
    assert opened.outcome is Outcome.EXPIRES
    assert events(job) == ["requested", "issued", "delivered", "expires"]
    assert opened.revocation is not None
    assert "it cannot be revoked" in opened.revocation.sentence()


def test_credential_that_lives_too_long(job: dict[str, str]) -> None:
    """Whatever an exchanger claims is checked against what was asked, and not delivered."""
    opened = _double(job, life=timedelta(hours=1))
    with pytest.raises(TokenLifeError):
        opened.open()
    assert events(job) == ["requested", "issued", "expires"]
    assert opened.variables == {}


def test_exchanger_that_fails_after_holding(job: dict[str, str]) -> None:
    """A defect in an exchanger ends what it held, and is not hidden."""

    def defect(_: ExchangeRequest) -> None:
        raise BodyError

    opened = _double(job, defect)
    with pytest.raises(BodyError):
        opened.open()
    assert isinstance(opened._exchanger, _Double)
    assert opened._exchanger.ended == 1
    assert events(job) == ["requested", "failed"]
