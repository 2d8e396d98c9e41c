"""Google credentials that ask for the token at every request, so that they live and end with it."""

from collections.abc import Callable
from typing import Any

import google.auth.credentials

from ci_identity.delivery.gcp import project
from ci_identity.model import GcpTarget, GcpToken

_UNIVERSE = "googleapis.com"


class _LiveCredentials(google.auth.credentials.Credentials):
    """Credentials of a session of ours, as they are at the moment of asking."""

    def __init__(self, token: Callable[[], GcpToken], target: GcpTarget) -> None:
        self._current = token
        super().__init__()  # type: ignore[no-untyped-call]
        self._universe_domain = token().universe or _UNIVERSE
        self.project_id = project(target)

    def refresh(self, request: Any) -> None:  # noqa: ARG002  # nobody is asked: it is in memory
        """Take the token of the moment."""
        token = self._current()
        self.token = token.access_token.reveal()
        self.expiry = token.expires_at.replace(tzinfo=None)  # as google-auth counts, in UTC

    def before_request(self, request: Any, method: str, url: str, headers: Any) -> None:
        """Put the token of the moment into `headers`, whatever the last one's age."""
        self.refresh(request)
        super().before_request(request, method, url, headers)  # type: ignore[no-untyped-call]


def google_credentials(
    token: Callable[[], GcpToken], target: GcpTarget
) -> google.auth.credentials.Credentials:
    """Return credentials whose requests carry what `token` returns by then.

    Args:
        token: the token as it is now. What it raises is what the client's call raises.
        target: the grant's `gcp:`, with its project.
    """
    return _LiveCredentials(token, target)
