"""How the command line is read: argparse, with our own errors, and help that teaches."""

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Never

from ci_identity.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import SupportsWrite

HELP = """\
ci-identity: a CI job proves who it is, receives a credential made for one step,
and loses it when the step ends.

usage: ci-identity COMMAND [options]

{commands}

For example, with a grant `migrate-db` in .ci-identity.yml:

  ci-identity explain migrate-db
  ci-identity exec --grant migrate-db -- make migrate

ci-identity COMMAND --help tells more. No CI at hand? Try: ci-identity demo"""


class UsageError(ConfigurationError):
    """The command line cannot be understood."""

    code = "usage"
    cause = "an option or argument is missing, misspelt or too many"
    hint = "see: ci-identity --help"

    @classmethod
    def unknown(cls, name: str, commands: Mapping[str, str]) -> "UsageError":
        """Return the error for a command that there is not."""
        from difflib import get_close_matches  # noqa: PLC0415  # on demand

        near = get_close_matches(name, commands, n=1)
        return cls(f"there is no command {name!r}" + (f"; did you mean {near[0]}?" if near else ""))


USAGE = UsageError


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Knows how wide the terminal is; argparse would import `shutil` for it, with each option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    with suppress(KeyError, ValueError):
        return max(int(os.environ["COLUMNS"]), 20)
    with suppress(OSError, ValueError):
        return os.get_terminal_size().columns or 80
    return 80


class Parser(argparse.ArgumentParser):
    """A parser of one command. Errors are ours, so that `exec` can exit with 125."""

    def __init__(self, name: str, description: str, *, example: str) -> None:
        super().__init__(
            prog=f"ci-identity {name}",
            description=description,
            epilog=f"For example:\n\n{example}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> Never:
        """Raise what argparse found as a `UsageError`."""
        _, is_missing, names = message.partition("arguments are required: ")
        if is_missing:
            message = f"say which: {names.replace('|', ' or ')}"
        raise UsageError(message, hint=f"see: {self.prog} --help")

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; an error of the output is one, which argparse would pass over."""
        (file or sys.stdout).write(self.format_help())

    def add_choice(self, name: str, *choices: str, help: str) -> None:  # noqa: A002  # as argparse
        """Add a word that is one of a few; if it is missing the error names them."""
        self.add_argument(name, choices=choices, metavar="|".join(choices), help=help)

    def add_grants(self) -> None:
        """Add `--grants`."""
        self.add_argument(
            "--grants",
            metavar="FILE",
            type=_path,
            help="the grants file (default: $CI_IDENTITY_GRANTS, .ci-identity.yml, "
            ".github/ci-identity.yml)",
        )

    def add_trust_policy(self, help: str) -> None:  # noqa: A002  # as argparse
        """Add `--trust-policy`."""
        self.add_argument("--trust-policy", metavar="FILE", type=_path, help=help)

    def add_json(self) -> None:
        """Add `--json`."""
        self.add_argument("--json", action="store_true", help="print JSON, for programs")

    def add_ledger(self) -> None:
        """Add `--ledger`."""
        self.add_argument(
            "--ledger",
            metavar="FILE",
            type=_path,
            help="the ledger (default: $CI_IDENTITY_LEDGER, or ledger.jsonl in the state folder)",
        )


def _path(text: str) -> "Path":
    from pathlib import Path  # noqa: PLC0415  # 5 ms, with what it imports

    return Path(text)


def ttl(text: str) -> timedelta:
    """Read a duration as the grants file has it: 90s, 15m, 2h."""
    from ci_identity.grants.durations import duration  # noqa: PLC0415  # only where it is given

    try:
        return duration(text)
    except ValueError as error:
        message = f"{text!r} {error}"
        raise argparse.ArgumentTypeError(message) from None


def version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import version as installed  # noqa: PLC0415  # 40 ms, seldom needed

    return installed("ci-identity")
