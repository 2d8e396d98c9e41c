"""GitLab's source: which of a job's id tokens is taken, and what is said where none fits."""

from collections.abc import Callable
from datetime import datetime

import pytest

from ci_identity.errors import (
    AudienceError,
    ExpiredTokenError,
    IdTokenMissingError,
    MalformedTokenError,
)
from ci_identity.model import SubjectToken
from ci_identity.sources.gitlab import GitLabSource

Sign = Callable[..., str]


def _fetch(now: datetime, **environ: str) -> SubjectToken | None:
    return GitLabSource({"GITLAB_CI": "true", **environ}, now=lambda: now).fetch("vault")


def _jti(found: SubjectToken | None) -> object:
    return found and found.claims.get("jti")


@pytest.mark.parametrize("value", ["", "false", "1"])
def test_outside_gitlab_it_says_nothing(value: str, sign: Sign, now: datetime) -> None:
    """Not being on GitLab is no error, whatever tokens lie about."""
    assert _fetch(now, GITLAB_CI=value, CI_IDENTITY_TOKEN=sign()) is None


@pytest.mark.parametrize("name", ["CI_IDENTITY_TOKEN", "VAULT_ID_TOKEN", "anything", "ID_TOKEN_1"])
def test_the_token_is_found_whatever_its_name(name: str, sign: Sign, now: datetime) -> None:
    """A job may name its id tokens as it likes; the audience tells them apart."""
    others = {"AWS_ID_TOKEN": sign(aud="sts.amazonaws.com"), "PATH": "/bin", "EMPTY": ""}
    token = sign()
    found = _fetch(now, **others, **{name: token})
    assert found is not None
    assert found.token.reveal() == token
    assert (found.source, found.step, found.debug) == ("gitlab", None, False)


def test_the_token_named_for_us_comes_first(sign: Sign, now: datetime) -> None:
    """CI_IDENTITY_TOKEN is taken before others that would fit."""
    long = int(now.timestamp()) + 9999
    named = sign(jti="named", aud=["vault", "x"])
    found = _fetch(now, A=sign(jti="a", exp=long), CI_IDENTITY_TOKEN=named)
    assert _jti(found) == "named"


def test_a_token_for_this_audience_alone_comes_before_a_wider_one(
    sign: Sign, now: datetime
) -> None:
    """A token that others accept too is the greater loss, and grants refuse it."""
    later = int(now.timestamp()) + 9999
    wide = sign(jti="wide", aud=["vault", "x"], exp=later)
    assert _jti(_fetch(now, A=wide, B=sign(jti="narrow"), C=wide)) == "narrow"


def test_of_equal_tokens_the_longest_lived_is_taken(sign: Sign, now: datetime) -> None:
    """Among tokens for the same audience, the end of life decides."""
    start = int(now.timestamp())
    tokens = {name: sign(jti=name, exp=start + n) for name, n in [("A", 60), ("B", 90), ("C", 70)]}
    assert _jti(_fetch(now, **tokens)) == "B"


def test_another_variable_serves_where_the_named_one_is_for_somebody_else(
    sign: Sign, now: datetime
) -> None:
    """A job with several grants has several audiences, each in a variable of its own."""
    found = _fetch(now, CI_IDENTITY_TOKEN=sign(aud="x"), OTHER=sign(jti="other"))
    assert _jti(found) == "other"


def test_without_a_token_the_audience_and_what_there_is_are_named(
    sign: Sign, now: datetime
) -> None:
    """The message has names and audiences, the hint the lines to add, neither has a token."""
    token = sign(aud=["x", "y"])
    with pytest.raises(IdTokenMissingError) as caught:
        _fetch(now, B=sign(aud="z\u202e"), A=token, PASSWORD="hunter2hunter2")
    assert str(caught.value) == (
        "the job has no id token for vault; it has A for x, y; B for z\\u202e"
    )
    assert caught.value.hint == "add to the job: id_tokens: {CI_IDENTITY_TOKEN: {aud: vault}}"
    assert not [part for part in token.split(".") if part in repr(caught.value)]


def test_a_job_without_any_id_token_is_told_so(now: datetime) -> None:
    """There is nothing to list."""
    with pytest.raises(IdTokenMissingError, match=r"it has none at all$"):
        _fetch(now)
    with pytest.raises(IdTokenMissingError, match=r"for any audience; it has none at all$"):
        GitLabSource({"GITLAB_CI": "true"}).fetch(None)


def test_a_token_to_be_looked_at_may_be_for_anybody(sign: Sign, now: datetime) -> None:
    """A job cannot have another one made, so any of its id tokens tells who it is."""
    environ = {"GITLAB_CI": "true", "AWS_ID_TOKEN": sign(aud="sts.amazonaws.com", jti="aws")}
    assert _jti(GitLabSource(environ, now=lambda: now).fetch(None)) == "aws"


@pytest.mark.parametrize("name", ["CI_JOB_TOKEN", "CI_JOB_JWT", "CI_JOB_JWT_V1", "CI_JOB_JWT_V2"])
def test_gitlabs_own_tokens_are_never_taken(name: str, sign: Sign, now: datetime) -> None:
    """The job token is a JWT too nowadays, and no business of a provider's."""
    with pytest.raises(IdTokenMissingError, match=r"none at all"):
        _fetch(now, **{name: sign()})


def test_a_wrong_audience_in_the_named_variable_is_an_audience_error(
    sign: Sign, now: datetime
) -> None:
    """Who named the variable meant this token, so it is its audience that is wrong."""
    with pytest.raises(AudienceError, match=r"CI_IDENTITY_TOKEN for x$"):
        _fetch(now, CI_IDENTITY_TOKEN=sign(aud="x"))


def test_something_else_in_the_named_variable_is_malformed(sign: Sign, now: datetime) -> None:
    """A variable GitLab did not expand is told, even where another token would serve."""
    with pytest.raises(MalformedTokenError, match=r"^CI_IDENTITY_TOKEN "):
        _fetch(now, CI_IDENTITY_TOKEN="$CI_IDENTITY_TOKEN", OTHER=sign())


def test_a_token_that_has_ended_is_named(sign: Sign, now: datetime) -> None:
    """A job that outlives its token is told which one it was."""
    with pytest.raises(ExpiredTokenError, match=r"^VAULT_ID_TOKEN ended"):
        _fetch(now, VAULT_ID_TOKEN=sign(exp=int(now.timestamp()) - 60))


@pytest.mark.parametrize("name", ["CI_DEBUG_TRACE", "CI_DEBUG_SERVICES"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("TRUE", True),
        ("1", True),
        ("yes", True),
        ("false", False),
        ("False", False),
        ("", False),
    ],
)
def test_a_debug_run_says_so(
    *,
    name: str,
    value: str,
    expected: bool,
    sign: Sign,
    now: datetime,
) -> None:
    """Both settings print variables to the log."""
    found = _fetch(now, CI_IDENTITY_TOKEN=sign(), **{name: value})
    assert found is not None
    assert found.debug is expected


def test_the_source_does_not_show_the_environment(sign: Sign) -> None:
    """The environment holds tokens, and a source may be printed."""
    assert "ey" not in repr(GitLabSource({"CI_IDENTITY_TOKEN": sign()}))
