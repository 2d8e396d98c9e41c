from datetime import timedelta

import pytest

from ci_identity._text import MAX_SHOWN, lasting, printable, shortened


def test_text_from_others_does_nothing_to_a_terminal() -> None:
    """Escapes, line ends and marks that reorder what is beside them are shown by their names."""
    assert printable("a\x1b[2J\r\n\u202eb é") == "a\\x1b[2J\\r\\n\\u202eb é"
    assert printable("a\udc80") == "a\\udc80"


def test_long_text_is_cut_short() -> None:
    """Nobody reads a claim of a thousand characters."""
    assert shortened("x" * 1000) == "x" * MAX_SHOWN + "..."
    assert shortened("x" * MAX_SHOWN) == "x" * MAX_SHOWN


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(21600, "6 h"), (5400, "90 min"), (900, "15 min"), (45, "45 s"), (3601, "3601 s"), (0, "0 s")],
)
def test_time_is_said_in_the_largest_unit_that_fits(seconds: int, said: str) -> None:
    """As people write it in the grants file."""
    assert lasting(timedelta(seconds=seconds)) == said
