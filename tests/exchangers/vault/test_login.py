"""The login: the real server refuses what it should, and each refusal is told by its cause."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci_identity.errors import (
    CiIdentityError,
    ExchangeError,
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
from ci_identity.model import Outcome, SecretReference
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.audit import is_alive
from tests.exchangers.shop import Shop


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
    for refusal in shop.openbao.refusals()[refusals:]:
        said = (refusal.get("response", {}).get("data") or {}).get("error") or refusal["error"]
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
    token = Secret(f"{signed}.{signature[::-1]}")
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
    """A claim that the role binds to another value is refused, and named."""
    told = refused(shop, VaultClaimsError, token=shop.token(ref="refs/heads/attack"))
    assert "the role binds a claim to another value (ref)" in told
    assert "attack" not in told


def test_absent_claim(shop: Shop) -> None:
    """A claim that the role binds and the token lacks is named as such."""
    told = refused(shop, VaultClaimsError, token=shop.token(ref=None))
    assert "(ref, which the token does not have)" in told


def test_absent_user_claim(shop: Shop) -> None:
    """A role whose `user_claim` is not in the token refuses it, and the claim is named."""
    shop.role(user_claim="environment")
    assert "environment, which the token does not have" in refused(shop, VaultClaimsError)


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


def test_unknown_refusal_is_not_repeated() -> None:
    """A text that nobody foresaw is not passed on, whatever it holds."""
    error = refusal("the login", ["eyJhbGciOi.SECRET is odd"])
    assert type(error) is ExchangeError
    assert "SECRET" not in f"{error}{error.cause}{error.hint}"


def test_claim_name_in_a_refusal_is_a_name() -> None:
    """What stands where a claim's name should be is repeated only if it looks like one."""
    error = refusal("the login", ['error validating claims: claim "\x1b[2J" is missing'])
    assert isinstance(error, VaultClaimsError)
    assert "\x1b" not in str(error)


def test_token_with_few_uses(shop: Shop) -> None:
    """A role of limited uses cannot make the step's token: it is refused, and the login ended."""
    shop.role(token_num_uses=2)
    told = str(shop.refuse())
    assert "for 2 uses only" in told


def test_limited_uses_are_the_kind_of_token(shop: Shop) -> None:
    """The error's code says that the role's tokens are of the wrong kind; the hint has the fix."""
    shop.role(token_num_uses=2)
    error = shop.refuse()
    assert isinstance(error, VaultTokenKindError)
    assert "token_num_uses=0" in error.hint


def test_batch_tokens(request: pytest.FixtureRequest) -> None:
    """A role of batch tokens is refused; nobody claims that its token was revoked."""
    shop = Shop(request.getfixturevalue("openbao"), request.getfixturevalue("issuer"))
    shop.role(token_type="batch", token_ttl="1m")
    seen = None
    with pytest.raises(VaultTokenKindError, match="issues batch tokens"), shop.exchange() as seen:
        pass
    reads = [entry for entry in shop.openbao.audit() if entry["request"]["path"] == shop.path]
    assert [entry["request"]["operation"] for entry in reads if entry["type"] == "request"] == [
        "update"  # when the secret was stored
    ]


def test_batch_token_is_not_called_revoked(request: pytest.FixtureRequest) -> None:
    """A batch token cannot be ended, and that is what the ending says."""
    shop = Shop(request.getfixturevalue("openbao"), request.getfixturevalue("issuer"))
    shop.role(token_type="batch", token_ttl="1m")
    endings = []
    original = type(shop).exchange
    assert original
    error_seen = []

    def record(handle: object) -> None:
        error_seen.append(handle)

    with pytest.raises(VaultTokenKindError), shop.exchange(record=record) as seen:
        endings.append(seen)
    assert error_seen
