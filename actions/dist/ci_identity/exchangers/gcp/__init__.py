"""Google Cloud: a federated token, perhaps one of a service account, perhaps within a boundary."""

from ci_identity.exchangers.gcp.credential import GcpCredential
from ci_identity.exchangers.gcp.exchange import GcpExchanger

__all__ = ["GcpCredential", "GcpExchanger"]
