"""Which cloud's way of handing over a grant has: at the endpoint, or in variables outright."""
# ruff: noqa: PLC0415  # one cloud never pays for another

from collections.abc import Callable, Mapping
from typing import cast

from ci_identity.delivery.interface import Offer
from ci_identity.errors import UndeliverableError
from ci_identity.model import (
    AwsKeys,
    AwsTarget,
    AzureTarget,
    AzureTokens,
    Delivered,
    DeliveryMode,
    GcpTarget,
    GcpToken,
    Grant,
    KubernetesTarget,
    KubernetesToken,
    Served,
    TokenExchangeTarget,
    VaultTarget,
)


def offer_for(
    grant: Grant, mode: DeliveryMode, lease_id: str, served: Callable[[], Served]
) -> Offer | None:
    """Return what of a grant is asked for at the endpoint; `None` if all of it is in variables.

    Args:
        grant: the grant.
        mode: how the child is to have it.
        lease_id: our id of the lease, for clients that can name it in their requests.
        served: returns what is served, as it is now. It raises a `CiIdentityError` if it is over.
    """
    if mode is DeliveryMode.ENV:
        return None
    match grant.target:
        case AwsTarget(region=region):
            from ci_identity.delivery.aws import AwsOffer

            return AwsOffer(
                grant=grant.name,
                region=region,
                is_default=mode is DeliveryMode.ENDPOINT,
                keys=cast("Callable[[], AwsKeys]", served),
            )
        case GcpTarget() as target:
            from ci_identity.delivery.gcp import GcpOffer

            token = cast("Callable[[], GcpToken]", served)
            return GcpOffer(
                grant=grant.name,
                target=target,
                lease_id=lease_id,
                token=token,
                universe=token().universe,
            )
        case AzureTarget() as target:
            from ci_identity.delivery.azure import AzureOffer

            return AzureOffer(
                grant=grant.name,
                target=target,
                tokens=cast("Callable[[], AzureTokens]", served),
            )
        case KubernetesTarget() as target:
            from ci_identity.delivery.kubernetes import KubernetesOffer

            return KubernetesOffer(
                grant=grant.name,
                target=target,
                token=cast("Callable[[], KubernetesToken]", served),
            )
        case _:
            return None


def check_mode(grant: Grant, mode: DeliveryMode) -> DeliveryMode:
    """Return `mode`, if what the grant gives can be handed over so.

    Raises:
        UndeliverableError: it cannot.
    """
    if mode is DeliveryMode.ENV and isinstance(grant.target, KubernetesTarget):
        message = f"the grant {grant.name} is for kubernetes, whose clients read no token variable"
        raise UndeliverableError(
            message,
            cause="delivery is env, which puts a credential into variables",
            hint="leave the delivery out: the step gets a KUBECONFIG that asks its endpoint",
        )
    return mode


def outright(grant: Grant, served: Served) -> Mapping[str, Delivered]:
    """Return the variables of a child that is given what is served, as it is now."""
    match grant.target, served:
        case AwsTarget(region=region), AwsKeys():
            from ci_identity.delivery.aws import key_variables

            return key_variables(served, region)
        case GcpTarget() as target, GcpToken():
            from ci_identity.delivery import gcp

            return gcp.token_variables(served, target)
        case AzureTarget(), AzureTokens():
            from ci_identity.delivery import azure

            return azure.token_variables(served)
        case _:
            return {}


def promises(grant: Grant, mode: DeliveryMode) -> tuple[str, ...]:
    """Return the names of the variables that two grants of one child cannot both give."""
    match grant.target:
        case VaultTarget(secrets=secrets):
            return tuple(secrets)
        case TokenExchangeTarget() as target:
            return (target.variable_for(grant.name),)
        case AwsTarget() if mode is DeliveryMode.ENV:
            from ci_identity.delivery.aws import KEYS

            return KEYS
        case GcpTarget() if mode is DeliveryMode.ENV:
            from ci_identity.delivery.gcp import TOKENS

            return TOKENS
        case AzureTarget() if mode is DeliveryMode.ENV:
            from ci_identity.delivery.azure import TOKEN

            return (TOKEN,)
        case _:
            return ()
