"""Kubernetes: a token of a service account, bound to a Secret whose deletion ends it."""

from ci_identity.exchangers.kubernetes.credential import KubernetesCredential
from ci_identity.exchangers.kubernetes.exchange import KubernetesExchanger

__all__ = ["KubernetesCredential", "KubernetesExchanger"]
