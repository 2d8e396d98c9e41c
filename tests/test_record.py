"""Frozen values: made by keywords, equal by their fields, never changed."""

import copy
from typing import Any, Generic, TypeVar

import pytest

from ci_identity._record import Record, asdict, field, replace
from ci_identity.secret import Secret

T = TypeVar("T")


class Point(Record):
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list[str], repr=False)


class Named(Point):
    name: str


class Box(Record, Generic[T]):
    of: T = field(kw_only=False)


def test_made_by_keywords() -> None:
    """Defaults are filled in, each with a list of its own."""
    one, other = Point(x=1), Point(x=1)
    one.tags.append("a")
    assert (one.x, one.y, other.tags) == (1, 2, [])


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "without x"), ({"x": 1, "z": 2}, "no z"), ({"x": 1, "self": 2}, "no self")],
)
def test_made_of_other_fields(given: dict[str, int], said: str) -> None:
    """What is missing or too much is named."""
    with pytest.raises(TypeError, match=said):
        Point(**given)  # type: ignore[arg-type]  # that is what is tested


def test_by_position() -> None:
    """Only a field that says so, and only once."""
    assert Box(3) == Box(of=3)
    kind: Any
    for kind, args, given in ((Point, [1], {}), (Box, [1, 2], {}), (Box, [1], {"of": 1})):
        with pytest.raises(TypeError, match="by position"):
            kind(*args, **given)


def test_never_changed() -> None:
    """Neither a field nor anything new."""
    point = Point(x=1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(point, name, 2)
    with pytest.raises(AttributeError):
        del point.x


def test_equal_by_fields() -> None:
    """To one of the same class, and to nothing else."""
    assert Point(x=1) == Point(x=1)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1, name="n")
    assert Box(of=1) != 1
    assert hash(Box(of="a")) == hash(Box(of="a"))


def test_fields_of_a_base() -> None:
    """They come first."""
    assert repr(Named(x=1, name="n")) == "Named(x=1, y=2, name='n')"


def test_replaced_and_copied() -> None:
    """A copy is another value, with what was to be changed."""
    point = Point(x=1)
    assert replace(point, x=3) == Point(x=3)
    assert copy.copy(point) == copy.deepcopy(point) == point
    with pytest.raises(TypeError, match="no z"):
        replace(point, z=1)


def test_as_a_dictionary() -> None:
    """Records inside are dictionaries, too, sequences are lists; a secret refuses."""
    assert asdict(Box(of=(Box(of={"a": Point(x=1)}),))) == {
        "of": [{"of": {"a": {"x": 1, "y": 2, "tags": []}}}]
    }
    with pytest.raises(TypeError):
        asdict(Box(of=Secret("correct-horse")))
