"""`ci-identity redact`: a plain filter, for people's own use."""

import os
import sys
from collections.abc import Sequence
from itertools import zip_longest

from ci_identity.errors import OutputLostError
from ci_identity.redaction.relay import Relay
from ci_identity.redaction.stream import MODES, Redactor

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from ci_identity.redaction.stream import Mode

_EXAMPLE = """\
  ./build.sh 2>&1 | ci-identity redact --secret-env API_KEY --secret-env DB_PASSWORD
  ci-identity redact --secret-env API_KEY <build.log >build.redacted.log"""


def main(words: Sequence[str]) -> int:
    """Copy stdin to stdout with the secrets masked."""
    names, mode = _plainly(words) or _parsed(words)
    redactor = Redactor(mode=mode)
    for name in names:
        if not os.environ.get(name, "").strip():
            from ci_identity.cli.parser import UsageError  # noqa: PLC0415  # see _plainly

            message = f"the variable {name} is not set, or is empty"
            raise UsageError(message, hint="export it; its value is what is masked")
        redactor.add(os.environ[name], name=name)
    relay = Relay(redactor, os.dup(0), sys.stdout.fileno(), done=lambda: None)
    relay.run()
    if relay.problem:
        message = f"the output could not be written: {relay.problem}"
        raise OutputLostError(message, hint="make room there; a part of the input was lost")
    return 0


def _plainly(words: Sequence[str]) -> "tuple[list[str], Mode] | None":
    """Return what a command line says that needs no argparse, which takes longer than the rest."""
    names: list[str] = []
    mode: Mode = "default"
    for option, value in zip_longest(words[::2], words[1::2], fillvalue="-"):
        if option == "--secret-env" and not value.startswith("-"):
            names.append(value)
        elif option == "--mode" and value in MODES:
            mode = value
        else:
            return None
    return (names, mode) if names else None


def _parsed(words: Sequence[str]) -> "tuple[list[str], Mode]":
    from ci_identity.cli.parser import Parser  # noqa: PLC0415  # see above

    parser = Parser(
        "redact",
        "Copy standard input to standard output, with secrets masked in every spelling that\n"
        "`exec` masks. The secrets are values of environment variables: what is an argument\n"
        "can be read by every process of the machine.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--secret-env",
        action="append",
        required=True,
        metavar="NAME",
        help="mask the value of this variable; may be repeated",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="default",
        help="fast: do not look across colours and line ends",
    )
    args = parser.parse_args(words)
    return args.secret_env, args.mode
