"""One type for every raw credential, so that no careless line can print, pickle or copy one."""

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from typing import Never


class Secret:
    """A value that must not be seen: a token, a password, a key.

    `reveal()` is the only way to the text. `str`, `repr` and `format` give a mask; `pickle`,
    `copy` and `deepcopy` (and so `dataclasses.asdict`) raise `TypeError` instead of leaking.
    Two secrets compare in constant time; a secret has no hash, so it is never a dictionary key.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the secret text itself. Every use of this name is a place worth reviewing."""
        return self.__text

    def fingerprint(self) -> str:
        """Return the SHA-256 of the text, in hex: for issued tokens only, never stored values."""
        import hashlib  # noqa: PLC0415  # 4 MB, which the redactor alone can do without

        return hashlib.sha256(self.__text.encode()).hexdigest()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, format_spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # noqa: PLC0415  # as above

        return hmac.compare_digest(self.__text.encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]  # unhashable on purpose: see the class docstring

    def __reduce_ex__(self, protocol: object) -> "Never":
        message = "a Secret is never copied or pickled"
        raise TypeError(message)

    def __getstate__(self) -> "Never":
        self.__reduce_ex__(None)
