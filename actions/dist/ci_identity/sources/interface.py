"""What a source of identity is: one question, three answers."""

from typing import Protocol

from ci_identity.model import SubjectToken


class Source(Protocol):
    """Finds the job's OIDC token in one kind of place."""

    @property
    def name(self) -> str:
        """The source's name, as `whoami` prints it."""
        ...

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the job's token for `audience`, or `None` if this is not that kind of place.

        Args:
            audience: whom the token is for; `None` for a token that is only looked at, whoever
                it is for.

        Raises:
            IdentityError: it is that kind of place, but no usable token could be had; the error
                names the likely cause and the fix.
        """
        ...
