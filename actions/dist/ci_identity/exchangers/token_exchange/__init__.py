"""Any server that speaks RFC 8693: the job's token for one of its own, and RFC 7009 for its end."""

from ci_identity.exchangers.token_exchange.credential import TokenCredential
from ci_identity.exchangers.token_exchange.exchange import TokenExchanger

__all__ = ["TokenCredential", "TokenExchanger"]
