"""A `boto3.Session` that asks for the keys at every call, so that it lives and ends as they do.

botocore's own refreshable credentials would go on with keys that were taken back: they ask again
only near the end. Ours are in memory, so that asking costs nothing.
"""

from collections.abc import Callable

import boto3
import botocore.credentials
import botocore.session

from ci_identity.model import AwsKeys

_KEYS = frozenset({"access_key", "secret_key", "token"})


class _LiveCredentials(botocore.credentials.Credentials):
    """Credentials of a session of ours, as they are at the moment of asking."""

    def __init__(self, keys: Callable[[], AwsKeys]) -> None:
        self._keys = keys
        super().__init__("", "", method="ci-identity")

    def get_frozen_credentials(self) -> botocore.credentials.ReadOnlyCredentials:
        """Return the keys that one request is signed with."""
        keys = self._keys()
        return botocore.credentials.ReadOnlyCredentials(
            keys.access_key_id, keys.secret_access_key.reveal(), keys.session_token.reveal()
        )

    def __getattribute__(self, name: str) -> object:
        """Give the attributes that some clients read instead as they are at the moment too."""
        if name in _KEYS:
            return getattr(self.get_frozen_credentials(), name)
        return super().__getattribute__(name)


def boto3_session(keys: Callable[[], AwsKeys], region: str | None) -> boto3.Session:
    """Return a session whose clients sign each request with what `keys` returns by then.

    Args:
        keys: the keys as they are now. What it raises is what the client's call raises.
        region: the default region; that of the environment if `None`.
    """
    # A profile that the environment names may be one that is not there.
    core = botocore.session.Session(session_vars={"profile": (None, [], None, None)})
    core._credentials = _LiveCredentials(keys)  # type: ignore[attr-defined]  # noqa: SLF001  # as botocore's documentation of custom credentials does it
    return boto3.Session(botocore_session=core, region_name=region)
