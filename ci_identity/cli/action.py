"""`ci-identity action`: what `main` of the GitHub action runs; its inputs say all the rest.

Two words that only `actions/credentials/main.js` gives, so no parser, which would take 10 ms.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity.agent.start import start
from ci_identity.cli import terminal

if TYPE_CHECKING:
    from ci_identity.agent.order import Order

_WORDS = 2


def main(words: Sequence[str]) -> int:
    """Start the agent of one use of the action: its folder, and the runner's pid."""
    if len(words) != _WORDS or not words[1].isdecimal():
        from ci_identity.cli.parser import UsageError  # noqa: PLC0415  # argparse

        message = "action is for the GitHub action, which gives a folder and a pid"
        raise UsageError(message, hint="see: ci-identity agent start --help")
    folder, runner = words
    terminal.say_aloud(quiet=False)
    return start(Path(folder), int(runner), _order)


def _order() -> "Order":
    from ci_identity.agent.inputs import read_inputs  # noqa: PLC0415  # after the fork

    return read_inputs(os.environ)
