"""Which providers can be reaped, and by which grants: the place to add another one to."""

from collections.abc import Iterable, Mapping

from ci_identity.errors import ConfigurationError
from ci_identity.exchangers import exchanger_for
from ci_identity.model import AwsTarget, Grant, KubernetesTarget, VaultTarget
from ci_identity.reaping import aws, kubernetes, vault
from ci_identity.reaping.plan import Reaper


def reaper_for(grant: Grant, environ: Mapping[str, str], cut_targets: Iterable[str] = ()) -> Reaper:
    """Return who ends, by `grant`, what jobs left at its provider.

    Args:
        grant: the reaper's own.
        environ: the variables of the job that reaps.
        cut_targets: the targets that the ledgers tell a cut of.

    Raises:
        ConfigurationError: nothing can be ended by such a grant.
    """
    if isinstance(grant.target, AwsTarget):
        return aws.AwsReaper(grant, cut_targets)
    if isinstance(grant.target, VaultTarget):
        return vault.VaultReaper(grant, exchanger_for(grant, environ).target)
    if isinstance(grant.target, KubernetesTarget):
        return kubernetes.KubernetesReaper(grant.name, grant.target, environ)
    message = f"the grant {grant.name} is for a provider where nothing can be ended by handle"
    hint = "elsewhere a credential ends by itself: name the grant of the reaper's own role"
    raise ConfigurationError(message, hint=hint)


def unreached(target: str) -> str:
    """Return why, without a reaper, nothing ends what is from `target` before its time."""
    if aws.Role.from_arn(target):
        return "no aws grant was given, by whose role it could be cut"
    if vault.TARGET.fullmatch(target):
        return "no vault grant was given, by which it could be revoked"
    if kubernetes.TARGET.fullmatch(target):
        return "no kubernetes grant was given, by which its Secret could be deleted"
    return "its provider cannot end it before"
