"""What an agent is asked to do: which grants, for which steps, how delivered, for how long."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from ci_identity._record import Record, field
from ci_identity.delivery.peer import Peer
from ci_identity.errors import ConfigurationError
from ci_identity.model import DeliveryMode, Grant

ALL_STEPS = "all"
"""In the place of step ids: every step of the job."""


class Inline(Record):
    """A grant that was made of the action's inputs, for the job that made it.

    Attributes:
        grant: the grant; until the job's token is there it is for nobody.
        keys: what the grants file would say, but for `for`.
    """

    grant: Grant
    keys: Mapping[str, object] = field(repr=False)


class Order(Record):
    """What an agent is asked to do.

    Attributes:
        grants: names of grants in the grants file.
        inline: a grant that is in no file.
        grants_file: the file, if it is not where it is looked for.
        steps: the ids of the steps that may use them, or `all` alone.
        delivery: how the later steps get at them.
        ttl: the life of each credential, at most the grant's own.
    """

    grants: tuple[str, ...] = ()
    inline: Inline | None = None
    grants_file: Path | None = None
    steps: tuple[str, ...]
    delivery: DeliveryMode = DeliveryMode.ENDPOINT
    ttl: timedelta | None = None


def steps_of(grant: Grant, asked: tuple[str, ...]) -> frozenset[str] | None:
    """Return the steps that may use a grant, by what was asked and what the grant says itself.

    `None` stands for any step of the job.

    Raises:
        ConfigurationError: no step is left.
    """
    if asked == (ALL_STEPS,):
        return frozenset(grant.steps) or None
    if ALL_STEPS in asked:
        message = f"`{ALL_STEPS}` stands for every step, so no other can be named beside it"
        raise ConfigurationError(message)
    steps = frozenset(asked) & frozenset(grant.steps or asked)
    if not steps:
        message = (
            f"the grant {grant.name} is for {named(frozenset(grant.steps))}, "
            f"but the agent is to serve {named(frozenset(asked))}: no step could use it"
        )
        raise ConfigurationError(message, hint="name one of the grant's own steps")
    return steps


def is_for(steps: frozenset[str] | None, peer: Peer) -> bool:
    """Whether a process is of one of `steps`."""
    return peer.step is not None and (steps is None or peer.step in steps)


def named(steps: frozenset[str] | None) -> str:
    """Return `steps` in words."""
    if steps is None:
        return "every step of the job"
    return f"the step{'s' if len(steps) > 1 else ''} {', '.join(sorted(steps))}"
