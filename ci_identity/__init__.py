"""A CI job proves who it is, receives a credential made for one step, and loses it when it ends.

    import ci_identity

    with ci_identity.session("migrate-db", step="migrate") as session:
        subprocess.run(["make", "migrate"], env=session.environ, check=True)
    session.outcome  # Outcome.REVOKED

The names below are the public API; everything else may change. They are imported when first used,
so that `import ci_identity` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # typing's own takes 3 ms to import (docs/adr/0021-the-cost-of-a-start.md)
if TYPE_CHECKING:
    from ci_identity.errors import CiIdentityError as CiIdentityError
    from ci_identity.errors import ConfigurationError as ConfigurationError
    from ci_identity.errors import DeliveryError as DeliveryError
    from ci_identity.errors import DeniedError as DeniedError
    from ci_identity.errors import ExchangeError as ExchangeError
    from ci_identity.errors import IdentityError as IdentityError
    from ci_identity.errors import LedgerError as LedgerError
    from ci_identity.errors import ProviderUnavailableError as ProviderUnavailableError
    from ci_identity.errors import RevocationError as RevocationError
    from ci_identity.grants.decide import decide as decide
    from ci_identity.model import AwsTarget as AwsTarget
    from ci_identity.model import AzureTarget as AzureTarget
    from ci_identity.model import Decision as Decision
    from ci_identity.model import GcpTarget as GcpTarget
    from ci_identity.model import Grant as Grant
    from ci_identity.model import JobIdentity as JobIdentity
    from ci_identity.model import KubernetesTarget as KubernetesTarget
    from ci_identity.model import Lease as Lease
    from ci_identity.model import Mismatch as Mismatch
    from ci_identity.model import Outcome as Outcome
    from ci_identity.model import PolicyStatement as PolicyStatement
    from ci_identity.model import SecretReference as SecretReference
    from ci_identity.model import TokenExchangeTarget as TokenExchangeTarget
    from ci_identity.model import VaultTarget as VaultTarget
    from ci_identity.model import Wanted as Wanted
    from ci_identity.redaction.stream import Redactor as Redactor
    from ci_identity.run import run as run
    from ci_identity.secret import Secret as Secret
    from ci_identity.session import Session as Session
    from ci_identity.session import session as session
    from ci_identity.sources import detect as detect

_HOME = {
    "CiIdentityError": "errors",
    "ConfigurationError": "errors",
    "DeliveryError": "errors",
    "DeniedError": "errors",
    "ExchangeError": "errors",
    "IdentityError": "errors",
    "LedgerError": "errors",
    "ProviderUnavailableError": "errors",
    "RevocationError": "errors",
    "decide": "grants.decide",
    "AwsTarget": "model",
    "AzureTarget": "model",
    "Decision": "model",
    "GcpTarget": "model",
    "Grant": "model",
    "JobIdentity": "model",
    "KubernetesTarget": "model",
    "Lease": "model",
    "Mismatch": "model",
    "Outcome": "model",
    "PolicyStatement": "model",
    "SecretReference": "model",
    "TokenExchangeTarget": "model",
    "VaultTarget": "model",
    "Wanted": "model",
    "Redactor": "redaction.stream",
    "run": "run",
    "Secret": "secret",
    "Session": "session",
    "session": "session",
    "detect": "sources",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module 'ci_identity' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"ci_identity.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)


class _Package(ModuleType):
    """This package, where `session` and `run` are the functions, not the modules they live in.

    The import system binds a submodule to its name in the package as soon as anybody imports it;
    a property of the package's class goes before that (Python data model, 3.3.2.1).
    """

    @property
    def session(self) -> object:
        return __getattr__("session")

    @session.setter
    def session(self, module: ModuleType) -> None:
        """Leave the name to the function."""

    @property
    def run(self) -> object:
        return __getattr__("run")

    @run.setter
    def run(self, module: ModuleType) -> None:
        """Leave the name to the function."""


sys.modules[__name__].__class__ = _Package
