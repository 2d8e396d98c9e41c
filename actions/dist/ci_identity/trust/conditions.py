"""Condition operators as IAM has them: three answers, of which `cannot tell` is never a yes.

IAM User Guide: "IAM JSON policy elements: Condition operators", "Multivalued context keys",
"Variables and tags". Anything with a backtracking regular expression is avoided: a long claim
could exhaust it.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from ci_identity._record import Record
from ci_identity.trust.finding import Result
from ci_identity.trust.keys import Values

Find = Callable[[str], Values]
Test = Callable[[str, str], bool]
"""Tells whether a value of the policy, already a pattern where it can be one, fits the token's."""


# ── one value ────────────────────────────────────────────────────────────────────────────────

_TOKEN = re.compile(r"\$\{([^}]*)\}|[*?]|\$|[^*?$]+", re.DOTALL)
_VARIABLE = re.compile(r"\s*([^,\s]+)\s*(?:,\s*'([^']*)'\s*)?")


class _UnresolvedError(Exception):
    """A policy variable has no value that we know."""


def _literal(value: str, find: Find, *, has_variables: bool) -> str:
    return _pattern(value, find, has_variables=has_variables, wild="")


def _glob(value: str, find: Find, *, has_variables: bool) -> str:
    """Read `*` as anything, also nothing, and also `/` and `:`, and `?` as any one character."""
    return _pattern(value, find, has_variables=has_variables, wild=".")


def _arn(value: str, find: Find, *, has_variables: bool) -> str:
    """Read an ARN as six globs: a `*` of one of its parts is not for the next."""
    *parts, resource = re.split(r":(?![^{}]*\})", value, maxsplit=5)
    parts = [_pattern(one, find, has_variables=has_variables, wild="[^:]") for one in parts]
    return ":".join([*parts, _glob(resource, find, has_variables=has_variables)])


def _pattern(value: str, find: Find, *, has_variables: bool, wild: str) -> str:
    """Return `value` as the text of a regular expression that does not backtrack.

    Args:
        value: as in the policy.
        find: gives the values of keys, for policy variables.
        has_variables: whether there are any.
        wild: what `?` is, and `*` any number of; empty if these are not special.

    Raises:
        _UnresolvedError: a variable in it cannot be replaced.
    """
    pieces = [""]
    for match in _TOKEN.finditer(value):
        text, variable = match[0], match[1]
        if text == "*" and wild:
            pieces.append("")
        elif text == "?" and wild:
            pieces[-1] += wild
        elif variable is not None and has_variables:
            pieces[-1] += re.escape(_replace(variable, find))
        else:
            pieces[-1] += re.escape(text)
    first, *middle = pieces
    if not middle:
        return first
    last = middle.pop()
    # The leftmost place of each leaves the most to the next, so none needs to be tried again.
    return first + "".join(f"(?>{wild}*?{piece})" for piece in middle) + f"{wild}*{last}"


def _replace(variable: str, find: Find) -> str:
    if variable in {"*", "?", "$"}:
        return variable
    if match := _VARIABLE.fullmatch(variable):
        values = find(match[1])
        if values is not None and len(values) == 1:
            return values[0]
        if values == () and match[2] is not None:
            return match[2]
    raise _UnresolvedError


def _fits(wanted: str, got: str) -> bool:
    return re.fullmatch(wanted, got, re.DOTALL) is not None


def _fits_any_case(wanted: str, got: str) -> bool:
    return re.fullmatch(wanted, got, re.DOTALL | re.IGNORECASE) is not None


