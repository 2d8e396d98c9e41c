"""exchange: a subject token for a narrow credential."""

from collections.abc import Mapping

from ci_identity.errors import UnsupportedTargetError
from ci_identity.exchangers.interface import Exchanger
from ci_identity.model import Grant, VaultTarget


def exchanger_for(grant: Grant, environ: Mapping[str, str]) -> Exchanger:
    """Return the exchanger for the grant's target; a provider's SDK is imported only here.

    Raises:
        UnsupportedTargetError: this version has none for it.
        ConfigurationError: the target's address is missing or cannot be used.
    """
    if isinstance(grant.target, VaultTarget):
        from ci_identity.exchangers.vault import VaultExchanger  # noqa: PLC0415  # on demand

        return VaultExchanger(grant.target, environ)
    kind = type(grant.target).__name__.removesuffix("Target").lower()
    message = f"the grant {grant.name} is for {kind}: this version cannot exchange tokens there yet"
    raise UnsupportedTargetError(message)
