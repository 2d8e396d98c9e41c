"""The sandbox's OIDC issuer, asked over loopback as a provider and as a job would."""

import socket
import sys
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests

from ci_identity.errors import MissingDependencyError
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret


def verified(token: str, issuer: str, audience: str) -> dict[str, Any]:
    """Verify a token as a provider does: discovery, keys, signature, issuer, audience, times."""
    discovery = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5).json()
    assert discovery["issuer"] == issuer
    keys = jwt.PyJWKSet.from_dict(requests.get(discovery["jwks_uri"], timeout=5).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    algorithms = discovery["id_token_signing_alg_values_supported"]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=algorithms, issuer=issuer, audience=audience
    )
    return claims


def ask(environ: dict[str, str], audience: str | None = None, **headers: str) -> requests.Response:
    """Ask for a token as the toolkit of GitHub Actions does."""
    url = environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + (f"&audience={audience}" if audience else "")
    bearer = {"Authorization": f"bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    return requests.get(url, headers=bearer | headers, timeout=5)


def test_tokens_verify_against_the_published_keys(issuer: Issuer) -> None:
    """Both kinds of token verify with nothing but the issuer's address."""
    for token in (issuer.github_token("vault"), issuer.gitlab_token("vault")):
        assert verified(token.reveal(), issuer.address, "vault")["aud"] == "vault"


def test_anothers_token_does_not_verify(issuer: Issuer) -> None:
    """A token that another issuer signed in this one's name is not accepted."""
    with Issuer() as other:
        forged = other.github_token("vault", iss=issuer.address)
    with pytest.raises(jwt.InvalidSignatureError):
        verified(forged.reveal(), issuer.address, "vault")


def test_published_key_has_no_private_part(issuer: Issuer) -> None:
    """The JSON Web Key Set holds the public numbers only."""
    keys = requests.get(f"{issuer.address}/.well-known/jwks.json", timeout=5).json()["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & keys[0].keys()


def test_sign_adds_nothing(issuer: Issuer) -> None:
    """A token can be made with exactly the claims given, however wrong they are."""
    token = issuer.sign({"aud": ["a", "b"], "exp": 1}).reveal()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {"aud": ["a", "b"], "exp": 1}


def test_job_gets_a_token_for_the_audience_it_asks_for(issuer: Issuer) -> None:
    """The request endpoint answers with a token that has the job's claims and the audience."""
    answer = ask(issuer.github_environ(environment="production"), "https://vault.example").json()
    claims = verified(answer["value"], issuer.address, "https://vault.example")
    assert claims["environment"] == "production"
    assert claims["repository"] == "acme/shop"


def test_two_jobs_are_two_identities(issuer: Issuer) -> None:
    """A second job gets its own claims, and the first keeps its own."""
    shop = issuer.github_environ()
    mallory = issuer.github_environ(repository="mallory/shop", repository_id="666")
    for environ, repository in ((mallory, "mallory/shop"), (shop, "acme/shop")):
        claims = verified(ask(environ, "vault").json()["value"], issuer.address, "vault")
        assert claims["repository"] == repository == environ["GITHUB_REPOSITORY"]


@pytest.mark.parametrize("authorization", ["", "bearer", "bearer ", "bearer nonsense", "Basic x"])
def test_wrong_bearer_gets_no_token(issuer: Issuer, authorization: str) -> None:
    """Without the bearer of a job the endpoint answers 401 and no token."""
    answer = ask(issuer.github_environ(), "vault", Authorization=authorization)
    assert answer.status_code == 401
    assert "value" not in answer.json()


def test_bearer_under_another_scheme_gets_no_token(issuer: Issuer) -> None:
    """A job's bearer counts as a bearer only."""
    environ = issuer.github_environ()
    token = environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert ask(environ, "vault", Authorization=f"Basic {token}").status_code == 401
    assert ask(environ, "vault", Authorization=f"Bearer {token}").status_code == 200


def test_unknown_path_is_not_found(issuer: Issuer) -> None:
    """What the issuer does not serve is a 404, also with a bearer."""
    assert requests.get(f"{issuer.address}/github", timeout=5).status_code == 404


def test_requests_are_counted() -> None:
    """The issuer tells how often it was asked for a token, refusals included."""
    with Issuer() as issuer:
        environ = issuer.github_environ()
        ask(environ, "vault")
        ask(environ, "vault", Authorization="bearer nonsense")
        issuer.gitlab_environ("vault")
        assert issuer.token_requests == 2


def test_issuer_is_silent(issuer: Issuer, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of a request, least of all a bearer, is written to the terminal."""
    ask(issuer.github_environ(), "vault")
    ask(issuer.github_environ(), "vault", Authorization="bearer nonsense")
    assert capfd.readouterr() == ("", "")


def test_gitlab_job_finds_its_token_in_its_environment(issuer: Issuer) -> None:
    """A GitLab job has the token as a variable, and no way to ask for another."""
    environ = issuer.gitlab_environ("vault", ref="release")
    claims = verified(environ["CI_IDENTITY_TOKEN"], issuer.address, "vault")
    assert claims["ref"] == environ["CI_COMMIT_REF_NAME"] == "release"
    assert not [name for name in environ if name.startswith("ACTIONS_")]


def test_claims_of_all_jobs_can_change_while_they_run() -> None:
    """`claims` holds for every token from then on, also for jobs that are already running."""
    with Issuer() as issuer:
        environ = issuer.github_environ(actor="octocat")
        issuer.claims = {"run_attempt": "2", "actor": "mallory", "ref": "release"}
        claims = verified(ask(environ, "vault").json()["value"], issuer.address, "vault")
        gitlab = issuer.gitlab_environ("vault")
        token = verified(issuer.gitlab_token("vault").reveal(), issuer.address, "vault")
    assert (claims["run_attempt"], claims["actor"]) == ("2", "octocat")
    assert token["ref"] == gitlab["CI_COMMIT_REF_NAME"] == "release"


def test_legacy_subject_can_be_asked_for(issuer: Issuer) -> None:
    """A token can have the subject of a repository from before immutable subjects."""
    token = issuer.github_token("vault", legacy_subject=True)
    subject = verified(token.reveal(), issuer.address, "vault")["sub"]
    assert subject == "repo:acme/shop:ref:refs/heads/main"


def test_tokens_are_secrets(issuer: Issuer) -> None:
    """A token that is printed by mistake shows nothing."""
    assert isinstance(issuer.github_token("vault"), Secret)


def test_closed_issuer_listens_no_more() -> None:
    """After `close` the port is free; closing twice is fine."""
    with Issuer() as issuer:
        port = urlsplit(issuer.address).port
    issuer.close()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(MissingDependencyError) as error:
        Issuer()
    assert "pip install '.[sandbox]'" in error.value.hint
