"""The login: the real server refuses what it should, and each refusal is told by its cause."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci_identity.errors import (
    CiIdentityError,
    ExchangeError,
    LedgerError,
    TokenLifeError,
    VaultAudienceError,
    VaultClaimsError,
    VaultIssuerError,
    VaultMountError,
    VaultRoleError,
    VaultSignatureError,
    VaultTokenKindError,
    VaultTokenTimeError,
)
from ci_identity.exchangers.vault.errors import refusal
from ci_identity.model import JobIdentity, Outcome, UnverifiedClaims
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.audit import is_alive
from tests.exchangers.shop import Shop

_OWN_RIGHTS = tuple(
    f'path "{path}" {{ capabilities = ["update"] }}'
    for path in ("sys/capabilities-self", "auth/token/revoke-self")
)


def refused(shop: Shop, kind: type[ExchangeError], **asked: Any) -> str:
    """Return what people are told when the exchange is refused with `kind`, after one try.

    It has no part of the token, and none of what the server said.
    """
    token = asked.setdefault("token", shop.token())
    logins, refusals = len(shop.openbao.logins()), len(shop.openbao.refusals())
    error = shop.refuse(**asked)
    assert type(error) is kind
    assert isinstance(error, CiIdentityError)
    told = f"{error} {error.cause} {error.hint}"
    assert all(part not in told for part in token.reveal().split("."))
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert len(shop.openbao.logins()) == logins
    for entry in shop.openbao.refusals()[refusals:]:
        said = (entry.get("response", {}).get("data") or {}).get("error") or entry["error"]
        assert said.strip() not in told
    assert len(shop.openbao.refusals()) <= refusals + 1
    return str(error)


def test_other_audience(shop: Shop) -> None:
    """A role that binds another audience refuses the token, and the error says so."""
    shop.role(bound_audiences=["https://vault.other.example"])
    assert "the role binds another audience" in refused(shop, VaultAudienceError)


def test_no_bound_audiences(shop: Shop) -> None:
    """A role that binds no audience refuses every token that has one (vault-action PR 562)."""
    shop.role(bound_audiences=None)
    assert "the role binds no audience" in refused(shop, VaultAudienceError)


def test_other_issuer(shop: Shop) -> None:
    """A token of another issuer than the mount's `bound_issuer` is refused."""
    shop.trust(shop.root, mount=shop.name, bound_issuer="https://token.other.example")
    shop.role(mount=shop.name)
    told = refused(shop, VaultIssuerError, target=shop.target(mount=shop.name))
    assert "it trusts another issuer" in told


def test_expired_token(shop: Shop) -> None:
    """A token that has ended, leeways included, is refused."""
    past = int(time.time()) - 3600
    token = shop.token(iat=past - 300, nbf=past - 300, exp=past)
    assert "expired" in refused(shop, VaultTokenTimeError, token=token)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_token_of_the_future(shop: Shop, claim: str) -> None:
    """A token that has not begun is refused."""
    token = shop.token(**{claim: int(time.time()) + 3000, "exp": int(time.time()) + 3600})
    assert "not valid yet" in refused(shop, VaultTokenTimeError, token=token)


def test_tampered_signature(shop: Shop) -> None:
    """A token whose signature was changed is refused."""
    signed, _, signature = shop.token().reveal().rpartition(".")
    token = Secret(f"{signed}.{signature[100:200]}{signature[:100]}{signature[200:]}")
    assert "could not verify the signature" in refused(shop, VaultSignatureError, token=token)


def test_tampered_claims(shop: Shop) -> None:
    """A token that says what the role wants, under another's signature, is refused."""
    head, claims, _ = shop.token().reveal().split(".")
    other = shop.token(repository="mallory/shop").reveal().rpartition(".")[2]
    refused(shop, VaultSignatureError, token=Secret(f"{head}.{claims}.{other}"))


def test_signature_of_another_key(shop: Shop) -> None:
    """A token that only claims to be the issuer's is refused."""
    with Issuer() as other:
        token = other.github_token(shop.openbao.address, iss=shop.issuer.address)
    refused(shop, VaultSignatureError, token=token)


