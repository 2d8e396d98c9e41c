"""Asks the agents of the job, for a process of one of its steps.

Where they are says a variable that any earlier step may have set. Who plants one learns the bearer
of an agent, which opens nothing to him, and can make a step take values of his own; a token, a
credential or a grant of ours he does not get. So `exec` says who has steered it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from ci_identity._address import is_loopback
from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity._network import Network
from ci_identity._record import Record, field
from ci_identity.agent import AGENT
from ci_identity.agent.instance import Instance
from ci_identity.errors import (
    CiIdentityError,
    ConflictingVariableError,
    DeliveryError,
    UnsendableError,
)
from ci_identity.grants.variables import refusal
from ci_identity.model import Delivered
from ci_identity.secret import Secret


class Given(Record):
    """A grant as an agent gives it.

    Attributes:
        grant: its name.
        lease: the id of its lease.
        variables: what it gives, by name.
    """

    grant: str
    lease: str
    variables: Mapping[str, Delivered]


class Agent(Record):
    """One agent of the job: where it is, and what it asks for."""

    address: str
    bearer: Secret = field(repr=False)

    def ask(self, path: str) -> Answer:
        """Return what it answers at `path`.

        Raises:
            DeliveryError: it refuses, or is not there.
        """
        try:
            with HttpSession(Network()) as http:
                headers = {"Authorization": self.bearer.reveal()}
                response = http.get(self.address + path, headers=headers)
        except UnsendableError:
            message = f"{AGENT}: no request can be made of what is in the agent's folder"
            raise DeliveryError(message) from None
        except CiIdentityError as error:
            message = f"the job's agent: {error}"
            raise DeliveryError(message) from None
        answer = response.json()
        if not response.is_ok:
            reason = answer.get("message")
            message = "the job's agent refused"
            raise DeliveryError(f"{message}: {reason}" if isinstance(reason, str) else message)
        return answer


def agents(environ: Mapping[str, str]) -> Iterator[Agent]:
    """Yield the agents that the job's variables lead to, the latest first."""
    for path in filter(None, environ.get(AGENT, "").split(os.pathsep)):
        if agent := agent_of(Instance(Path(path))):
            yield agent


def agent_of(instance: Instance) -> Agent | None:
    """Return the agent whose folder this is; `None` if nothing leads to one."""
    door = instance.door()
    if not door:
        return None
    address, bearer = door
    parts = urlsplit(address)
    is_ours = parts.scheme == "http" and is_loopback(parts.hostname or "")
    return Agent(address=address, bearer=bearer) if is_ours else None


def introduce(environ: Mapping[str, str]) -> None:
    """Let the agents see which step we are of, while our environment can still be read."""
    for _ in _asked(environ):
        pass


def take(
    names: Sequence[str], environ: Mapping[str, str], *, step: str | None = None
) -> dict[str, Given]:
    """Return those of the grants that an agent holds for our step.

    Args:
        names: the grants' names.
        environ: the job's variables.
        step: the step that we must be of, if any.

    Raises:
        CiIdentityError: one of them should be there, but cannot be had.
    """
    found: dict[str, Given] = {}
    for agent, answer in _asked(environ):
        offered = answer.get("grants")
        if step is not None and answer.get("step") != step:
            continue
        for name in names:
            if name not in found and isinstance(offered, list) and name in offered:
                found[name] = _given(name, agent.ask(f"/grant/{name}"))
    return found


def holder(grant: str, environ: Mapping[str, str]) -> Agent | None:
    """Return the agent that holds a grant for our step, if there is one."""
    for agent, answer in _asked(environ):
        offered = answer.get("grants")
        if isinstance(offered, list) and grant in offered:
            return agent
    return None


def merged(held: Iterable[Given]) -> dict[str, Delivered]:
    """Return the variables of several grants.

    Raises:
        ConflictingVariableError: two of them give the same one.
    """
    found: dict[str, Delivered] = {}
    of: dict[str, str] = {}
    for given in held:
        for name, value in given.variables.items():
            if name in found:
                message = f"the grants {of[name]} and {given.grant} both deliver {name}"
                raise ConflictingVariableError(message)
            found[name], of[name] = value, given.grant
    return found


def _asked(environ: Mapping[str, str]) -> Iterator[tuple[Agent, Answer]]:
    """Yield the agents that answer us; one that is gone, or not for us, is none to ask."""
    for agent in agents(environ):
        try:
            yield agent, agent.ask("/step")
        except DeliveryError:
            continue


def _given(name: str, answer: Answer) -> Given:
    return Given(
        grant=name,
        lease=answer.text("lease"),
        variables={
            key: _delivered(name, key, value) for key, value in answer.mapping("variables").items()
        },
    )


def _delivered(grant: str, key: str, value: object) -> Delivered:
    """Return one variable, if it is none that could steer the command."""
    found = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text, is_public = found.get("value"), found.get("public")
    if not isinstance(text, str) or refusal(key):
        message = f"{grant}: what the job's agent gives is nothing that a grant can give"
        raise DeliveryError(message, cause=f"{AGENT} leads to something else than an agent of ours")
    return Delivered(value=Secret(text), is_public=is_public is True)
