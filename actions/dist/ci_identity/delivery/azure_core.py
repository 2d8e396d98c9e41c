"""An Azure SDK's credential that gives the tokens of the moment, so that it lives and ends so."""

from collections.abc import Callable
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

from ci_identity._text import shortened
from ci_identity.errors import ConfigurationError
from ci_identity.model import AzureToken, AzureTokens

_DEFAULT = "/.default"

_LONG_AGO = 1
"""When a client was to ask again, in Unix time, which leaves no room for the delay it may add."""


class SessionCredential:
    """What Azure's SDKs for Python take as a `credential` (azure-core's `TokenCredential`).

    Args:
        grant: the grant's name, for messages.
        tokens: the tokens as they are now. What it raises is what the client's call raises.
    """

    def __init__(self, grant: str, tokens: Callable[[], AzureTokens]) -> None:
        self._grant = grant
        self._tokens = tokens

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: it is the session that ends it."""

    def close(self) -> None:
        """Do nothing, likewise; clients call it."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ARG002  # as theirs
        """Return the token for the resource of one scope, such as `https://vault.azure.net/.default`.

        Raises:
            ConfigurationError: the grant has none for it, or the session is not open.
            NotRenewedError: it has ended.
        """
        token = self._token(scopes)
        return AccessToken(token.access_token.reveal(), int(token.expires_at.timestamp()))

    def get_token_info(
        self,
        *scopes: str,
        options: TokenRequestOptions | None = None,  # noqa: ARG002  # as theirs
    ) -> AccessTokenInfo:
        """Return the same, to be asked for again at every request, which costs nothing here."""
        token = self._token(scopes)
        ends = int(token.expires_at.timestamp())
        value = token.access_token.reveal()
        return AccessTokenInfo(value, ends, refresh_on=_LONG_AGO)

    def _token(self, scopes: tuple[str, ...]) -> AzureToken:
        tokens = self._tokens()
        (scope,) = scopes if len(scopes) == 1 else ("",)
        if token := tokens.of(scope.removesuffix(_DEFAULT)):
            return token
        message = f"the grant {self._grant} has no token for {shortened(' '.join(scopes))}"
        raise ConfigurationError(message, hint="add the resource to `resources` of the grant")
