from ci_identity._text import MAX_SHOWN, printable, shortened


def test_text_from_others_does_nothing_to_a_terminal() -> None:
    """Escapes, line ends and marks that reorder what is beside them are shown by their names."""
    assert printable("a\x1b[2J\r\n\u202eb é") == "a\\x1b[2J\\r\\n\\u202eb é"
    assert printable("a\udc80") == "a\\udc80"


def test_long_text_is_cut_short() -> None:
    """Nobody reads a claim of a thousand characters."""
    assert shortened("x" * 1000) == "x" * MAX_SHOWN + "..."
    assert shortened("x" * MAX_SHOWN) == "x" * MAX_SHOWN
