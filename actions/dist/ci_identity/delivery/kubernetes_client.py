"""A client of the official Python library that asks for the token at every request."""

from collections.abc import Callable

from kubernetes import client

from ci_identity.model import KubernetesTarget, KubernetesToken


def api_client(token: Callable[[], KubernetesToken], target: KubernetesTarget) -> client.ApiClient:
    """Return a client whose requests carry what `token` returns by then.

    Args:
        token: the token as it is now. What it raises is what the client's call raises.
        target: the grant's `kubernetes:`.
    """
    configuration = client.Configuration(host=target.server.rstrip("/"))
    if target.ca_file:
        configuration.ssl_ca_cert = target.ca_file

    def refresh(configuration: client.Configuration) -> None:
        configuration.api_key["authorization"] = f"Bearer {token().token.reveal()}"

    refresh(configuration)  # without a first one it would never ask for another
    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # theirs is untyped
    return client.ApiClient(configuration)
