"""A `Secret` shows its text to `reveal()` and to nothing else."""

import copy
import json
import logging
import pickle  # noqa: TID251  # to see that it cannot be used
import pprint
from collections.abc import Callable
from functools import partial
from string import Template
from typing import Any, cast

import pytest
import yaml

from ci_identity._record import Record, asdict, replace
from ci_identity.secret import Secret

TEXT = "correct-horse-battery-staple"


class Holder(Record):
    token: Secret


SHOWS: dict[str, Callable[[Secret], object]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "format": format,
    "format spec": lambda secret: format(secret, ">80s"),
    "percent s": lambda secret: "%s" % secret,  # noqa: UP031
    "percent r": lambda secret: "%r" % secret,  # noqa: UP031
    "str.format": "{0} {0!r} {0!s} {0!a}".format,
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret:>50}",
    "f-string =": lambda secret: f"{secret=}",
    "template": lambda secret: Template("$x").substitute(x=secret),
    "list": lambda secret: str([secret, {"k": secret}, (secret,)]),
    "record": lambda secret: repr(Holder(token=secret)),
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "pprint": pprint.pformat,
    "json default": lambda secret: json.dumps(secret, default=str),
    "replace": lambda secret: repr(replace(Holder(token=secret), token=secret)),
    "dir": lambda secret: str(dir(secret)),
}


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_no_way_of_printing_shows_the_text(show: Callable[[Secret], object]) -> None:
    """Each way that a line of code or a log takes to text gives a mask."""
    assert TEXT not in str(show(Secret(TEXT)))


REFUSED: dict[str, Callable[[Secret], Any]] = {
    **{f"pickle {n}": partial(pickle.dumps, protocol=n) for n in range(6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a holder": lambda secret: copy.deepcopy({"k": [secret]}),
    "asdict": lambda secret: asdict(Holder(token=secret)),
    "vars": vars,
    "json": json.dumps,
    "yaml": yaml.dump,
    "state": lambda secret: secret.__getstate__(),
    "reduce": lambda secret: secret.__reduce__(),
    "iteration": lambda secret: list(cast("Any", secret)),
    "bytes": lambda secret: bytes(cast("Any", secret)),
    "concatenation": lambda secret: "token " + cast("Any", secret),
    "join": lambda secret: " ".join([cast("Any", secret), "x"]),
    "hash": hash,
    "order": lambda secret: cast("Any", secret) < Secret("x"),
}


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_no_way_of_copying_takes_the_text_along(use: Callable[[Secret], Any]) -> None:
    """What would write the text somewhere raises, and the error does not hold it either."""
    with pytest.raises(TypeError) as caught:
        use(Secret(TEXT))
    assert TEXT not in repr(caught.value)


def test_no_logging_shows_the_text(caplog: pytest.LogCaptureFixture) -> None:
    """As an argument, as the message and as extra."""
    secret = Secret(TEXT)
    log = logging.getLogger("somebody")
    with caplog.at_level(logging.DEBUG):
        log.info("the token is %s (%r)", secret, secret)
        log.info(secret)
        log.info({"token": secret})
        log.info("x", extra={"token": secret})
        log.error("failed", exc_info=ValueError(secret))
    assert len(caplog.records) == 5
    assert TEXT not in caplog.text
    assert TEXT not in str([vars(record) for record in caplog.records])


def test_reveal_gives_the_text() -> None:
    """The one door."""
    assert Secret(TEXT).reveal() == TEXT


def test_secrets_are_compared_by_their_text() -> None:
    """Equal texts are equal, also beyond ASCII; a text itself is never equal to a secret."""
    assert Secret("grüße") == Secret("grüße")
    assert Secret(TEXT) != Secret(f"{TEXT}!")
    assert Secret(TEXT) != TEXT


def test_empty_secret_is_false() -> None:
    """`if token:` asks whether there is one."""
    assert not Secret("")
    assert Secret(TEXT)


def test_fingerprint_is_the_sha256() -> None:
    """`echo -n TOKEN | sha256sum` gives the same."""
    assert (
        Secret("abc").fingerprint()
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_secret_cannot_be_given_attributes() -> None:
    """Nothing can be hung on it, where `vars` would show it."""
    with pytest.raises(AttributeError):
        Secret(TEXT).note = "x"  # type: ignore[attr-defined]  # that is what is tested
