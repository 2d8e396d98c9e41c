"""The only pattern there is: `*`. Without regular expressions, which a long claim could exhaust."""


def matches(glob: str, text: str, *, is_across: bool = False) -> bool:
    """Return whether `text` is `glob` in full, where `*` is anything, also nothing, but a `/`.

    Args:
        glob: text in which only `*` is special.
        text: not empty; an empty claim says nothing, so no pattern is for it.
        is_across: let `*` be a `/` as well. For remarks only, never to decide.
    """
    if not text:
        return False
    if is_across:
        return _is_part(glob, text)
    globs, parts = glob.split("/"), text.split("/")
    return len(globs) == len(parts) and all(map(_is_part, globs, parts))


def _is_part(glob: str, part: str) -> bool:
    first, *middle = glob.split("*")
    if not middle:
        return glob == part
    last = middle.pop()
    end = len(part) - len(last)
    if end < len(first) or not part.startswith(first) or not part.endswith(last):
        return False
    at = len(first)
    for piece in middle:  # the leftmost place of each leaves the most to the next
        found = part.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
