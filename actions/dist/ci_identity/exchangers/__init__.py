"""exchange: a subject token for a narrow credential."""

from collections.abc import Mapping

from ci_identity.exchangers.interface import Exchanger, Reclaimer
from ci_identity.model import (
    AwsTarget,
    AzureTarget,
    GcpTarget,
    Grant,
    KubernetesTarget,
    VaultTarget,
)


def exchanger_for(grant: Grant, environ: Mapping[str, str]) -> Exchanger:
    """Return the exchanger for the grant's target; a provider's SDK is imported only here.

    Raises:
        ConfigurationError: the target's address is missing or cannot be used.
    """
    if isinstance(grant.target, VaultTarget):
        from ci_identity.exchangers.vault import VaultExchanger  # noqa: PLC0415  # on demand

        return VaultExchanger(grant.target, environ)
    if isinstance(grant.target, AwsTarget):
        from ci_identity.exchangers.aws import AwsExchanger  # noqa: PLC0415  # on demand

        return AwsExchanger(grant.target, environ)
    if isinstance(grant.target, GcpTarget):
        from ci_identity.exchangers.gcp import GcpExchanger  # noqa: PLC0415  # on demand

        return GcpExchanger(grant.target, environ)
    if isinstance(grant.target, AzureTarget):
        from ci_identity.exchangers.azure import AzureExchanger  # noqa: PLC0415  # on demand

        return AzureExchanger(grant.target, environ)
    if isinstance(grant.target, KubernetesTarget):
        from ci_identity.exchangers.kubernetes import KubernetesExchanger  # noqa: PLC0415  # on demand

        return KubernetesExchanger(grant.target, environ)
    from ci_identity.exchangers.token_exchange import TokenExchanger  # noqa: PLC0415  # on demand

    return TokenExchanger(grant.target, environ)


def reclaimer_for(grant: Grant, environ: Mapping[str, str]) -> Reclaimer | None:
    """Return who ends by handle what was issued for the grant; `None` where only time does.

    Raises:
        ConfigurationError: the target's address is missing or cannot be used.
    """
    if isinstance(grant.target, VaultTarget):
        from ci_identity.exchangers.vault.reclaim import VaultReclaimer  # noqa: PLC0415  # on demand

        return VaultReclaimer(grant.target, environ)
    if isinstance(grant.target, KubernetesTarget):
        from ci_identity.exchangers.kubernetes.reclaim import (  # noqa: PLC0415  # on demand
            KubernetesReclaimer,
        )

        return KubernetesReclaimer(grant.target, environ)
    return None
