"""Text written by strangers, such as a claim, made fit to be shown."""

MAX_SHOWN = 300
"""Characters."""


def printable(text: str) -> str:
    """Return `text` with every character that moves, hides or reorders what is beside it escaped.

    Printed as it is, a claim could move the cursor, or begin a line with `::` and so command
    GitHub's runner.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def shortened(text: str) -> str:
    """Return `text` printable and cut short."""
    return printable(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")
