"""What the package says while it works: by `logging`, as libraries do, unless a command listens.

`logging` takes 8 ms to import, and a command has no use for it
(docs/adr/0021-the-cost-of-a-start.md).
"""

from collections.abc import Callable

_NAME = "ci_identity"

Listener = Callable[[str, str, str | None], None]
"""Is told everything that is said, in the place of `logging`: the level (`info`, `warning` or
`error`), the text, and how a lease ended, if it is said of that."""

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Have `listener` told everything from now on, and nobody else."""
    _listeners[:] = [listener]


def info(text: str, *args: object, outcome: str | None = None) -> None:
    """Say what happens; `text` is a format, as in `logging`."""
    _say("info", text, args, outcome)


def warning(text: str, *args: object) -> None:
    """Say what somebody should look at."""
    _say("warning", text, args, None)


def error(text: str, *args: object, outcome: str | None = None) -> None:
    """Say what went wrong."""
    _say("error", text, args, outcome)


def _say(level: str, text: str, args: tuple[object, ...], outcome: str | None) -> None:
    if _listeners:
        _listeners[0](level, text % args if args else text, outcome)
        return
    import logging  # noqa: PLC0415  # a program that uses us has it already

    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger(_NAME).log(number, text, *args, extra={"outcome": outcome}, stacklevel=3)
