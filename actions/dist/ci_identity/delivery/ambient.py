"""The variables that mint, hold or lead to a credential, of every CI and cloud that we know of."""

from enum import StrEnum

from ci_identity._record import Record


class Power(StrEnum):
    """What a variable could do for a step that was not granted it."""

    MINT = "mints credentials"
    HOLD = "holds a credential"
    REDIRECT = "leads to another credential"


class Ambient(Record):
    """A variable that a step does not inherit.

    Attributes:
        name: its name; a `*` at the end stands for any rest.
        power: what it could do.
        reason: what it is, for people.
    """

    name: str
    power: Power
    reason: str


_TABLE = {
    Power.MINT: {
        "ACTIONS_ID_TOKEN_REQUEST_*": "GitHub, Forgejo: asks for id tokens of any audience",
        "SYSTEM_OIDCREQUESTURI SYSTEM_ACCESSTOKEN": "Azure DevOps: asks for id tokens",
        "BUILDKITE_AGENT_ACCESS_TOKEN BUILDKITE_AGENT_TOKEN": "Buildkite: asks for id tokens",
        "BUILDKITE_AGENT_JOB_API_*": "Buildkite: changes the job's environment",
        "SPIFFE_ENDPOINT_SOCKET": "SPIFFE: the workload API gives its callers identities",
        "VAULT_SECRET_ID": "Vault: logs in as an AppRole",
    },
    Power.HOLD: {
        "CI_IDENTITY_ENDPOINT_TOKEN": "the bearer of another step's endpoint",
        "CI_IDENTITY_TOKEN": "the id token that was handed to ci-identity",
        "CI_JOB_JWT CI_JOB_JWT_V1 CI_JOB_JWT_V2": "GitLab before 17: an id token",
        "CIRCLE_OIDC_TOKEN CIRCLE_OIDC_TOKEN_V2": "CircleCI: an id token",
        "BITBUCKET_STEP_OIDC_TOKEN": "Bitbucket: an id token",
        "SEMAPHORE_OIDC_TOKEN": "Semaphore: an id token",
        "ACTIONS_RUNTIME_TOKEN": "GitHub: writes caches and artifacts that later jobs trust",
        "ENDPOINT_AUTH_* servicePrincipalKey": "Azure DevOps: a service connection's secret",
        "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN": "AWS: a key, wins everywhere",
        "AWS_ACCESS_KEY AWS_SECRET_KEY AWS_SECURITY_TOKEN": "AWS: a key, as older SDKs name it",
        "AWS_BEARER_TOKEN_*": "AWS: a service's API key",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "AWS: the bearer of a credentials endpoint",
        "GOOGLE_CREDENTIALS GOOGLE_CLOUD_KEYFILE_JSON GCLOUD_KEYFILE_JSON": "GCP: a key file",
        "GOOGLE_CLOUD_KEYFILE GOOGLE_KEYFILE_JSON": "GCP: a key file, as older clients name it",
        "GOOGLE_OAUTH_ACCESS_TOKEN CLOUDSDK_AUTH_ACCESS_TOKEN": "GCP: an access token",
        "AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_* AZURE_CREDENTIALS": "Azure: a login",
        "AZURE_USERNAME AZURE_PASSWORD AZURE_FEDERATED_TOKEN": "Azure: a login",
        "ARM_CLIENT_SECRET ARM_CLIENT_CERTIFICATE* ARM_OIDC_TOKEN": "Azure: Terraform's login",
        "ARM_OIDC_REQUEST_TOKEN ARM_ACCESS_KEY ARM_SAS_TOKEN": "Azure: Terraform's login",
        "IDENTITY_HEADER MSI_SECRET": "Azure: the bearer of a managed-identity endpoint",
        "AZCOPY_SPA_* AZCOPY_OAUTH_TOKEN_INFO": "Azure: azcopy's login",
        "AZURE_ACCESS_TOKEN": "Azure: an access token",
        "VAULT_TOKEN BAO_TOKEN": "Vault, OpenBao: a token",
        "KUBE_TOKEN KUBE_PASSWORD KUBE_CLIENT_*": "Kubernetes: a login",
        "HELM_KUBETOKEN K8S_AUTH_API_KEY K8S_AUTH_PASSWORD": "Kubernetes: a login",
    },
    Power.REDIRECT: {
        "CI_IDENTITY_ENDPOINT": "another step's endpoint",
        "CI_IDENTITY_AGENT": "the job's agent, which may hold other grants",
        "AWS_PROFILE AWS_DEFAULT_PROFILE": "AWS: a profile goes before the endpoint",
        "AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE": "AWS: files of profiles and keys",
        "AWS_CREDENTIAL_FILE AWS_CREDENTIAL_PROFILES_FILE BOTO_CONFIG": "AWS: files of older SDKs",
        "AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN AWS_ROLE_SESSION_NAME": "AWS: another role",
        "AWS_CONTAINER_* AWS_EC2_METADATA_*": "AWS: the machine's role",
        "AWS_CREDENTIAL_EXPIRATION": "AWS: when another key ends",
        "GOOGLE_APPLICATION_CREDENTIALS GOOGLE_GHA_CREDS_PATH": "GCP: a credential file",
        "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": "GCP: another account",
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "GCP: a credential file may run a command",
        "CLOUDSDK_CONFIG CLOUDSDK_ACTIVE_CONFIG_NAME": "GCP: gcloud's own logins",
        "CLOUDSDK_AUTH_* CLOUDSDK_CORE_ACCOUNT": "GCP: gcloud with another account",
        "GCE_METADATA_* NO_GCE_CHECK METADATA_SERVER_DETECTION": "GCP: the machine's account",
        "AZURE_CONFIG_DIR AZD_CONFIG_DIR": "Azure: the logins of az and azd",
        "AZURE_CLIENT_ID AZURE_FEDERATED_TOKEN_FILE": "Azure: another identity",
        "AZURE_TOKEN_CREDENTIALS": "Azure: another kind of login",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST IMDS_ENDPOINT": "Azure: the machine's identity",
        "IDENTITY_ENDPOINT IDENTITY_SERVER_THUMBPRINT MSI_ENDPOINT": "Azure: the host's identity",
        "AZCOPY_AUTO_LOGIN_TYPE AZCOPY_MSI_*": "Azure: azcopy with another identity",
        "ARM_CLIENT_* ARM_OIDC_* ARM_MSI_* ARM_USE_* ARM_ADO_*": "Azure: Terraform's login",
        "VAULT_AGENT_ADDR BAO_AGENT_ADDR": "Vault, OpenBao: an agent that adds its own token",
        "VAULT_CONFIG_PATH BAO_CONFIG_PATH": "Vault, OpenBao: may name a token helper",
        "KUBECONFIG KUBE_CONFIG_PATH*": "Kubernetes: another login",
        "KUBE_HOST KUBE_USER KUBE_CTX* HELM_KUBE* K8S_AUTH_*": "Kubernetes: another login",
        "KUBE_INSECURE KUBE_PROXY_URL KUBE_TLS_SERVER_NAME": "Kubernetes: another server",
        "KUBE_CLUSTER_CA_CERT_DATA": "Kubernetes: another CA",
        "KUBERC": "Kubernetes: a file of options for kubectl, another server's address too",
        "KUBERNETES_MASTER KUBERNETES_SERVICE_*": "Kubernetes: clients take the pod's token",
    },
}
AMBIENT = tuple(
    Ambient(name=name, power=power, reason=reason)
    for power, rows in _TABLE.items()
    for names, reason in rows.items()
    for name in names.split()
)
"""Measured with the SDKs, or from their documentation. A whole name counts before a prefix."""
_EXACT = {row.name: row for row in AMBIENT if not row.name.endswith("*")}
_PREFIXES = tuple(row for row in AMBIENT if row.name.endswith("*"))


def find_ambient(name: str) -> Ambient | None:
    """Return the row of `AMBIENT` that a variable's name falls under, if any."""
    exact = _EXACT.get(name)
    return exact or next((row for row in _PREFIXES if name.startswith(row.name[:-1])), None)
