"""The files by which a step of a GitHub job speaks to the runner: variables, outputs, a summary.

Source: docs.github.com, "Workflow commands", "Environment files"; actions/runner,
`FileCommandManager.cs`: a value ends at the first line that is the delimiter, whole.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ci_identity.errors import DeliveryError

ENV, OUTPUT, SUMMARY = "GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def tell_runner(variable: str, values: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Append `values` to the file that `variable` names; False if there is no such file.

    Args:
        variable: `GITHUB_ENV` or `GITHUB_OUTPUT`.
        values: name to value. A value may have several lines: none of them is taken for another
            value, since the delimiter is random and none of theirs.
        environ: the step's variables.

    Raises:
        DeliveryError: the file cannot be written, or a name or a value cannot be in it.
    """
    return append(variable, "".join(_entry(*item) for item in values.items()), environ)


def append(variable: str, text: str, environ: Mapping[str, str]) -> bool:
    """Append `text` to the file that `variable` names; False if there is no such file.

    Raises:
        DeliveryError: it cannot be written.
    """
    path = environ.get(variable)
    if not path:
        return False
    try:
        with open(path, "a", encoding="utf-8", opener=_open_without_waiting) as file:
            if file.tell() and not _ends_a_line(path):
                file.write("\n")  # whoever wrote before may have left its line unfinished
            file.write(text)
    except OSError as error:
        message = f"cannot write the file that {variable} names: {error.strerror}"
        raise DeliveryError(message, hint="check the runner's disk") from None
    return True


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe, whose reader may never come, is an error at once."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)


def _ends_a_line(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _entry(name: str, value: str) -> str:
    delimiter = f"ci_identity_{os.urandom(16).hex()}"
    if not _NAME.fullmatch(name) or "\0" in value:
        message = "a name or a value cannot be handed to the runner"
        raise DeliveryError(message)
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"
