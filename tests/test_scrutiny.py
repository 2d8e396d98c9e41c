"""What an issued credential must be before it is delivered."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.errors import DeliveryError, ShortSecretError, TokenLifeError
from ci_identity.model import Delivered
from ci_identity.scrutiny import check_life, check_values
from ci_identity.secret import Secret

MINUTE = timedelta(minutes=1)


def life(lives: timedelta, *, ttl: timedelta = 15 * MINUTE) -> str | None:
    now = datetime.now(UTC)
    return check_life("deploy-web", now + lives, asked_at=now, ttl=ttl)


def test_what_was_asked_is_right() -> None:
    """So is a second less, since providers round down, and a minute more, since clocks differ."""
    assert life(15 * MINUTE) is None
    assert life(timedelta(seconds=1), ttl=timedelta(seconds=2)) is None
    assert life(15.9 * MINUTE) is None


def test_shorter_life_is_remarked() -> None:
    """It is used all the same."""
    assert life(5 * MINUTE) == "asked for 900 s, the server gives 300 s"


@pytest.mark.parametrize("lives", [17 * MINUTE, timedelta(0), -5 * MINUTE])
def test_longer_life_or_none_is_refused(lives: timedelta) -> None:
    """More than was asked is not narrow; what has ended already is of no use, whoever's clock."""
    with pytest.raises(TokenLifeError):
        life(lives)


def test_secret_that_cannot_be_masked_is_refused() -> None:
    """In a variable, unless it is public, and at the endpoint."""
    check_values({"A": Delivered(value=Secret("x"), is_public=True)}, [Secret("long enough")])
    with pytest.raises(ShortSecretError, match="A:"):
        check_values({"A": Delivered(value=Secret("x"))})
    with pytest.raises(ShortSecretError, match="the provider gave"):
        check_values({}, [Secret("x")])


@pytest.mark.parametrize("text", ["a NUL \0 byte", "half a character \ud800"])
def test_value_that_no_variable_can_hold_is_refused(text: str) -> None:
    """The error names the variable and says what to do, before anything is started."""
    with pytest.raises(DeliveryError, match=r"^A: ") as caught:
        check_values({"A": Delivered(value=Secret(text))})
    assert text not in str(caught.value)
