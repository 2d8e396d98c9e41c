"""The nouns of the product: small, frozen, and with nothing secret outside a `Secret`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from ci_identity._record import Record, field
from ci_identity.secret import Secret

UnverifiedClaims = NewType("UnverifiedClaims", Mapping[str, object])
"""Claims of a token whose signature we did not check: the provider does. Good for early answers."""
DEFAULT_TTL = timedelta(minutes=15)
DEFAULT_MAX = timedelta(hours=6)

# ── identify ─────────────────────────────────────────────────────────────────────────────────


class SourceName(StrEnum):
    """Where a job's token can come from; what a grant's `source` can ask for by name."""

    GITHUB = "github"
    FORGEJO = "forgejo"
    GITLAB = "gitlab"
    BUILDKITE = "buildkite"
    CIRCLECI = "circleci"
    BITBUCKET = "bitbucket"
    AZURE_DEVOPS = "azure-devops"
    JENKINS = "jenkins"
    SEMAPHORE = "semaphore"
    TOKEN_FILE = "token-file"  # noqa: S105  # a name
    TOKEN_VARIABLE = "token-variable"  # noqa: S105  # a name
    KUBERNETES = "kubernetes"
    SPIFFE = "spiffe"
    MACHINE = "machine"


class SubjectToken(Record):
    """The job's OIDC token as a source found it (RFC 8693's subject token).

    Attributes:
        token: the JWT itself.
        claims: its claims, unverified.
        source: the name of the source that found it (`github`, `gitlab`, `token-file`).
        step: the CI's own id of the running step, where the CI has one.
        debug: whether the run was started with debug logging or a debug shell, as far as known.
        fork: whether the run comes from a fork, where the CI's variables tell what no claim does.
        steered_by: names of the environment variables that chose a proxy or a CA for its minting.
    """

    token: Secret
    claims: UnverifiedClaims
    source: str
    step: str | None = None
    debug: bool = False
    fork: bool | None = None
    steered_by: tuple[str, ...] = ()


class JobIdentity(Record):
    """Who a job is, in words that are the same for every CI. Nothing here is verified by us.

    Attributes:
        source: the name of the source that found the token.
        issuer, subject, audience: `iss`, `sub` and `aud` of the token (OIDC Core, section 2).
        repository, repository_id: the repository or project that the job runs for.
        ref: the git ref the job runs on, as the CI writes it.
        environment: the deployment environment, if the job has one.
        run: the id of the run or pipeline; with the attempt where the CI counts attempts.
        job: the id of the job within the run.
        event: what started the run.
        actor: who started it.
        step: the CI's own id of the running step, or `None` where it has none.
        fork: whether the run comes from a fork; `None` where nothing can tell, which counts as one.
        debug: whether the run is a debug run.
        workload: what kind of workload or machine the token names, if it names no CI job.
        expires_at: when the token ends (UTC).
        claims: every claim of the token.
    """

    source: str
    issuer: str
    subject: str
    audience: tuple[str, ...]
    repository: str | None = None
    repository_id: str | None = None
    ref: str | None = None
    environment: str | None = None
    run: str | None = None
    job: str | None = None
    event: str | None = None
    actor: str | None = None
    step: str | None = None
    fork: bool | None = None
    debug: bool = False
    workload: SourceName | None = None
    expires_at: datetime
    claims: UnverifiedClaims = field(repr=False)


# ── decide ───────────────────────────────────────────────────────────────────────────────────


class Accept(StrEnum):
    """The built-in refusals that a grant can override, one by one (`accept:`)."""

    FORK = "fork"
    PULL_REQUEST_TARGET = "pull_request_target"
    WORKFLOW_RUN = "workflow_run"
    DEBUG = "debug"
    AUDIENCES = "audiences"


class Wanted(Record):
    """One accepted value of a claim: text that must be equal, or a glob that says it is one."""

    text: str
    is_glob: bool = False

    def __str__(self) -> str:
        return f"{{glob: {self.text}}}" if self.is_glob else self.text


class SecretReference(Record):
    """One variable of the child and where in Vault its value is: `path#field`.

    Attributes:
        path, field: the API path, and the field of its answer.
        is_public: whether the value may be seen in a log.
        parameters: what is written to the path, which then issues the value; `None` if it is read.
        ttl: the life to ask for there, where it is less than the grant's.
        line: where it stands in the file, for messages; 0 where it is `path#field` alone.
    """

    path: str
    field: str
    is_public: bool = False
    parameters: Mapping[str, str] | None = None
    ttl: timedelta | None = None
    line: int = 0


class VaultTarget(Record):
    """A role of a Vault or OpenBao JWT auth method, and what the step needs from there."""

    role: str
    mount: str = "jwt"
    address: str | None = None
    namespace: str | None = None
    auth_namespace: str | None = None
    policies: tuple[str, ...] = ()
    secrets: Mapping[str, SecretReference] = field(default_factory=dict[str, SecretReference])


class PolicyStatement(Record):
    """One line of a friendly session policy: these actions on these resources, no more."""

    allow: tuple[str, ...]
    on: tuple[str, ...]


class AwsTarget(Record):
    """An AWS role to assume with the job's token; `policy` is friendly form or raw JSON text."""

    role: str
    region: str | None = None
    policy: tuple[PolicyStatement, ...] | str = ()
    policy_arns: tuple[str, ...] = ()
    endpoint: str | None = None


