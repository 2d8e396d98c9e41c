"""Everything that can go wrong, each with its own code, likely cause, fix and exit code.

    CiIdentityError
    ├── ConfigurationError        2   what was asked cannot be asked
    ├── IdentityError             3   the job's own OIDC token
    ├── DeniedError               4   no grant for this job
    ├── ExchangeError             5   the provider said no
    ├── ProviderUnavailableError  6   the provider did not answer; worth another try
    ├── DeliveryError             7   a credential was there but could not be handed over safely
    ├── LedgerError               8   the record could not be kept, so nothing was issued
    ├── RevocationError           9   a credential may still be alive
    └── InterruptedRunError       1   a signal came before the command was started

Codes are a contract: scripts and `docs/troubleshooting.md` rely on them. Messages hold no secret
and no provider's answer: where a provider's text matters it is mapped to one of these classes.
"""

from collections.abc import Mapping


class CiIdentityError(Exception):
    """Base of every error of this package.

    Attributes:
        code: stable name, printed as `error[code]`.
        exit_code: what the command exits with (`exec` uses 125 for all of them).
        cause: the likely cause, in a sentence.
        hint: what to do about it, in a sentence.
        retry_after: seconds after which the same call may succeed; `None` if it is permanent.
    """

    code: str = "internal"
    exit_code: int = 1
    cause: str = "this is a defect of ci-identity"
    hint: str = "report it with the command you ran; the message holds nothing secret"

    def __init__(
        self,
        message: str,
        *,
        cause: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.cause = cause or self.cause
        self.hint = hint or self.hint
        self.retry_after = retry_after


# ── 2 configuration ──────────────────────────────────────────────────────────────────────────


class ConfigurationError(CiIdentityError):
    """What was asked cannot be asked: a flag, a setting or the grants file is wrong."""

    code = "configuration"
    exit_code = 2
    cause = "a flag or an option has a value that cannot be used"
    hint = "see --help of the command"


class SettingError(ConfigurationError):
    """An environment variable that steers us has a value we cannot use."""

    code = "setting"
    cause = "an environment variable that ci-identity reads has a value it cannot use"
    hint = "correct or unset the variable that the message names"


class UnsendableError(ConfigurationError):
    """A value that goes into a request has a character that no request can have."""

    code = "unsendable"
    cause = "a value that goes into the header of a request has a line break, or is not Latin-1"
    hint = "look at the variables that the request is made of"


class InsecureAddressError(ConfigurationError):
    """An address is plain http, or is not an address of a server at all."""

    code = "insecure-address"
    cause = "plain http is accepted for loopback addresses only: a token would cross the network"
    hint = "use an https:// address"


class GrantsFileMissingError(ConfigurationError):
    """No grants file was found where it is looked for."""

    code = "grants-missing"
    cause = "there is no .ci-identity.yml here and none was named; in CI, was the code checked out?"
    hint = "write .ci-identity.yml, or name a file with --grants FILE or CI_IDENTITY_GRANTS"


class GrantsFileError(ConfigurationError):
    """The grants file breaks a rule; the message names the grant, the key and the line."""

    code = "grants-invalid"
    cause = "the grants file is read strictly, so that a slip never widens a grant"
    hint = "correct the line that the message names, then run: ci-identity check"


class UnknownGrantError(ConfigurationError):
    """The grant asked for is not in the grants file."""

    code = "grant-unknown"
    cause = "the name is misspelt, or the file is not the one you think"
    hint = "ci-identity check lists the grants of the file"


class MissingDependencyError(ConfigurationError):
    """A library that this grant or command needs is not installed."""

    code = "dependency-missing"
    cause = "the part of ci-identity that this needs is an optional extra"
    hint = "install the extra that the message names"


class PlatformError(ConfigurationError):
    """This system lacks what keeps a credential inside one process tree."""

    code = "platform"
    cause = "this needs Linux: prctl, sigtimedwait and /proc"
    hint = "run it on Linux; check, explain, whoami and doctor work elsewhere too"


class AwsRegionError(ConfigurationError):
    """AWS: there is no region to ask in, or it is none of the role's."""

    code = "aws-region"
    cause = "neither the grant nor AWS_REGION says which region's STS is to be asked"
    hint = (
        "write `region` into the grant (for one by inputs of the action, the input `aws-region`):"
        " the region that the step works in"
    )


class AwsPolicyError(ConfigurationError):
    """AWS: the grant's session policy is longer than AWS takes, or is not one."""

    code = "aws-policy"
    cause = "AWS takes 2,048 characters for a session's policy and its managed policies' ARNs"
    hint = (
        "join resources by a wildcard, put the policy into a managed one and name it in "
        "`policy_arns`, or split the grant"
    )


class TrustPolicyError(ConfigurationError):
    """What was given as a role's trust policy is none, or cannot be read."""

    code = "trust-policy"
    cause = "the file is not the trust policy of a role as AWS has it"
    hint = "aws iam get-role --role-name NAME --query Role.AssumeRolePolicyDocument > trust.json"


class InputError(ConfigurationError):
    """An input of the GitHub action is missing, or has a value that cannot be used."""

    code = "input"
    cause = "an input of the action (under `with:`) is missing, or has a value it cannot have"
    hint = "correct the input that the message names; the action's action.yml describes them all"


# ── 3 identity ───────────────────────────────────────────────────────────────────────────────


class IdentityError(CiIdentityError):
    """The job's identity token could not be had, or cannot be used."""

    code = "identity"
    exit_code = 3
    cause = "the job's OIDC token could not be had or cannot be used"
    hint = "run ci-identity whoami in the same job"


class NoIdentityError(IdentityError):
    """No source knows this place: it is not a CI job we know, and no token was handed over."""

    code = "identity-none"
    cause = "this does not look like a job of a CI that ci-identity knows"
    hint = (
        "run it in a CI job, hand a token over in CI_IDENTITY_TOKEN, or try it in a local world "
        "with: ci-identity sandbox"
    )


class IdTokenPermissionError(IdentityError):
    """GitHub Actions gave this job no way to ask for an id token."""

    code = "identity-permission"
    cause = "the job has no `permissions: id-token: write`"
    hint = (
        "add `permissions: {id-token: write, contents: read}` to the job; if the job is in a "
        "reusable workflow, its caller must grant it too"
    )


class ForkIdentityError(IdentityError):
    """The run comes from a fork, and the CI gives forks no id token."""

    code = "identity-fork"
    cause = "the run was started by a pull request from a fork; GitHub gives those no id token"
    hint = "run this job on push or after the merge; do not switch to pull_request_target for it"


class IdTokenMissingError(IdentityError):
    """The job has no id token, or GitLab's has none for the audience that the grant asks for."""

    code = "identity-id-tokens"
    cause = "the job declares no `id_tokens:` entry with this audience"
    hint = "add to the job: id_tokens: {CI_IDENTITY_TOKEN: {aud: <the audience in the message>}}"


class TokenRequestError(IdentityError):
    """The CI's token endpoint did not give a token."""

    code = "identity-request"
    cause = "the CI's token endpoint refused or was out of reach; it serves running jobs only"
    hint = "run the job again; if it stays, check the CI's status page and the job's permissions"


class TokenFileError(IdentityError):
    """The file that should hold the token cannot be read."""

    code = "identity-token-file"
    cause = "the file is missing, empty, too large or not readable by this user"
    hint = "check the path and that the token is written before this step"


class MalformedTokenError(IdentityError):
    """What was handed over is not a JSON Web Token with the claims every id token has."""

    code = "identity-malformed"
    cause = "the value is not an OIDC id token; perhaps a variable name instead of its value"
    hint = "hand over the token itself, three dot-separated parts that start with `ey`"


class AudienceError(IdentityError):
    """The token is made for another audience than the one asked for."""

    code = "identity-audience"
    cause = "the token was minted for another audience than the grant asks for"
    hint = (
        "give the job a token for that audience (GitLab: `aud:` of its `id_tokens`, the component's"
        " input `audience`), or make it the grant's `audience`"
    )


class ExpiredTokenError(IdentityError):
    """The token's life is over, or has not begun."""

    code = "identity-expired"
    cause = "the token is older than its life, or this machine's clock is wrong"
    hint = "ask for the token closer to its use; check the clock of the runner"


class IssuerError(IdentityError):
    """The token's issuer is not one that this CI can have."""

    code = "identity-issuer"
    cause = (
        "the token's `iss` does not fit the server that the job runs on; GitHub Enterprise Server "
        "issues as https://HOST/_services/token"
    )
    hint = "write the issuer that ci-identity whoami prints into the grant and the provider's trust"


class TokenCommandError(IdentityError):
    """The command that should print the token gave none."""

    code = "identity-command"
    cause = "the command failed, took too long, or is not one that gives tokens"
    hint = "run it by hand in the same job, where its own messages can be read"


class TwoCisError(IdentityError):
    """The variables are those of two CIs at once, so either could speak for the job."""

    code = "identity-two-cis"
    cause = "one CI's job runs inside another's, or a step has set what only a CI sets"
    hint = "name the one that is meant in the grant, as `source: NAME`, or unset the other's mark"


# ── 4 denied ─────────────────────────────────────────────────────────────────────────────────


class DeniedError(CiIdentityError):
    """The grant is not for this job; nothing was sent to a provider."""

    code = "denied"
    exit_code = 4
    cause = "the job, or its step, is not one that the grant is for"
    hint = "ci-identity explain GRANT shows claim by claim what was wanted and what the job has"


# ── 5 exchange ───────────────────────────────────────────────────────────────────────────────


class ExchangeError(CiIdentityError):
    """The provider refused to exchange the token, or what it gave cannot be used."""

    code = "exchange-refused"
    exit_code = 5
    cause = "the provider's own trust settings do not let this job have what the grant asks for"
    hint = "compare the provider's role with the claims that ci-identity whoami prints"


class VaultAudienceError(ExchangeError):
    """Vault: the token's audience is not bound to the role."""

    code = "vault-audience"
    cause = (
        "the role's `bound_audiences` has not this token's audience; Vault >= 1.17 and OpenBao "
        "refuse a token with `aud` when the role binds none"
    )
    hint = "set bound_audiences on the role to the grant's audience (default: its address)"


class VaultIssuerError(ExchangeError):
    """Vault: the token's issuer is not the one the auth method trusts."""

    code = "vault-issuer"
    cause = "`bound_issuer` or `oidc_discovery_url` of the auth method names another issuer"
    hint = "compare it with the issuer that ci-identity whoami prints, letter for letter"


class VaultSignatureError(ExchangeError):
    """Vault: the token's signature was made by no key that Vault has."""

    code = "vault-signature"
    cause = "Vault verifies with other keys: another issuer's, or the issuer's keys were rotated"
    hint = "check jwks_url or oidc_discovery_url of the auth method, from Vault's own network"


class VaultTokenTimeError(ExchangeError):
    """Vault: the token is expired or not yet valid by Vault's clock."""

    code = "vault-token-time"
    cause = "the id token expired on the way, or the clocks of Vault and the issuer differ"
    hint = "check Vault's clock; the role's leeways (`clock_skew_leeway`) allow for small skews"


class VaultClaimsError(ExchangeError):
    """Vault: a claim of the token is not what the role binds."""

    code = "vault-claims"
    cause = "the role's `bound_claims` or `bound_subject` is not for this job"
    hint = "compare the role with ci-identity whoami; a glob needs bound_claims_type=glob"


class VaultRoleError(ExchangeError):
    """Vault: no such role at this mount."""

    code = "vault-role"
    cause = "the role is misspelt or lives at another mount or namespace"
    hint = "check `role`, `mount` and `auth_namespace` of the grant"


class VaultMountError(ExchangeError):
    """Vault: the login itself was refused without a reason: no such mount, most likely."""

    code = "vault-mount"
    cause = (
        "no JWT auth method at this mount, or the namespace is another one; or the role is for "
        "other addresses (token_bound_cidrs)"
    )
    hint = (
        "check `mount`, `namespace` and `auth_namespace` of the grant; vault auth list shows mounts"
    )


class VaultPolicyError(ExchangeError):
    """Vault: the login's policies lack a right that the grant needs; the hint has the text."""

    code = "vault-policy"
    cause = "a policy of the role lacks a right that this grant needs"
    hint = "add the policies to the role's token_policies, or correct `policies` in the grant"


class VaultTokenKindError(ExchangeError):
    """Vault: the role issues tokens that cannot be narrowed or revoked."""

    code = "vault-token-kind"
    cause = "batch tokens cannot be revoked; tokens with token_num_uses cannot have children"
    hint = "set token_type=service and token_num_uses=0 on the role"


class VaultNarrowingError(ExchangeError):
    """Vault: the step's token would be able to do more than the grant's policies say."""

    code = "vault-narrowing"
    cause = (
        "policies of the identity entity, or of its groups, come with every token of a login, "
        "and a child token inherits them"
    )
    hint = (
        "take the policies off the entity and its groups and name them in the role's "
        "token_policies; or leave `policies` out of the grant, knowing what the login may do"
    )


class VaultSecretError(ExchangeError):
    """Vault: a secret that the grant names is not there, or has no such field."""

    code = "vault-secret"
    cause = "the path or the field is misspelt, deleted, or in another namespace"
    hint = "KV version 2 is read at MOUNT/data/PATH; the field follows the `#`"


class TokenLifeError(ExchangeError):
    """The credential would live longer than was asked, and cannot be shortened."""

    code = "exchange-life"
    cause = "the provider gave a longer life than the grant's ttl and does not let us shorten it"
    hint = "give the grant `policies`, so that a child token with the grant's ttl is made"


class ExchangeTokenError(ExchangeError):
    """Token exchange: the server does not take the job's token, or the request as it is."""

    code = "exchange-token"
    cause = (
        "the server does not trust this issuer, subject or audience; or it wants the token under "
        "another type, or one more field"
    )
    hint = "compare the server's rules with what ci-identity whoami prints"


class ExchangeTargetError(ExchangeError):
    """Token exchange: the server issues no token for the grant's audience."""

    code = "exchange-target"
    cause = "the server does not know the audience, or does not issue tokens for it to this job"
    hint = "write the name that the server has for the target into `token_exchange.audience`"


class ExchangeScopeError(ExchangeError):
    """Token exchange: the server does not give the scope that was asked, or gives more."""

    code = "exchange-scope"
    cause = "a scope of the grant is misspelt, or the server does not give it to this job"
    hint = "compare `scope` of the grant with the scopes that the server has"


class ExchangeClientError(ExchangeError):
    """Token exchange: the server does not exchange tokens for this client."""

    code = "exchange-client"
    cause = "the client is unknown, may not exchange tokens, or would have to log in with a secret"
    hint = (
        "register a client without a secret that may exchange tokens, and write its id into "
        "`token_exchange.client_id`; nothing here keeps a secret for it"
    )


class AwsAccessDeniedError(ExchangeError):
    """AWS: the role's trust policy does not let this job in, or there is no such role.

    Attributes:
        role: the ARN of the role.
        claims: the claims of the job's token, unverified.
    """

    code = "aws-denied"
    cause = "a condition of the role's trust policy is not true of this job"
    hint = "compare the role's trust policy with what ci-identity whoami prints"

    def __init__(  # what the base takes, and what a reader of the policy needs
        self,
        message: str,
        *,
        role: str,
        claims: Mapping[str, object],
        cause: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.role = role
        self.claims = claims


class AwsProviderError(ExchangeError):
    """AWS: the role's account has no identity provider for the token's issuer."""

    code = "aws-provider"
    cause = "no OIDC identity provider was made in the account, or its address differs"
    hint = "make an IAM OIDC identity provider with the issuer in the message, letter for letter"


class AwsAudienceError(ExchangeError):
    """AWS: the token's audience is none of the identity provider's."""

    code = "aws-audience"
    cause = "the audience is not among the client ids of the account's OIDC identity provider"
    hint = "add sts.amazonaws.com to them, or write the one there is into `audience` of the grant"


class AwsTokenError(ExchangeError):
    """AWS: the token cannot be validated, for a reason other than its time and audience."""

    code = "aws-token"
    cause = "it is not signed by a key that the issuer publishes, or lacks a claim that AWS needs"
    hint = "check that the issuer's keys are the ones that AWS can fetch from its address"


class AwsTokenTimeError(ExchangeError):
    """AWS: the token is expired by AWS's clock, and so is a new one."""

    code = "aws-token-time"
    cause = "the id token ended on the way, or the issuer's clock is wrong"
    hint = "start the exchange closer to the job's begin; a GitLab id token cannot be made anew"


class AwsPolicyRefusedError(ExchangeError):
    """AWS: the session policy is malformed, or too large when packed."""

    code = "aws-policy-refused"
    cause = "an action, an ARN or a condition in it is not one that AWS knows"
    hint = "try the policy in the IAM policy editor, or: aws accessanalyzer validate-policy"


class AwsDurationError(ExchangeError):
    """AWS: the session would be longer than the role allows."""

    code = "aws-duration"
    cause = "the grant's ttl is longer than MaxSessionDuration of the role, which is 1 h if unset"
    hint = "shorten `ttl`: what refreshes goes on after it; or raise MaxSessionDuration"


class AwsRegionDisabledError(ExchangeError):
    """AWS: STS is switched off in this region for the account."""

    code = "aws-region-disabled"
    cause = "the account's administrator has not activated STS in the region of the grant"
    hint = "activate it (IAM, account settings), or write another region into the grant"


class AwsClockError(ExchangeError):
    """AWS: by its clock the session was over when it was given, and so was a second one."""

    code = "aws-clock"
    cause = "the end of a ttl under 15 min is kept by AWS's clock, and the clocks moved apart"
    hint = "correct the clock of the runner; a ttl of 15 min or more is not ended by a deadline"


class AwsRoleError(ExchangeError):
    """AWS: what was issued is not a session of the grant's role."""

    code = "aws-role"
    cause = "the endpoint is not AWS's own: a proxy, a double, another account's"
    hint = "check `endpoint` of the grant, and AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL"


class AzureFederationError(ExchangeError):
    """Azure: the application has no federated credential for this issuer and subject."""

    code = "azure-federation"
    cause = (
        "issuer and subject are compared to the letter; GitHub's subject has ids in it in newer "
        "repositories, and an environment stands in the place of the branch"
    )
    hint = "compare the application's federated credentials with what ci-identity whoami prints"


class AzureAudienceError(ExchangeError):
    """Azure: the token's audience is not the one of the application's federated credential."""

    code = "azure-audience"
    cause = "a federated credential has one audience, and each cloud a default of its own for it"
    hint = "write the audience of the federated credential into `audience` of the grant"


class AzureApplicationError(ExchangeError):
    """Azure: the tenant has no such application, or it may not sign in."""

    code = "azure-application"
    cause = "`client` is not the application's (client) id, or `tenant` is another directory's"
    hint = "compare both with the overview page of the application or managed identity"


class AzureTenantError(ExchangeError):
    """Azure: there is no such tenant at the authority that was asked."""

    code = "azure-tenant"
    cause = "the id is misspelt, or the tenant is in another cloud (US Government, China, ...)"
    hint = "check `tenant` of the grant, `authority`, and AZURE_AUTHORITY_HOST"


class AzureResourceError(ExchangeError):
    """Azure: the tenant knows no such resource, or what is asked for is none."""

    code = "azure-resource"
    cause = "it is misspelt, belongs to another cloud, or its service was never used in the tenant"
    hint = (
        "write the resource as its documentation has it, without /.default: https://vault.azure.net"
    )


class AzureBlockedError(ExchangeError):
    """Azure: a policy of the tenant blocks the application."""

    code = "azure-blocked"
    cause = "Conditional Access for workloads, a required assignment, or tenant restrictions"
    hint = "Entra's service principal sign-in log says which policy it was"


class AzureTokenError(ExchangeError):
    """Azure: the token cannot be validated, for a reason other than its time and audience."""

    code = "azure-token"
    cause = "Entra cannot fetch the issuer's keys, or takes no tokens of this issuer"
    hint = "the issuer's /.well-known/openid-configuration must be open to the internet"


class AzureTokenTimeError(ExchangeError):
    """Azure: the token is expired by Entra's clock, and so is a new one."""

    code = "azure-token-time"
    cause = "the id token ended on the way, or the issuer's clock is wrong"
    hint = "start the exchange closer to the job's begin; a GitLab id token cannot be made anew"


class GcpProviderError(ExchangeError):
    """Google: there is no such workload identity provider, or it is disabled."""

    code = "gcp-provider"
    cause = "the name in `provider` is not that of a provider, or it or its pool was switched off"
    hint = "gcloud iam workload-identity-pools providers describe PROVIDER shows what there is"


class GcpAudienceError(ExchangeError):
    """Google: the token's audience is none of the provider's."""

    code = "gcp-audience"
    cause = "the provider has allowed audiences, and the token's is not among them"
    hint = "write one of the provider's allowed audiences into `audience` of the grant"


class GcpIssuerError(ExchangeError):
    """Google: the provider is for another issuer than the token's."""

    code = "gcp-issuer"
    cause = "the provider's issuer differs from the token's, perhaps only in its last slash"
    hint = "compare it with the issuer that ci-identity whoami prints"


class GcpTokenError(ExchangeError):
    """Google: the token's signature cannot be verified."""

    code = "gcp-token"
    cause = "Google could not fetch the issuer's keys, or the token is signed by none of them"
    hint = (
        "the issuer's discovery document and keys must be open to the internet; or upload the"
        " keys to the provider (--jwk-json-path)"
    )


class GcpTokenTimeError(ExchangeError):
    """Google: the token is expired by Google's clock, and so is a new one."""

    code = "gcp-token-time"
    cause = "the id token ended on the way, or the issuer's clock is wrong"
    hint = "start the exchange closer to the job's begin; a GitLab id token cannot be made anew"


class GcpConditionError(ExchangeError):
    """Google: the provider's attribute condition is not true of this job."""

    code = "gcp-condition"
    cause = "the provider's attribute condition is for other jobs; it tells upper case from lower"
    hint = "compare it with the claims that ci-identity whoami prints"


class GcpSubjectError(ExchangeError):
    """Google: the provider's attribute mapping makes no subject of this job that Google takes."""

    code = "gcp-subject"
    cause = "google.subject must have a value for every job, of 127 bytes at most"
    hint = "map google.subject to a short claim that every job has"


class GcpImpersonationError(ExchangeError):
    """Google: the job may not impersonate the grant's service account, or there is none."""

    code = "gcp-impersonation"
    cause = (
        "the role roles/iam.workloadIdentityUser is not bound to this job on the service account,"
        " or was within the last minutes; or the address is misspelt"
    )
    hint = (
        "bind roles/iam.workloadIdentityUser to the job on the first of `delegates`, and"
        " roles/iam.serviceAccountTokenCreator to each of them on the next"
    )


class GcpApiDisabledError(ExchangeError):
    """Google: the API that impersonates is not enabled in the service account's project."""

    code = "gcp-api-disabled"
    cause = "the project of the service account has not enabled iamcredentials.googleapis.com"
    hint = "gcloud services enable iamcredentials.googleapis.com --project PROJECT"


class GcpLifetimeError(ExchangeError):
    """Google: the token cannot be made for as long, or for as short, as was asked."""

    code = "gcp-lifetime"
    cause = "a service account's tokens live for an hour at most, unless the organisation says else"
    hint = "shorten `ttl`: what refreshes goes on after it"


class GcpBoundaryError(ExchangeError):
    """Google: the grant's boundary is refused."""

    code = "gcp-boundary"
    cause = "a resource, role or condition of `boundary` is not one that Google knows there"
    hint = "boundaries are for Cloud Storage: //storage.googleapis.com/projects/_/buckets/BUCKET"


class KubernetesTokenError(ExchangeError):
    """Kubernetes: the API server does not take the job's token."""

    code = "kubernetes-token"
    cause = (
        "the cluster does not trust the token's issuer, or not for its audience, cannot fetch the "
        "issuer's keys, or has a rule that is not true of this job"
    )
    hint = (
        "compare the API server's AuthenticationConfiguration with what ci-identity whoami prints"
    )


class KubernetesForbiddenError(ExchangeError):
    """Kubernetes: the job may not do what a lease needs."""

    code = "kubernetes-forbidden"
    cause = "no Role with this rule is bound to the user that the cluster takes the job for"
    hint = "bind a Role that may create and delete secrets, and create serviceaccounts/token"


class KubernetesAdmissionError(ExchangeError):
    """Kubernetes: the job may do it, but a rule of the cluster forbids it."""

    code = "kubernetes-admission"
    cause = "an admission policy or webhook, a quota, or a namespace that is being deleted"
    hint = (
        "the API server's audit log has the rule; it must let empty Secrets ci-identity-* be made"
    )


class KubernetesNotFoundError(ExchangeError):
    """Kubernetes: the namespace or the service account is not there."""

    code = "kubernetes-not-found"
    cause = "the name is misspelt, or it is in another cluster"
    hint = "kubectl get serviceaccounts -n NAMESPACE shows what there is"


class KubernetesSecretError(ExchangeError):
    """Kubernetes: the Secret that a lease ends with was deleted, so there is nothing to renew."""

    code = "kubernetes-secret"
    cause = "somebody ended the lease from outside, or cleans the namespace while jobs run"
    hint = "if nobody meant to end it, leave Secrets of the type ci-identity/lease alone for a day"


class KubernetesRequestError(ExchangeError):
    """Kubernetes: the API server finds something in the request that it does not take."""

    code = "kubernetes-request"
    cause = "a field of the request that the message names has a value this server does not take"
    hint = "check `ttl` and `token_audiences` of the grant, and the version of the cluster"


class KubernetesBindingError(ExchangeError):
    """Kubernetes: what was issued is not the token that was asked for."""

    code = "kubernetes-binding"
    cause = "what answers at the address is no API server: a proxy that makes tokens of its own"
    hint = "check `server` of the grant"


# ── 6 provider unavailable ───────────────────────────────────────────────────────────────────


class ProviderUnavailableError(CiIdentityError):
    """The provider did not answer, or answered that it cannot right now. Worth another try."""

    code = "provider-unavailable"
    exit_code = 6
    cause = "the server is down, sealed, overloaded or out of the runner's reach"
    hint = "try again; check the address, the proxy and the server's own health"


class UnansweredError(ProviderUnavailableError):
    """The request went out, but its answer never came: nobody knows whether it was carried out."""

    code = "provider-unanswered"
    cause = "the server hangs, or the connection broke while it worked"
    hint = (
        "try again; if it was a login and the server took it, a token that nobody has lives until "
        "the role's token_ttl: the server's audit log has its accessor"
    )


class ProviderAnswerError(ProviderUnavailableError):
    """The answer is not what this provider answers: too large, not JSON, a field missing."""

    code = "provider-answer"
    cause = "something else answers at that address: a proxy's page, a load balancer, a login form"
    hint = "check the address and any proxy between the runner and the server"


class TlsError(ProviderUnavailableError):
    """The server's certificate could not be verified."""

    code = "provider-tls"
    cause = "the server's certificate is not signed by a CA that this machine trusts"
    hint = "name the CA's file in VAULT_CACERT, AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE"


# ── 7 delivery ───────────────────────────────────────────────────────────────────────────────


class DeliveryError(CiIdentityError):
    """The credential could not be handed over safely; it was revoked."""

    code = "delivery"
    exit_code = 7
    cause = "the credential could not be handed to the step in a way that is safe"
    hint = "see the message"


class ShortSecretError(DeliveryError):
    """A value is too short to be masked in a log."""

    code = "delivery-short-secret"
    cause = "masking a value of under 6 bytes would riddle the log and still be guessable"
    hint = "lengthen the secret, or mark it `public: true` in the grant if it is not one"


class ConflictingVariableError(DeliveryError):
    """Two grants, or a grant and the step's own settings, want the same variable."""

    code = "delivery-conflict"
    cause = "two grants of one step deliver a variable of the same name"
    hint = "rename one of them in the grants file"


class UndeliverableError(DeliveryError):
    """The grant has nothing that a child process could be given."""

    code = "delivery-nothing"
    cause = "the grant lists no `secrets:`, so a command run by exec would receive nothing"
    hint = "list `secrets:` in the grant; from Python, session.hvac() needs none"


class OutputLostError(DeliveryError):
    """The command succeeded, but what it wrote could not be passed on."""

    code = "delivery-output"
    cause = "what our output goes to takes no more, or else what the message says"
    hint = "make room there, and run the command again; its credential was revoked"


class StateError(DeliveryError):
    """The state folder cannot be used."""

    code = "state"
    cause = "the folder is not ours alone: another user's, a link, or open to others"
    hint = "point CI_IDENTITY_STATE_DIR at a folder that only this user can reach"


class NotRenewedError(DeliveryError):
    """A credential has ended that should have been renewed by then."""

    code = "delivery-not-renewed"
    cause = "renewing failed, or the step takes longer than the grant's `max`"
    hint = "the log says why it was not renewed"


# ── 8 ledger ─────────────────────────────────────────────────────────────────────────────────


class LedgerError(CiIdentityError):
    """The ledger could not be written, so no credential was issued."""

    code = "ledger"
    exit_code = 8
    cause = "the ledger's folder is full, read-only, or not ours"
    hint = "point CI_IDENTITY_LEDGER at a file that this user can write"


class LedgerTamperedError(LedgerError):
    """The ledger's chain does not hold: an entry was changed, removed or put in between."""

    code = "ledger-tampered"
    cause = "somebody or something changed the file after it was written"
    hint = "treat the ledger as evidence of tampering; the provider's own audit log is independent"


# ── 9 revocation ─────────────────────────────────────────────────────────────────────────────


class RevocationError(CiIdentityError):
    """A credential could not be revoked; it may live until the time in the message."""

    code = "revocation"
    exit_code = 9
    cause = "the provider was out of reach or refused at the end of the step"
    hint = "revoke the handle in the message from outside the job, or wait for its expiry"


class NotCutError(RevocationError):
    """A lease was to be ended from outside, and was not; the message says which, and why."""

    code = "not-cut"
    cause = "the reaper's own role lacks a right there, or the provider did not do it"
    hint = "run it again once what the message says is put right; twice does no harm"


class InterruptedRunError(CiIdentityError):
    """A signal came before the command was started; what was issued has been revoked.

    Attributes:
        signal: the signal's number.
    """

    code = "interrupted"
    exit_code = 1
    cause = "the job was cancelled"
    hint = "what was issued was revoked, or is named in the output above"

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
