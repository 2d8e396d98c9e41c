"""What a source of identity is: one question, three answers."""

from typing import Protocol

from ci_identity.model import SubjectToken


class Source(Protocol):
    """Finds the job's OIDC token in one kind of place."""

    @property
    def name(self) -> str:
        """The source's name, as `whoami` prints it."""
        ...

    def fetch(self, audience: str) -> SubjectToken | None:
        """Return the job's token for `audience`, or `None` if this is not that kind of place.

        Raises:
            IdentityError: it is that kind of place, but no usable token could be had; the error
                names the likely cause and the fix.
        """
        ...
