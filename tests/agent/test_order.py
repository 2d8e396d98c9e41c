"""Which steps may use a grant: what was asked, narrowed by what the grant says itself."""

import pytest

from ci_identity.agent.order import is_for, named, steps_of
from ci_identity.delivery.peer import Peer
from ci_identity.errors import ConfigurationError
from ci_identity.model import AwsTarget, Grant

ROLE = AwsTarget(role="arn:aws:iam::123456789012:role/deploy-web")


def grant(*steps: str) -> Grant:
    return Grant(name="deploy-web", conditions={}, target=ROLE, steps=steps)


@pytest.mark.parametrize(
    ("own", "asked", "left"),
    [
        ((), ("a", "b"), {"a", "b"}),
        (("a",), ("a", "b"), {"a"}),
        (("a", "b"), ("all",), {"a", "b"}),
        ((), ("all",), None),
    ],
)
def test_both_must_name_a_step(
    own: tuple[str, ...], asked: tuple[str, ...], left: set[str] | None
) -> None:
    """`all` and a grant without `steps` stand for every step."""
    assert steps_of(grant(*own), asked) == left


@pytest.mark.parametrize(("own", "asked"), [(("a",), ("b",)), ((), ("all", "a"))])
def test_what_makes_no_sense(own: tuple[str, ...], asked: tuple[str, ...]) -> None:
    """No step left, or `all` beside another, is a mistake and not a widening."""
    with pytest.raises(ConfigurationError):
        steps_of(grant(*own), asked)


def test_a_process_of_no_step_is_served_nothing() -> None:
    """Not even where every step is."""
    assert not is_for(None, Peer(pid=1))
    assert is_for(None, Peer(pid=1, step="x"))
    assert not is_for(frozenset({"y"}), Peer(pid=1, step="x"))


def test_steps_in_words() -> None:
    """One, several, or every one."""
    assert named(frozenset({"a"})) == "the step a"
    assert named(frozenset({"b", "a"})) == "the steps a, b"
    assert named(None) == "every step of the job"
