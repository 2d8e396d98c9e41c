"""Starts an agent: the command returns when later steps can use it, and leaves it there."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity.agent.detach import detach

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
    ready = detach()
    if isinstance(ready, int):
        return ready
    gc.disable()  # a tenth of the time until it is ready
    # Only now: what is imported before a fork has to be copied, page by page.
    from ci_identity.agent.instance import Instance  # noqa: PLC0415
    from ci_identity.agent.runner import Runner  # noqa: PLC0415
    from ci_identity.agent.service import serve  # noqa: PLC0415

    found = Runner.of(runner)
    instance = Instance(folder)
    instance.make()
    return serve(order(), instance, found, os.environ, ready)
