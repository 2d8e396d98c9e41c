"""The one pattern: `*` is anything but a slash, and nothing else means anything."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.grants.pattern import matches


@pytest.mark.parametrize(
    ("glob", "text", "expected"),
    [
        ("refs/tags/v*", "refs/tags/v1.2", True),
        ("refs/tags/v*", "refs/tags/v", True),
        ("refs/tags/v*", "refs/tags/v1/evil", False),
        ("refs/tags/v*", "refs/tags/1", False),
        ("refs/tags/v*", "xrefs/tags/v1", False),
        ("refs/tags/v*", "refs/tags/v1\n", True),
        ("refs/tags/v", "refs/tags/v", True),
        ("refs/tags/v", "refs/tags/v1", False),
        ("*", "main", True),
        ("*", "a/b", False),
        ("*", "", False),
        ("**", "a/b", False),
        ("*/*", "a/b", True),
        ("*/*", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "ac", False),
        ("ab*bc", "abc", False),
        ("a*a", "a", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("a?", "ab", False),
        ("A*", "ab", False),
    ],
)
def test_star_is_anything_but_a_slash(glob: str, text: str, expected: bool) -> None:  # noqa: FBT001  # a table
    """All of the text must fit; dots, brackets and question marks are themselves."""
    assert matches(glob, text) is expected


def test_star_may_cross_a_slash_for_a_remark() -> None:
    """`is_across` tells that only the slash was in the way."""
    assert matches("refs/*", "refs/heads/main", is_across=True)
    assert not matches("refs/*", "tags/v1", is_across=True)


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(st.text("ab*/."), st.text("ab/.", min_size=1))
def test_pattern_is_what_a_regular_expression_says(glob: str, text: str) -> None:
    """The same as `re.fullmatch` with `[^/]*` for each star, on texts that it can cope with."""
    pattern = "[^/]*".join(re.escape(piece) for piece in re.sub(r"\*+", "*", glob).split("*"))
    assert matches(glob, text) is bool(re.fullmatch(pattern, text))


def test_many_stars_and_a_long_claim_are_no_burden() -> None:
    """A claim cannot keep us busy: this would never end with a backtracking expression."""
    assert not matches("*a" * 400 + "b", "a" * 100_000)