def _comparison(read: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Test:
    """Return a test of what texts stand for; what cannot be read fits nothing."""

    def test(wanted: str, got: str) -> bool:
        with suppress(ValueError, InvalidOperation, OverflowError):
            return compare(read(got), read(wanted))
        return False

    return test


def _time(text: str) -> datetime:
    """Read a time in ISO 8601 or in seconds since 1970; without an offset it is UTC."""
    with suppress(ValueError):
        return datetime.fromtimestamp(float(text), UTC)
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_COMPARISONS = {
    "equals": operator.eq,
    "lessthan": operator.lt,
    "lessthanequals": operator.le,
    "greaterthan": operator.gt,
    "greaterthanequals": operator.ge,
}


class _Base(Record):
    """An operator: how a value is compared, and how it is made a pattern, where it is one."""

    test: Test
    compile: Callable[..., str] | None = None


_BASES = {
    "stringequals": _Base(test=_fits, compile=_literal),
    "stringequalsignorecase": _Base(test=_fits_any_case, compile=_literal),
    "stringlike": _Base(test=_fits, compile=_glob),
    "arnequals": _Base(test=_fits, compile=_arn),
    "arnlike": _Base(test=_fits, compile=_arn),
    "bool": _Base(test=lambda wanted, got: wanted.casefold() == got.casefold()),
    **{
        f"{kind}{name}": _Base(test=_comparison(read, compare))
        for kind, read in (("numeric", Decimal), ("date", _time))
        for name, compare in _COMPARISONS.items()
    },
}
_NEGATED = re.compile(r"(string|arn|numeric|date)not(equals|like|equalsignorecase)")


# ── one operator ─────────────────────────────────────────────────────────────────────────────


class Operator(Record):
    """A condition operator, taken apart. Its name has no case.

    Attributes:
        name: the plain operator, in lower case and without a negation.
        quantifier: `forallvalues`, `foranyvalue` or empty.
        is_if_exists: it ends in `IfExists`.
        is_negated: it is one of the `Not` operators.
    """

    name: str
    quantifier: str
    is_if_exists: bool
    is_negated: bool

    @classmethod
    def of(cls, text: str) -> "Operator":
        """Take `text` apart, as it stands in a policy."""
        quantifier, _, name = text.casefold().rpartition(":")
        is_if_exists = name.endswith("ifexists")
        name = name.removesuffix("ifexists")
        negated = _NEGATED.fullmatch(name)
        return cls(
            name=negated[1] + negated[2] if negated else name,
            quantifier=quantifier,
            is_if_exists=is_if_exists,
            is_negated=negated is not None,
        )

    @property
    def is_known(self) -> bool:
        """Whether we can apply it."""
        is_quantified = self.quantifier in {"", "forallvalues", "foranyvalue"}
        return is_quantified and (self.name in _BASES or self.name == "null")

    @property
    def passes_when_absent(self) -> bool:
        """Whether it holds for a key that the request does not have (IAM, `...IfExists`)."""
        by_negation = self.is_negated and self.quantifier != "foranyvalue"
        return self.is_if_exists or self.quantifier == "forallvalues" or by_negation

    @property
    def binds(self) -> bool:
        """Whether it holds only for a key that is there and has one of the values."""
        return (
            self.is_known
            and self.name != "null"
            and not (self.passes_when_absent or self.is_negated)
        )

    def together(self, fits: Sequence[bool]) -> Result:
        """Return what it comes to that each value of a key fits or not."""
        holds = [one != self.is_negated for one in fits]
        if self.quantifier == "foranyvalue":
            return _result(any(holds))
        if self.quantifier == "forallvalues" or len(set(holds)) == 1:
            return _result(all(holds))
        return Result.UNKNOWN  # which of several a plain operator looks at is written nowhere


def apply(
    text: str, wanted: Iterable[str], got: Values, find: Find, *, has_variables: bool = True
) -> Result:
    """Return whether a condition holds.

    Args:
        text: the operator as written.
        wanted: the values in the policy, any of which will do (none, for a `Not` operator).
        got: the key's values.
        find: gives the values of other keys, for policy variables.
        has_variables: the policy's Version is 2012-10-17, which has variables.
    """
    how = Operator.of(text)
    if not how.is_known or got is None:
        return Result.UNKNOWN
    if how.name == "null":
        return _result(any(one.casefold() == str(not got).lower() for one in wanted))
    if not got:
        return _result(how.passes_when_absent)
    try:
        values = _compiled(how, wanted, find, has_variables=has_variables)
    except _UnresolvedError:
        return Result.UNKNOWN
    test = _BASES[how.name].test
    return how.together([any(test(one, each) for one in values) for each in got])


def _compiled(
    how: Operator, wanted: Iterable[str], find: Find, *, has_variables: bool
) -> list[str]:
    compile_value = _BASES[how.name].compile
    if compile_value is None:
        return list(wanted)
    return [compile_value(value, find, has_variables=has_variables) for value in wanted]


def _result(is_pass: bool) -> Result:  # noqa: FBT001  # the function's only argument
    return Result.PASS if is_pass else Result.FAIL