def test_other_claim(shop: Shop) -> None:
    """A claim that the role binds to another value is refused, named, and shown as it is."""
    told = refused(shop, VaultClaimsError, token=shop.token(sub="x", ref="attack\n::error::"))
    assert (
        "the role binds a claim to another value"
        r" (ref; the token has attack\n::error::)" in told
    )


def test_absent_claim(shop: Shop) -> None:
    """A claim that the role binds and the token lacks is named as such."""
    told = refused(shop, VaultClaimsError, token=shop.token(ref=None))
    assert "(ref, which the token does not have)" in told


def test_absent_user_claim(shop: Shop) -> None:
    """A role whose `user_claim` is not in the token refuses it, and the claim is named."""
    shop.role(user_claim="environment")
    error = shop.refuse()
    assert "(environment, which the token does not have)" in str(error)
    assert isinstance(error, VaultClaimsError)
    assert error.cause.startswith("`user_claim` or `groups_claim` of the role names a claim")


def test_other_subject(shop: Shop) -> None:
    """A role that binds another subject refuses the token."""
    shop.role(bound_subject="repo:acme/other:ref:refs/heads/main")
    assert "the role binds another subject" in refused(shop, VaultClaimsError)


def test_unknown_role(shop: Shop) -> None:
    """A role that is not there is told apart from everything else, and named."""
    told = refused(shop, VaultRoleError, target=shop.target(role="misspelt"))
    assert "auth/jwt/role/misspelt" in told


@pytest.mark.parametrize("mount", ["misspelt", "token"])
def test_wrong_mount(shop: Shop, mount: str) -> None:
    """A mount that is not there, or not a JWT one, is named."""
    told = refused(shop, VaultMountError, target=shop.target(mount=mount))
    assert f"auth/{mount}/role" in told


def test_missing_namespace(shop: Shop) -> None:
    """A namespace that is not there is named as what is wrong."""
    told = refused(shop, VaultMountError, target=shop.target(namespace="misspelt"))
    assert "it has no such namespace" in told
    assert "/v1/misspelt/auth/jwt" in told


def test_other_address(shop: Shop) -> None:
    """A role for other networks refuses without a reason; the likely cause names that one too."""
    shop.role(token_bound_cidrs=["192.0.2.0/24"])
    error = shop.refuse()
    assert isinstance(error, VaultMountError)
    assert "token_bound_cidrs" in error.cause


NOBODY = JobIdentity(
    source="test",
    issuer="https://issuer.example",
    subject="nobody",
    audience=("https://vault.example",),
    expires_at=datetime.now(UTC),
    claims=UnverifiedClaims({}),
)


def test_unknown_refusal_is_not_repeated() -> None:
    """A text that nobody foresaw is not passed on, whatever it holds."""
    error = refusal("the login", ["eyJhbGciOi.SECRET is odd"], NOBODY)
    assert type(error) is ExchangeError
    assert "SECRET" not in f"{error}{error.cause}{error.hint}"


def test_claim_name_in_a_refusal_is_a_name() -> None:
    """What stands where a claim's name should be is repeated only if it looks like one."""
    error = refusal("the login", ['error validating claims: claim "\x1b[2J" is missing'], NOBODY)
    assert isinstance(error, VaultClaimsError)
    assert "\x1b" not in str(error)


def test_token_with_few_uses(shop: Shop) -> None:
    """A role of limited uses cannot make the step's token: it is refused, and the login ended."""
    shop.role(token_num_uses=2)
    error = shop.refuse()
    assert isinstance(error, VaultTokenKindError)
    assert "for 2 uses only" in str(error)
    assert "token_num_uses=0" in error.hint
    assert shop.last.credential.revoke(budget=5.0).outcome is Outcome.REVOKED


