"""Azure: the job's token is an application's assertion, and Entra gives a token per resource."""

from ci_identity.exchangers.azure.credential import AzureCredential
from ci_identity.exchangers.azure.exchange import AzureExchanger

__all__ = ["AzureCredential", "AzureExchanger"]
