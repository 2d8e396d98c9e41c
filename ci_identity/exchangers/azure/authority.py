"""Where a tenant signs in, and for whom the job's token must be made there. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ci_identity._record import Record
from ci_identity.model import AzureTarget

VARIABLE = "AZURE_AUTHORITY_HOST"
PUBLIC = "https://login.microsoftonline.com"

_EXCHANGE = "api://AzureADTokenExchange"
# https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust; the last
# three as Microsoft's own SDK for JavaScript has them.
_AUDIENCES = {
    "login.microsoftonline.us": f"{_EXCHANGE}USGov",
    "login.partner.microsoftonline.cn": f"{_EXCHANGE}China",
    "login.chinacloudapi.cn": f"{_EXCHANGE}China",
    "login.sovcloud-identity.fr": f"{_EXCHANGE}France",
    "login.sovcloud-identity.de": f"{_EXCHANGE}Germany",
    "login.sovcloud-identity.sg": f"{_EXCHANGE}GovSG",
}


class Authority(Record):
    """The address of a cloud's Entra.

    Attributes:
        url: the address, unchecked.
        named: what names it, for messages: a key of the grant, or a variable.
        variables: the names of the variables that chose it.
    """

    url: str
    named: str
    variables: tuple[str, ...] = ()

    @property
    def audience(self) -> str:
        """The audience that federated credentials have in this cloud."""
        return _AUDIENCES.get(urlsplit(self.url).hostname or "", _EXCHANGE)


def resolve(target: AzureTarget, environ: Mapping[str, str]) -> Authority:
    """Return the authority for `target`: the grant's own, a configured one, the public cloud's.

    Source: https://learn.microsoft.com/python/api/azure-identity, `AzureAuthorityHosts`.
    """
    if target.authority:
        return Authority(url=target.authority.rstrip("/"), named="azure.authority")
    if host := environ.get(VARIABLE):
        url = host if "://" in host else f"https://{host}"  # as Azure's own SDKs take it
        return Authority(url=url.rstrip("/"), named=VARIABLE, variables=(VARIABLE,))
    return Authority(url=PUBLIC, named="azure.authority")
