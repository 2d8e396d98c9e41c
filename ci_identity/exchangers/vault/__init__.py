"""Vault and OpenBao: one login, one narrowed child for the step, and the end of both."""

from ci_identity.exchangers.vault.credential import VaultCredential
from ci_identity.exchangers.vault.exchange import VaultExchanger

__all__ = ["VaultCredential", "VaultExchanger"]
