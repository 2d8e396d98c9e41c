"""This machine's clock and AWS's: how far apart they are, by one answer. Pure."""

from datetime import datetime, timedelta

_SECOND = timedelta(seconds=1)
"""AWS tells ends in whole seconds."""

_LEAST, _MOST = timedelta(seconds=2), timedelta(minutes=1)
_TOO_FAR = timedelta(days=1)
"""Both clocks take the job's token for alive: no two clocks so far apart do."""


def ahead(
    expires_at: datetime, *, life: timedelta, asked_at: datetime, answered_at: datetime
) -> timedelta:
    """Return how far this machine's clock is ahead of AWS's, by one answer; nothing if they agree.

    It is too much by the way back and a part of a second: so what is told by it does not live on
    after its end.

    Args:
        expires_at: when the session ends, by AWS's clock.
        life: for how long it was asked for; AWS gives that, or refuses.
        asked_at: what this machine's clock showed before the call.
        answered_at: the same, after it.
    """
    least, most = asked_at + life - expires_at - _SECOND, answered_at + life - expires_at
    return timedelta() if least <= timedelta() <= most else most


def is_credible(difference: timedelta) -> bool:
    """True if two clocks that work can be so far apart."""
    return abs(difference) <= _TOO_FAR


def matters(difference: timedelta, *, ttl: timedelta) -> bool:
    """True if clocks so far apart make another life of `ttl`: by over a tenth, or a minute."""
    return abs(difference) > min(max(ttl / 10, _LEAST), _MOST)


def told(difference: timedelta) -> str:
    """Return in words how far this machine's clock is ahead of AWS's."""
    seconds = difference.total_seconds()
    side = "behind" if seconds < 0 else "ahead of"
    return f"this machine's clock is {abs(seconds):.0f} s {side} AWS's"
