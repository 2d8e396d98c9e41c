"""This machine's clock and AWS's: how far apart they are, by one answer. Pure."""

from datetime import datetime, timedelta

_SECOND = timedelta(seconds=1)
"""AWS tells ends in whole seconds."""

_LEAST, _MOST = timedelta(seconds=2), timedelta(minutes=1)
_TOO_FAR = timedelta(days=1)
"""Both clocks take the job's token for alive: no two clocks so far apart do."""


def ahead(begun: datetime, *, asked_at: datetime, answered_at: datetime) -> timedelta:
    """Return how far this machine's clock is ahead of AWS's: the least that explains the answer.

    It is nothing for clocks that agree, however long the answer takes.

    Args:
        begun: when the session began, by AWS's clock.
        asked_at, answered_at: what this machine's clock showed before and after.
    """
    least, most = asked_at - begun - _SECOND, answered_at - begun
    return max(least, min(most, timedelta()))


def is_credible(difference: timedelta) -> bool:
    """True if two clocks that work can be so far apart."""
    return abs(difference) <= _TOO_FAR


def matters(difference: timedelta, *, ttl: timedelta) -> bool:
    """True if clocks so far apart make another life of `ttl`: by over a tenth, or a minute."""
    return abs(difference) > min(max(ttl / 10, _LEAST), _MOST)


def said(difference: timedelta) -> str:
    """Return in words how far this machine's clock is ahead of AWS's."""
    seconds = difference.total_seconds()
    return f"this machine's clock is {abs(seconds):.0f} s {'behind' if seconds < 0 else 'ahead of'}"
