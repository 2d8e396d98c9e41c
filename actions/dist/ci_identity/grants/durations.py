"""How long something lasts, as the grants file writes it."""

import re
from datetime import timedelta

from ci_identity.grants.kinds import Made, Text

MAX_RENEWAL = timedelta(hours=24)
"""A step that takes longer is for a machine identity, not for a CI job."""

_DURATION = Text(
    expected="a number and one unit, such as 90s, 15m or 2h", pattern="[1-9][0-9]{0,4}[smh]"
)


def duration(text: str) -> timedelta:
    """Return the time that `text` says, as `ttl` has it.

    Raises:
        ValueError: it says none, or too much; the text completes a sentence.
    """
    if not re.fullmatch(_DURATION.pattern, text):
        message = f"must be {_DURATION.expected}"
        raise ValueError(message)
    unit = {"s": "seconds", "m": "minutes", "h": "hours"}[text[-1]]
    life = timedelta(**{unit: int(text[:-1])})
    if life > MAX_RENEWAL:
        message = f"is longer than {MAX_RENEWAL // timedelta(hours=1)}h"
        raise ValueError(message)
    return life


DURATION = Made(of=_DURATION, make=duration)
