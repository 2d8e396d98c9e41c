"""Which source is asked first, and what happens if none knows the place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ci_identity.errors import AudienceError, IdTokenPermissionError, NoIdentityError
from ci_identity.model import SubjectToken, UnverifiedClaims
from ci_identity.secret import Secret
from ci_identity.sources import detect, fetch, sources

Sign = Callable[..., str]
_FOREVER = 4_000_000_000


class _Other:
    """A source that somebody else wrote."""

    name = "other"

    def __init__(self, found: SubjectToken | None) -> None:
        self._found = found

    def fetch(self, audience: str | None) -> SubjectToken | None:
        del audience
        return self._found


def _token(aud: str) -> SubjectToken:
    return SubjectToken(token=Secret("x"), claims=UnverifiedClaims({"aud": aud}), source="other")


def test_outside_any_ci_there_is_no_identity() -> None:
    """The message lists who was asked."""
    with pytest.raises(
        NoIdentityError, match=r"asked: gitlab, jenkins, token-variable, github, .*, semaphore$"
    ):
        fetch(sources({}), "vault")


def test_without_sources_there_is_no_identity() -> None:
    """An empty list finds nothing, and says so."""
    with pytest.raises(NoIdentityError, match=r"asked: none$"):
        fetch((), "vault")


def test_a_token_handed_over_comes_before_the_cis_own(sign: Sign, tmp_path: Path) -> None:
    """File, then variable, then what the CI offers."""
    file = tmp_path / "token"
    file.write_text(sign(exp=_FOREVER))
    environ = {"GITHUB_ACTIONS": "true"}
    with pytest.raises(IdTokenPermissionError):
        fetch(sources(environ), "vault")
    environ |= {"CI_IDENTITY_TOKEN": sign(exp=_FOREVER)}
    assert fetch(sources(environ), "vault").source == "token-variable"
    environ |= {"CI_IDENTITY_TOKEN_FILE": str(file)}
    assert fetch(sources(environ), "vault").source == "token-file"


def test_on_gitlab_the_variable_is_one_id_token_of_many(sign: Sign) -> None:
    """There it is GitLab's source that reads it, and looks further where it does not fit."""
    environ = {
        "GITLAB_CI": "true",
        "CI_IDENTITY_TOKEN": sign(exp=_FOREVER, aud="x"),
        "VAULT_ID_TOKEN": sign(exp=_FOREVER),
    }
    assert fetch(sources(environ), "vault").source == "gitlab"


def test_a_broken_source_ends_the_search() -> None:
    """Here-but-broken is never taken for not-here: no other source is asked behind its back."""
    with pytest.raises(IdTokenPermissionError):
        fetch((*sources({"GITHUB_ACTIONS": "true"}), _Other(_token("vault"))), "vault")


def test_the_first_source_that_knows_the_place_is_taken() -> None:
    """Sources that say nothing are passed over."""
    expected = _token("vault")
    candidates = (_Other(None), _Other(expected), _Other(_token("x")))
    assert fetch(candidates, "vault") is expected


def test_a_foreign_sources_answer_is_checked_too() -> None:
    """Whatever a plug-in claims, the token must be for the audience that was asked for."""
    with pytest.raises(AudienceError, match=r"the token from other is made for x"):
        fetch((_Other(_token("x")),), "vault")


@pytest.mark.parametrize("ci", [{}, {"GITLAB_CI": "true"}])
def test_a_job_is_detected_whoever_its_token_is_for(ci: dict[str, str], sign: Sign) -> None:
    """Looking at who the job is asks for no audience in particular."""
    environ = ci | {"CI_IDENTITY_TOKEN": sign(exp=_FOREVER, aud="x", repository="acme/shop")}
    job = detect(environ)
    assert job is not None
    assert (job.repository, job.audience) == ("acme/shop", ("x",))
    assert fetch((_Other(_token("x")),), None).source == "other"


def test_detecting_tells_no_ci_from_a_broken_one() -> None:
    """Outside a CI there is nothing to detect; a CI without permission is an error."""
    assert detect({}) is None
    with pytest.raises(IdTokenPermissionError):
        detect({"GITHUB_ACTIONS": "true"})
