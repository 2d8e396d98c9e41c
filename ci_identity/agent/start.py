"""Starts an agent: the command returns when later steps can use it, and leaves it there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Before the fork: what is imported by then, two processes have.
from ci_identity.agent.detach import detach
from ci_identity.agent.instance import Instance
from ci_identity.agent.runner import Runner

if TYPE_CHECKING:
    from ci_identity.agent.order import Order


def start(folder: Path, runner: int | None, order: "Callable[[], Order]") -> int:
    """Start one, and return the exit code: of the command here, of the agent there.

    Args:
        folder: its folder, which is made.
        runner: the pid of the job's runner; `None` to look for it.
        order: returns what is asked of it; called in the agent.

    Raises:
        CiIdentityError: it could not get ready.
    """
    found = Runner.of(runner)
    instance = Instance(folder)
    instance.make()
    ready = detach()
    if isinstance(ready, int):
        return ready
    from ci_identity.agent.service import serve  # noqa: PLC0415

    return serve(order(), instance, found, os.environ, ready)
