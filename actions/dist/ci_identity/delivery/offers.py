"""Which cloud's way of handing over a grant has: at the endpoint, or in variables outright."""

from collections.abc import Callable, Mapping
from typing import cast

from ci_identity.delivery import azure
from ci_identity.delivery.aws import KEYS, AwsOffer, key_variables
from ci_identity.delivery.gcp import TOKENS, GcpOffer, token_variables
from ci_identity.delivery.interface import Offer
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
    Served,
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
            return AwsOffer(
                grant=grant.name,
                region=region,
                is_default=mode is DeliveryMode.ENDPOINT,
                keys=cast("Callable[[], AwsKeys]", served),
            )
        case GcpTarget() as target:
            token = cast("Callable[[], GcpToken]", served)
            return GcpOffer(
                grant=grant.name,
                target=target,
                lease_id=lease_id,
                token=token,
                universe=token().universe,
            )
        case AzureTarget() as target:
            return azure.AzureOffer(
                grant=grant.name,
                target=target,
                tokens=cast("Callable[[], AzureTokens]", served),
            )
        case _:
            return None


def outright(grant: Grant, served: Served) -> Mapping[str, Delivered]:
    """Return the variables of a child that is given what is served, as it is now."""
    match grant.target, served:
        case AwsTarget(region=region), AwsKeys():
            return key_variables(served, region)
        case GcpTarget() as target, GcpToken():
            return token_variables(served, target)
        case AzureTarget(), AzureTokens():
            return azure.token_variables(served)
        case _:
            return {}


def promises(grant: Grant, mode: DeliveryMode) -> tuple[str, ...]:
    """Return the names of the variables that two grants of one child cannot both give."""
    match grant.target:
        case VaultTarget(secrets=secrets):
            return tuple(secrets)
        case AwsTarget() if mode is DeliveryMode.ENV:
            return KEYS
        case GcpTarget() if mode is DeliveryMode.ENV:
            return TOKENS
        case AzureTarget() if mode is DeliveryMode.ENV:
            return (azure.TOKEN,)
        case _:
            return ()