class GcpTarget(Record):
    """A workload identity provider, and the service account to impersonate if any.

    Attributes:
        provider: its full resource name, with the project's number.
        service_account: the address of the one to impersonate.
        delegates: those in between, each of which may impersonate the next.
        scopes: OAuth scopes, in full or without `https://www.googleapis.com/auth/`.
        boundary: the rules of a credential access boundary: `resource`, `role`, `condition`.
        project: the project that clients work in, and are billed to.
        universe: the domain of the cloud's addresses, where it is not Google's public one.
    """

    provider: str
    service_account: str | None = None
    delegates: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ("cloud-platform",)
    boundary: tuple[Mapping[str, str], ...] = ()
    project: str | None = None
    universe: str | None = None


AZURE_TTL = timedelta(minutes=90)
"""What a token of Entra lives at most, unless a tenant's policy says otherwise: nobody can ask for
less. https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes.
"""


class AzureTarget(Record):
    """An Entra application, and the resources that tokens are asked for.

    Attributes:
        tenant, client: the ids of the directory and of the application.
        resources: what tokens are asked for, one each: `https://vault.azure.net`.
        authority: the address that the tenant signs in at, where it is not the public cloud's.
    """

    tenant: str
    client: str
    resources: tuple[str, ...]
    authority: str | None = None


KUBERNETES_TTL = timedelta(minutes=10)
"""The shortest life that an API server gives a token (Kubernetes, `ValidateTokenRequest`)."""


class KubernetesTarget(Record):
    """A service account of a cluster that trusts the CI's issuer.

    Attributes:
        server: the address of the API server.
        namespace, service_account: whose token is asked for.
        audience: the audience of the job's token that the cluster expects.
        token_audiences: those of the issued token; empty for the API server's own.
        ca_file: the cluster's CA in PEM, where it is none that the machine trusts.
    """

    server: str
    namespace: str
    service_account: str
    audience: str
    token_audiences: tuple[str, ...] = ()
    ca_file: str | None = None


class TokenExchangeTarget(Record):
    """A token endpoint that speaks RFC 8693, and where its tokens are revoked (RFC 7009).

    Attributes:
        url: the token endpoint.
        audience: whom the token is for; also the audience of the job's token, if the grant names
            no other.
        scope: the scopes to ask for, with a space between two; without it, the server's default.
        revoke_url: the revocation endpoint, if there is one.
        client_id: who asks, where the server wants that of a client that has no secret.
        subject_token_type: as what the job's token is presented: `jwt` or `id_token`.
        parameters: more fields of the request, as the server's own documentation has them.
        variable: the variable of the child; see `variable_for`.
    """

    url: str
    audience: str
    scope: str | None = None
    revoke_url: str | None = None
    client_id: str | None = None
    subject_token_type: str = "jwt"  # noqa: S105  # a type, not a token
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    variable: str | None = None

    def variable_for(self, grant: str) -> str:
        """Return the child's variable: the target's own, or `PARTNER_TOKEN` for `partner`."""
        name = grant.upper().replace("-", "_").replace(".", "_")
        return self.variable or f"{name}_TOKEN"


Target = VaultTarget | AwsTarget | GcpTarget | AzureTarget | KubernetesTarget | TokenExchangeTarget


class Grant(Record):
    """One row of the grants file: for which jobs, for how long, and for what.

    Attributes:
        name: its name in the file.
        conditions: `for`; claim name to accepted values, all of which must match. Never empty.
        target: what the token is exchanged for.
        ttl: the life of each credential.
        max: how long a step may go on having its credential renewed.
        steps: the CI's step ids that may use it; empty means any.
        accept: the built-in refusals it overrides.
        audience: the audience to ask the CI for, if the target's default is not wanted.
        source: where the token must come from; `None` for any CI, but for no mere workload.
        line: where it stands in the file, for messages.
    """

    name: str
    conditions: Mapping[str, tuple[Wanted, ...]]
    target: Target
    ttl: timedelta = DEFAULT_TTL
    max: timedelta = DEFAULT_MAX
    steps: tuple[str, ...] = ()
    accept: frozenset[Accept] = frozenset()
    audience: str | None = None
    source: SourceName | None = None
    description: str = ""
    line: int = 0


