"""Condition operators: what holds, what does not, and what cannot be told."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.trust.conditions import apply
from ci_identity.trust.finding import Result
from ci_identity.trust.keys import Values

PASS, FAIL, UNKNOWN = Result.PASS, Result.FAIL, Result.UNKNOWN
KEYS: dict[str, Values] = {"aws:one": ("x*y",), "aws:two": ("a", "b"), "aws:absent": ()}


def judge(operator: str, wanted: Sequence[str], got: Values, *, version: bool = True) -> Result:
    return apply(operator, wanted, got, KEYS.get, has_variables=version)


HELD = [
    # one value
    ("StringEquals", ["a"], ("a",), PASS),
    ("StringEquals", ["a"], ("A",), FAIL),
    ("StringEquals", ["b", "a"], ("a",), PASS),
    ("StringEquals", ["a*"], ("ab",), FAIL),
    ("StringEquals", ["a*"], ("a*",), PASS),
    ("StringEquals", ["a.c"], ("abc",), FAIL),
    ("stringequals", ["a"], ("a",), PASS),
    ("StringEquals", [], ("a",), FAIL),
    ("StringNotEquals", ["a"], ("a",), FAIL),
    ("StringNotEquals", ["a", "b"], ("b",), FAIL),
    ("StringNotEquals", ["a", "b"], ("c",), PASS),
    ("StringEqualsIgnoreCase", ["Acme"], ("aCME",), PASS),
    ("StringNotEqualsIgnoreCase", ["Acme"], ("aCME",), FAIL),
    ("StringLike", ["repo:acme/*:ref:*"], ("repo:acme/shop:ref:refs/heads/a",), PASS),
    ("StringLike", ["repo:Acme/*"], ("repo:acme/shop",), FAIL),
    ("StringLike", ["a?c"], ("abc",), PASS),
    ("StringLike", ["a?c"], ("ac",), FAIL),
    ("StringLike", ["a"], ("a\n",), FAIL),
    ("StringLike", ["a*"], ("a\nb",), PASS),
    ("StringNotLike", ["a*"], ("abc",), FAIL),
    ("ArnLike", ["arn:aws:iam::*:role/x"], ("arn:aws:iam::123:role/x",), PASS),
    ("ArnLike", ["arn:*:role/x"], ("arn:aws:iam::123:role/x",), FAIL),
    (
        "ArnEquals",
        ["arn:aws:iam::123:oidc-provider/*"],
        ("arn:aws:iam::123:oidc-provider/a:b",),
        PASS,
    ),
    ("ArnNotEquals", ["arn:aws:iam::123:role/x"], ("arn:aws:iam::123:role/x",), FAIL),
    ("NumericEquals", ["42"], ("42.0",), PASS),
    ("NumericLessThan", ["10"], ("9",), PASS),
    ("NumericGreaterThanEquals", ["10"], ("9",), FAIL),
    ("NumericEquals", ["42"], ("many",), FAIL),
    ("NumericNotEquals", ["42"], ("43",), PASS),
    ("DateLessThan", ["2026-01-02T00:00:00Z"], ("2026-01-01T23:59:59+00:00",), PASS),
    ("DateGreaterThan", ["2026-01-02T00:00:00Z"], ("1767225600",), FAIL),
    ("DateEquals", ["1767225600"], ("2026-01-01T00:00:00Z",), PASS),
    ("DateEquals", ["2026-01-01T00:00:00"], ("2026-01-01T00:00:00Z",), PASS),
    ("Bool", ["true"], ("true",), PASS),
    ("Bool", ["false"], ("true",), FAIL),
    # no value
    ("StringEquals", ["a"], (), FAIL),
    ("StringNotEquals", ["a"], (), PASS),
    ("StringNotLike", ["*"], (), PASS),
    ("StringEqualsIfExists", ["a"], (), PASS),
    ("StringEqualsIfExists", ["a"], ("b",), FAIL),
    ("ForAllValues:StringEquals", ["a"], (), PASS),
    ("ForAnyValue:StringEquals", ["a"], (), FAIL),
    ("ForAnyValue:StringNotEquals", ["a"], (), FAIL),
    ("Null", ["true"], (), PASS),
    ("Null", ["false"], (), FAIL),
    ("Null", ["false"], ("a",), PASS),
    # several values
    ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), PASS),
    ("ForAllValues:StringEquals", ["a"], ("a", "b"), FAIL),
    ("ForAnyValue:StringLike", ["b*"], ("a", "bc"), PASS),
    ("ForAnyValue:StringNotEquals", ["a"], ("a", "b"), PASS),
    ("ForAllValues:StringNotEquals", ["a"], ("a", "b"), FAIL),
    ("StringEquals", ["a", "b"], ("a", "b"), PASS),
    ("StringEquals", ["c"], ("a", "b"), FAIL),
    ("StringEquals", ["a"], ("a", "b"), UNKNOWN),
    # what is not known
    ("StringEquals", ["a"], None, UNKNOWN),
    ("Null", ["true"], None, UNKNOWN),
    ("StringEqualsIfExists", ["a"], None, UNKNOWN),
    ("IpAddress", ["10.0.0.0/8"], ("10.0.0.1",), UNKNOWN),
    ("StringMatches", ["a"], ("a",), UNKNOWN),
    ("ForSomeValues:StringEquals", ["a"], ("a",), UNKNOWN),
    ("BoolNot", ["a"], (), UNKNOWN),
    # variables
    ("StringEquals", ["${aws:one}"], ("x*y",), PASS),
    ("StringLike", ["${aws:one}"], ("xzy",), FAIL),
    ("StringLike", ["a${*}*"], ("a*b",), PASS),
    ("StringLike", ["a${*}*"], ("axb",), FAIL),
    ("StringEquals", ["${aws:absent, 'else'}"], ("else",), PASS),
    ("StringEquals", ["${aws:absent}"], ("",), UNKNOWN),
    ("StringEquals", ["${aws:two}"], ("a",), UNKNOWN),
    ("StringEquals", ["${aws:two, 'a'}"], ("a",), UNKNOWN),
    ("StringEquals", ["${aws:unheard}"], ("a",), UNKNOWN),
    ("StringEquals", ["${aws:unheard, 'a'}"], ("a",), UNKNOWN),
]


@pytest.mark.parametrize(("operator", "wanted", "got", "result"), HELD)
def test_operator(operator: str, wanted: list[str], got: Values, result: Result) -> None:
    """Each operator holds as IAM documents it."""
    assert judge(operator, wanted, got) is result


def test_a_policy_of_2008_has_no_variables() -> None:
    """Before 2012-10-17 a variable is the text that it looks like."""
    assert judge("StringEquals", ["${aws:one}"], ("${aws:one}",), version=False) is PASS


TEXT = st.text("ab*?.[\\\n$", max_size=12)


def oracle(glob: str, text: str) -> bool:
    """StringLike as its definition reads, one character after another."""
    reached = {0}
    for one in glob:
        if one == "*":
            reached = set(range(min(reached, default=len(text) + 1), len(text) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(text) and one in {"?", text[at]}}
    return len(text) in reached


@given(TEXT, TEXT)
def test_string_like_is_what_its_definition_says(glob: str, text: str) -> None:
    """`*` is any text and `?` any one character; nothing else is special."""
    assert (judge("StringLike", [glob], (text,)) is PASS) == oracle(glob, text)


@given(st.lists(st.text("ab", max_size=2)), st.lists(st.text("ab", max_size=2)))
def test_string_like_finds_what_a_pattern_was_made_of(pieces: list[str], fill: list[str]) -> None:
    """A text that is the pattern with something for each `*` matches it."""
    text = "".join(piece + (fill[at] if at < len(fill) else "") for at, piece in enumerate(pieces))
    assert judge("StringLike", ["*".join([*pieces, ""])], (text,)) is PASS


def test_a_pattern_cannot_exhaust_us() -> None:
    """A pattern of many stars is decided at once against a text that almost matches."""
    assert judge("StringLike", ["*a" * 200 + "b"], ("a" * 5000,)) is FAIL


@given(TEXT, TEXT)
def test_not_is_the_opposite(glob: str, text: str) -> None:
    """For a key that is there, the Not of an operator holds where it does not."""
    assert judge("StringLike", [glob], (text,)) is not judge("StringNotLike", [glob], (text,))
