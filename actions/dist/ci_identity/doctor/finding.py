"""What doctor says about a place where something usable lies: never the thing itself."""

from enum import StrEnum

from ci_identity._record import Record
from ci_identity._text import shortened


class Kind(StrEnum):
    """What somebody who runs code in this job could do with the finding."""

    MINTING = "minting"
    ID_TOKEN = "id token"  # noqa: S105  # the name of a kind, not a token
    JOB_TOKEN = "job token"  # noqa: S105  # as above
    CREDENTIAL = "credential"
    PRIVATE_KEY = "private key"
    ROOT = "way to root"
    CODE_INJECTION = "code injection"
    UNREADABLE = "cannot read"


class Finding(Record):
    """One place, and what it is good for. Holds no value, no part of one, and no length.

    Attributes:
        kind: what it is.
        place: the variable's name or the file's path; with the host, registry or key in it, where
            there can be several.
        detail: what it could be used for, and until when if that is known.
        is_removed_by_exec: whether a step under `ci-identity exec` no longer has it. A file that
            `exec` only hides from the clouds' tools is not removed: code can still read it.
    """

    kind: Kind
    place: str
    detail: str
    is_removed_by_exec: bool = False

    def __post_init__(self) -> None:
        for field in ("place", "detail"):
            object.__setattr__(self, field, shortened(getattr(self, field)))