class Mismatch(Record):
    """One reason why a grant is not for a job.

    Attributes:
        claim: the claim's name, or the name of the built-in refusal.
        wanted: what the grant asks for, as text.
        got: what the job has, or `None` if it has no such claim.
        remark: what is likely behind it, if we can tell; else empty.
    """

    claim: str
    wanted: str
    got: str | None
    remark: str = ""


class Decision(Record):
    """Whether a grant is for a job, and every reason why not."""

    grant: str
    mismatches: tuple[Mismatch, ...]

    @property
    def is_allowed(self) -> bool:
        """True if nothing speaks against it."""
        return not self.mismatches


# ── exchange ─────────────────────────────────────────────────────────────────────────────────


class Lease(Record):
    """One credential from issue to end.

    Attributes:
        id: our own name for it, unique, in every ledger entry about it.
        grant: the grant's name.
        target: which role or account, in the words of the provider's API.
        expires_at: when it ends by itself (UTC); never later than was asked.
    """

    id: str
    grant: str
    target: str
    expires_at: datetime


class Handle(Record):
    """What a reaper needs to end something that was issued. Never a secret.

    Attributes:
        kind: what it is: `accessor`, `lease`, `secret`, `certificate`; `expiring` can only be
            waited for.
        value: the provider's name for it.
        expires_at: when it ends by itself (UTC).
        fingerprint: SHA-256 of the issued token, in hex, where a token was issued.
        packed_policy: how much of AWS's limit for session policies is used, in percent.
    """

    kind: str
    value: str
    expires_at: datetime | None = None
    fingerprint: str | None = None
    packed_policy: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class AwsKeys(Record):
    """A session of AWS, as its SDKs use it.

    Attributes:
        access_key_id: names the session; no secret.
        secret_access_key, session_token: the secrets.
        expires_at: when it ends in effect (UTC): by its own end or by its policy's deadline.
    """

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    expires_at: datetime


class GcpToken(Record):
    """An access token of Google Cloud.

    Attributes:
        access_token: the token itself.
        expires_at: when it ends (UTC).
        universe: the domain whose token it is, where that is not Google's public one.
    """

    access_token: Secret
    expires_at: datetime
    universe: str | None = None


class AzureToken(Record):
    """An access token of Entra for one resource.

    Attributes:
        resource: what it is for, as the grant writes it.
        access_token: the token itself.
        expires_at: when it ends (UTC).
    """

    resource: str
    access_token: Secret
    expires_at: datetime


class AzureTokens(Record):
    """What a grant for Azure gives: a token for each of its resources.

    Attributes:
        client: the id of the application that they are of.
        tokens: the tokens, in the order of the grant; never empty.
    """

    client: str
    tokens: tuple[AzureToken, ...]

    @property
    def expires_at(self) -> datetime:
        """When the first of them ends (UTC)."""
        return min(token.expires_at for token in self.tokens)

    def of(self, resource: str) -> AzureToken | None:
        """Return the token for `resource`, written with or without a slash at its end."""
        wanted = resource.rstrip("/")
        return next((one for one in self.tokens if one.resource.rstrip("/") == wanted), None)


class KubernetesToken(Record):
    """A token of a service account.

    Attributes:
        token: the token itself.
        expires_at: when it ends (UTC), by this machine's clock.
    """

    token: Secret
    expires_at: datetime


Served = AwsKeys | GcpToken | AzureTokens | KubernetesToken
"""What the loopback endpoint can hand over, beside plain variables."""


class DeliveryMode(StrEnum):
    """How a cloud's credential reaches the step.

    `ENDPOINT`: asked for at the loopback endpoint, and renewed there. `CREDENTIAL_PROCESS`: the
    same by way of a profile. `ENV`: in variables of the child; ends when it ends, not renewed.
    """

    ENDPOINT = "endpoint"
    CREDENTIAL_PROCESS = "credential-process"
    ENV = "env"


class Outcome(StrEnum):
    """How a lease ended: the word is chosen for being true."""

    REVOKED = "revoked"
    EXPIRES = "expires"
    FAILED = "failed"
    CUT = "cut"


class Delivered(Record):
    """One variable for the child: its value, and whether it may be seen in the log."""

    value: Secret
    is_public: bool = False