def test_batch_tokens(shop: Shop) -> None:
    """A role of batch tokens is refused, and nobody claims that its token was ended."""
    shop.role(token_type="batch", token_ttl="1m")
    error = shop.refuse()
    assert isinstance(error, VaultTokenKindError)
    assert "issues batch tokens" in str(error)
    assert shop.last.credential.variables == {}
    ending = shop.last.credential.revoke(budget=5.0)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "vault-token-kind")


# ── how long the login token lives ───────────────────────────────────────────────────────────


def life_of(shop: Shop, accessor: str) -> int:
    """Return the seconds that the server still gives the token."""
    found = shop.root.auth.token.lookup_accessor(accessor)
    return int(found["data"]["ttl"])


def test_long_login_is_shortened(shop: Shop) -> None:
    """A role that gives an hour where the grant asks for two minutes: the login gets the two."""
    shop.role(token_ttl="1h")
    with shop.exchange(ttl=timedelta(minutes=2)) as seen:
        assert 0 < life_of(shop, seen.accessors()[0]) <= 120
        assert seen.credential.expires_at <= datetime.now(UTC) + timedelta(minutes=2)
        assert seen.warnings == []


def test_short_login_is_left_alone(shop: Shop) -> None:
    """A role that gives less than the grant asks for is not asked for more."""
    shop.role(token_ttl="1m")
    with shop.exchange() as seen:
        assert life_of(shop, seen.accessors()[0]) <= 60
        assert seen.credential.expires_at <= datetime.now(UTC) + timedelta(minutes=1)
    paths = [entry["request"]["path"] for entry in shop.openbao.audit()]
    login = len(paths) - 1 - paths[::-1].index("auth/jwt/login")
    assert "auth/token/renew-self" not in paths[login:]


def test_login_that_cannot_be_shortened_is_refused(shop: Shop) -> None:
    """A periodic login token keeps its period: without a child it would outlive the grant."""
    shop.role(token_period="1h")
    error = shop.refuse(shop.target(policies=()))
    assert isinstance(error, TokenLifeError)
    assert "cannot be shortened" in str(error)
    assert "`policies`" in error.hint


def test_login_that_may_not_shorten_itself_is_refused(shop: Shop) -> None:
    """The same where the role's policies do not let the token renew itself."""
    shop.policy("ci", "\n".join([*_OWN_RIGHTS, shop.may_read(shop.path)]))
    shop.role(token_ttl="1h", token_no_default_policy=True)
    assert isinstance(shop.refuse(shop.target(policies=())), TokenLifeError)


def test_child_makes_up_for_a_long_login(shop: Shop) -> None:
    """With `policies`, the step's token ends in time all the same; people are told to fix it."""
    shop.role(token_period="1h")
    with shop.exchange(ttl=timedelta(minutes=2)) as seen:
        login, child = seen.accessors()
        assert life_of(shop, login) > 3000
        assert life_of(shop, child) <= 120
        assert seen.credential.expires_at <= datetime.now(UTC) + timedelta(minutes=2)
        assert seen.credential.login_expires_at > datetime.now(UTC) + timedelta(minutes=50)
    (warning,) = seen.warnings
    assert "set token_ttl on the role" in warning


def test_step_without_policies_has_the_login_token(shop: Shop) -> None:
    """Where the grant names no policies there is one token, and it reads the values."""
    with shop.exchange(shop.target(policies=())) as seen:
        assert seen.values == {"PASSWORD": shop.password}
        (accessor,) = seen.accessors()
        assert is_alive(shop.openbao, accessor)
    assert not is_alive(shop.openbao, accessor)


def test_handles_come_before_what_follows(shop: Shop) -> None:
    """If the login cannot be recorded, nothing else is asked but its end."""

    def full_disk(_: object) -> None:
        message = "no space left"
        raise LedgerError(message)

    before = len(shop.openbao.audit())
    assert isinstance(shop.refuse(record=full_disk), LedgerError)
    asked = [
        entry["request"]["path"]
        for entry in shop.openbao.audit()[before:]
        if entry["type"] == "response"
    ]
    assert asked == ["auth/jwt/login", "auth/token/revoke-self"]
