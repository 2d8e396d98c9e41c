"""What a session gives to the SDKs of a Python program. Each of these ends with the session."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

from ci_identity.errors import ConfigurationError, MissingDependencyError, NotRenewedError
from ci_identity.exchangers.interface import Credential
from ci_identity.model import (
    AwsKeys,
    AwsTarget,
    AzureTokens,
    GcpTarget,
    GcpToken,
    Grant,
    KubernetesTarget,
    KubernetesToken,
    Served,
)

if TYPE_CHECKING:
    import boto3
    import google.auth.credentials
    import hvac
    import kubernetes.client

    from ci_identity.delivery.azure_core import SessionCredential
    from ci_identity.exchangers.vault.client import VaultClient

S = TypeVar("S", bound=Served)


class Clients(ABC):
    """The part of a session that gives SDKs what they sign or log in with.

    Attributes:
        grant: the session's grant.
    """

    grant: Grant

    @property
    @abstractmethod
    def _open_credential(self) -> Credential | None:
        """What was issued, while the session is open."""

    def hvac(self) -> "hvac.Client":
        """Return an `hvac.Client` with the step's token; closing the session ends it.

        A narrowed token cannot look itself up, so `is_authenticated()` says False of it.

        Raises:
            ConfigurationError: the grant is not for Vault or OpenBao, or the session is not open.
            MissingDependencyError: hvac is not installed (the extra `vault`).
        """
        client = self.vault_client()
        try:
            return client.hvac()
        except ImportError:
            message = "session.hvac() needs hvac"
            raise MissingDependencyError(message, hint="pip install 'ci-identity[vault]'") from None

    def vault_client(self) -> "VaultClient":
        """Return what we talk to Vault with ourselves, with the step's token; see `hvac`."""
        from ci_identity.exchangers.vault import VaultCredential  # noqa: PLC0415  # on demand

        credential = self._open_credential
        if not isinstance(credential, VaultCredential) or credential.step is None:
            message = f"the session for {self.grant.name} has no open Vault token"
            raise ConfigurationError(message, hint="use a vault grant, inside the with block")
        return credential.step

    def boto3(self) -> "boto3.Session":
        """Return a `boto3.Session` that signs with the keys of the moment; closing ends it.

        Raises:
            ConfigurationError: the grant is not for AWS, or the session is not open.
            MissingDependencyError: boto3 is not installed (the extra `aws`).
        """
        self.aws_keys()
        try:
            from ci_identity.delivery.boto import boto3_session  # noqa: PLC0415  # on demand
        except ImportError:
            message = "session.boto3() needs boto3"
            raise MissingDependencyError(message, hint="pip install 'ci-identity[aws]'") from None
        return boto3_session(self.aws_keys, cast("AwsTarget", self.grant.target).region)

    def aws_keys(self) -> AwsKeys:
        """Return the keys of the moment, as `served`; the grant must be for AWS."""
        return self._served_as(AwsKeys, "AWS session")

    def google_credentials(self) -> "google.auth.credentials.Credentials":
        """Return Google credentials that give the token of the moment; closing ends them.

        Raises:
            ConfigurationError: the grant is not for Google Cloud, or the session is not open.
            MissingDependencyError: google-auth is not installed (the extra `gcp`).
        """
        self.gcp_token()
        try:
            from ci_identity.delivery.google import google_credentials  # noqa: PLC0415  # on demand
        except ImportError:
            message = "session.google_credentials() needs google-auth"
            raise MissingDependencyError(message, hint="pip install 'ci-identity[gcp]'") from None
        return google_credentials(self.gcp_token, cast("GcpTarget", self.grant.target))

    def azure_credential(self) -> "SessionCredential":
        """Return what Azure's SDKs take as a credential: it gives the tokens of the moment.

        Raises:
            ConfigurationError: the grant is not for Azure, or the session is not open.
            MissingDependencyError: azure-core is not installed (the extra `azure`).
        """
        self.azure_tokens()
        try:
            from ci_identity.delivery.azure_core import SessionCredential  # noqa: PLC0415  # on demand
        except ImportError:
            message = "session.azure_credential() needs azure-core"
            raise MissingDependencyError(message, hint="pip install 'ci-identity[azure]'") from None
        return SessionCredential(self.grant.name, self.azure_tokens)

    def kubernetes(self) -> "kubernetes.client.ApiClient":
        """Return an `ApiClient` whose requests have the token of the moment; closing ends it.

        Raises:
            ConfigurationError: the grant is not for Kubernetes, or the session is not open.
            MissingDependencyError: kubernetes is not installed (the extra `kubernetes`).
        """
        self.kubernetes_token()
        try:
            from ci_identity.delivery.kubernetes_client import api_client  # noqa: PLC0415  # on demand
        except ImportError:
            message = "session.kubernetes() needs kubernetes"
            hint = "pip install 'ci-identity[kubernetes]'"
            raise MissingDependencyError(message, hint=hint) from None
        return api_client(self.kubernetes_token, cast("KubernetesTarget", self.grant.target))

    def kubernetes_token(self) -> KubernetesToken:
        """Return the token of the moment, as `served`; the grant must be for Kubernetes."""
        return self._served_as(KubernetesToken, "token of Kubernetes")

    def azure_tokens(self) -> AzureTokens:
        """Return the tokens of the moment, as `served`; the grant must be for Azure."""
        return self._served_as(AzureTokens, "tokens of Azure")

    def gcp_token(self) -> GcpToken:
        """Return the token of the moment, as `served`; the grant must be for Google Cloud."""
        return self._served_as(GcpToken, "Google Cloud token")

    def served(self) -> Served:
        """Return what the grant gives at the moment; keep it no longer than one call takes.

        Raises:
            ConfigurationError: the grant gives variables only, or the session is not open.
            NotRenewedError: it has ended.
        """
        credential = self._open_credential
        if credential is None or credential.served is None:
            message = f"the session for {self.grant.name} has nothing open to serve"
            raise ConfigurationError(message, hint="use a cloud's grant, inside the with block")
        if credential.served.expires_at <= datetime.now(UTC):
            message = f"{self.grant.name}: what was issued has ended, and was not renewed"
            raise NotRenewedError(message)
        return credential.served

    def _served_as(self, kind: type[S], name: str) -> S:
        credential = self._open_credential
        if credential is None or not isinstance(credential.served, kind):
            message = f"the session for {self.grant.name} has no open {name}"
            raise ConfigurationError(message, hint="use a grant for that, inside the with block")
        return cast("S", self.served())
