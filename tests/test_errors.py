"""Every error there is: a code of its own, an exit code of the table, a cause and a fix."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import ci_identity
from ci_identity import errors
from ci_identity.errors import CiIdentityError

DOCS = Path(__file__).parents[1] / "docs" / "troubleshooting.md"


def every_error() -> list[type[CiIdentityError]]:
    """Return the whole tree, of every module there is."""
    for module in walk_packages(ci_identity.__path__, "ci_identity."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found: list[type[CiIdentityError]] = []
    waiting = [CiIdentityError]
    while waiting:
        error = waiting.pop()
        found.append(error)
        waiting += error.__subclasses__()
    return sorted(found, key=lambda error: error.__name__)


ERRORS = every_error()
IDS = [error.__name__ for error in ERRORS]


def drawn_tree() -> dict[str, int]:
    """Return category to exit code, as the docstring of the module draws them."""
    assert errors.__doc__
    rows = re.findall(r"[├└]── (\w+) +(\d+) ", errors.__doc__)
    return {name: int(code) for name, code in rows}


def test_codes_are_unique() -> None:
    """A code names one error: scripts and the documentation rely on it."""
    assert [code for code, count in Counter(e.code for e in ERRORS).items() if count > 1] == []


def test_exit_codes_are_those_of_the_design() -> None:
    """2 configuration to 9 revocation, in the order in which they can happen."""
    table = drawn_tree()
    assert {code: name for name, code in table.items() if code > 1} == {
        2: "ConfigurationError",
        3: "IdentityError",
        4: "DeniedError",
        5: "ExchangeError",
        6: "ProviderUnavailableError",
        7: "DeliveryError",
        8: "LedgerError",
        9: "RevocationError",
    }
    assert set(table) == {error.__name__ for error in CiIdentityError.__subclasses__()}


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_error_is_whole(error: type[CiIdentityError]) -> None:
    """Each has what people are shown, and its category's exit code."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
    assert error.__name__.endswith("Error")
    assert error.__doc__
    assert "code" in vars(error)
    assert error.cause.strip()
    assert error.hint.strip()
    table = drawn_tree()
    categories = [base.__name__ for base in error.__mro__ if base.__name__ in table]
    assert len(categories) == (error is not CiIdentityError)
    assert error.exit_code == (table[categories[0]] if categories else 1)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_error_has_words_of_its_own(error: type[CiIdentityError]) -> None:
    """Whoever sees it is told its own likely cause, not that of its category."""
    assert "cause" in vars(error)
    assert "hint" in vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_error_is_in_the_documentation(error: type[CiIdentityError]) -> None:
    """`docs/troubleshooting.md` has a section for each code: the command links to it."""
    headings = re.findall(r"^###? +`?([a-z-]+)`?\s*$", DOCS.read_text(), flags=re.MULTILINE)
    assert error.code in headings


def test_documentation_knows_no_other_codes() -> None:
    """A section of a code that is gone would mislead."""
    headings = re.findall(r"^###? +`([a-z-]+)`\s*$", DOCS.read_text(), flags=re.MULTILINE)
    assert set(headings) - {error.code for error in ERRORS} == set()


def test_words_can_be_given() -> None:
    """Whoever raises an error may know more of its cause and its fix than the class does."""
    error = errors.DeniedError("what", cause="why", hint="how", retry_after=1.5)
    assert (str(error), error.cause, error.hint, error.retry_after) == ("what", "why", "how", 1.5)


def test_words_of_one_are_not_those_of_all() -> None:
    """They are its own: the class keeps its words."""
    errors.DeniedError("what", cause="why", hint="how")
    assert errors.DeniedError("what").cause == errors.DeniedError.cause != "why"
    assert errors.DeniedError("what").hint == errors.DeniedError.hint != "how"
    assert errors.DeniedError("what").retry_after is None
