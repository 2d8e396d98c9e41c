"""Every way to be refused that the docs show a line of, brought about for real.

Each function below causes one error, with a real issuer and a real server. `REFUSALS` has them by
code; what each prints must be the line that `docs/troubleshooting.md` shows.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import ci_identity
from ci_identity.agent.inputs import read_inputs
from ci_identity.cli.parser import Parser
from ci_identity.errors import CiIdentityError
from ci_identity.ledger.verify import verify
from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.world import World
from ci_identity.sources.subject_token import parse as parse_token
from ci_identity.trust.document import parse
from tests.azure import entra
from tests.exchangers.aws.stage import Fault, Sts, answer, refusal, say, says
from tests.gcp.google import ACCOUNT, PROVIDER
from tests.gcp.server import GcpWorld
from tests.kubernetes.cluster import ACCOUNT as DEPLOYER
from tests.kubernetes.cluster import AUDIENCE, NAMESPACE, Cluster, refuse
from tests.kubernetes.server import KubernetesWorld
from tests.token_exchange.server import API, AuthorizationServer

GRANTS = """\
version: 1
grants:
  {name}:
    for: {{issuer: {issuer}, repository_id: 42}}
    {target}
"""
ROLE = "arn:aws:iam::123456789012:role/deploy-web"
POLICIES = {
    "docs-ci": """
path "auth/token/create" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }""",
    "docs-shop": 'path "secret/data/docs-shop" { capabilities = ["read"] }',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The world; a folder, a JWT auth method and a job of the test's own."""

    world: World
    folder: Path
    mount: str
    environ: dict[str, str] = field(repr=False)

    def prepare(self) -> None:
        """Make everything right, so that one function can make one thing wrong."""
        root = self.world.openbao.client()
        root.write_data(f"sys/auth/{self.mount}", data={"type": "jwt"})
        for name, policy in POLICIES.items():
            root.write_data(f"sys/policies/acl/{name}", data={"policy": policy})
        self.config()
        self.role()
        self.secret(password="a-long-enough-password")
        self.grants()

    def config(self, **config: Any) -> None:
        """Write the configuration of the auth method."""
        data = config or {"oidc_discovery_url": self.world.issuer.address}
        self.world.openbao.client().write_data(f"auth/{self.mount}/config", data=data)

    def role(self, **changes: Any) -> None:
        """Write the role at `mount`."""
        role: dict[str, Any] = {
            "role_type": "jwt",
            "bound_audiences": [self.world.openbao.address],
            "user_claim": "repository_id",
            "token_policies": list(POLICIES),
            "token_ttl": "10m",
        }
        path = f"auth/{self.mount}/role/shop-migrate"
        self.world.openbao.client().write_data(path, data=role | changes)

    def secret(self, **values: str) -> None:
        """Write the secret that the grant reads."""
        self.world.openbao.client().write_data("secret/data/docs-shop", data={"data": values})

    def grants(self, target: str = "", *, name: str = "migrate-db", **vault: str) -> None:
        """Write a grants file with one grant."""
        keys = {
            "address": self.world.openbao.address,
            "mount": self.mount,
            "role": "shop-migrate",
            "policies": "[docs-shop]",
            "secrets": "{DB_PASSWORD: secret/data/docs-shop#password}",
            **vault,
        }
        inner = ", ".join(f"{key}: {value}" for key, value in keys.items() if value)
        self.grants_path.write_text(
            GRANTS.format(
                name=name,
                issuer=self.world.issuer.address,
                target=target or f"vault: {{{inner}}}",
            )
        )

    @property
    def grants_path(self) -> Path:
        """The grants file."""
        return self.folder / ".ci-identity.yml"

    def job(self, **variables: str) -> None:
        """Make the job's variables these, beside where grants and state are."""
        ours = {name: self.environ[name] for name in self.environ if name.startswith("CI_")}
        self.environ.clear()
        self.environ.update(ours | variables)

    def token(self, audience: str | None = None, **claims: Any) -> None:
        """Make the job one that was handed a token."""
        issuer = self.world.issuer
        token = issuer.github_token(audience or self.world.openbao.address, **claims)
        self.job(CI_IDENTITY_TOKEN=token.reveal())

    def open(self, **options: Any) -> None:
        """Open a session for the grant, and close it again."""
        with ci_identity.session("migrate-db", environ=self.environ, **options):
            pass

    def run(self, *grants: str) -> None:
        """Run a command with the grants, as `exec` does."""
        ci_identity.run(["true"], grants=grants, environ=self.environ)

    def printed(self, error: CiIdentityError) -> str:
        """Return the line that is printed for `error`, with the names that the pages use."""
        text = f"error[{error.code}]: {error}"
        theirs = {
            self.world.openbao.address: "https://vault.acme.example",
            self.world.openbao.address.removeprefix("http://"): "vault.acme.example",
            f"auth/{self.mount}/": "auth/jwt/",
            f"{self.folder}/": "",
            PROVIDER: "PROVIDER",
            "docs-shop": "shop",
            "docs-ci": "ci",
        }
        for ours, name in theirs.items():
            text = text.replace(ours, name)
        text = re.sub(r"(http://)?127\.0\.0\.1:\d+", "HOST", text)
        text = re.sub(r"clock is \d+ s", "clock is N s", text)
        text = re.sub(r"accessor:\w+", "accessor:ACCESSOR", text)
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)


Refusal = Callable[[Stage], None]
REFUSALS: dict[str, Refusal] = {}


def causes(code: str) -> Callable[[Refusal], Refusal]:
    """Enter a function into `REFUSALS`."""

    def enter(refusal: Refusal) -> Refusal:
        REFUSALS[code] = refusal
        return refusal

    return enter


class Answer(BaseHTTPRequestHandler):
    """Something that is not Vault, or is Vault but sealed."""

    status, body = 200, b"<html>Please sign in</html>"

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.send_header("Retry-After", "600")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base has it
        """Stay silent."""


class Sealed(Answer):
    """OpenBao before it is unsealed."""

    status, body = 503, b'{"errors": ["Vault is sealed"]}'


def ask(stage: Stage, kind: type[Answer]) -> None:
    """Open a session at a server of this kind."""
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            stage.grants(address=f"http://127.0.0.1:{server.server_port}")
            stage.open()
        finally:
            server.shutdown()
            thread.join()


def ask_aws(stage: Stage, *faults: Fault, **changes: str) -> None:
    """Open a session at an STS that first answers with `faults`, then with `changes`."""
    with Sts() as sts:
        sts.faults, sts.changes = list(faults), changes
        stage.grants(f"aws: {{role: '{ROLE}', endpoint: '{sts.address}'}}")
        stage.open()


def ask_google(
    stage: Stage, prepare: Callable[[GcpWorld], object], *, audience: str = "", more: str = ""
) -> None:
    """Open a session at a Google that lets the job in, but for what `prepare` changes."""
    issuer = stage.world.issuer.address
    with GcpWorld(issuer, stage.folder) as gcp:
        gcp.trust(github_claims(issuer, None, {})["sub"])
        prepare(gcp)
        stage.environ.update(gcp.environ)
        target = f"gcp: {{provider: {PROVIDER}, service_account: {ACCOUNT}{more}}}"
        stage.grants(f"audience: {audience}\n    {target}" if audience else target)
        stage.open()


def ask_azure(
    stage: Stage,
    *numbers: int,
    subject: str | None = None,
    resource: str = entra.VAULT,
    audience: str = entra.AUDIENCE,
) -> None:
    """Open a session at an Entra that trusts `subject`, and first answers with these codes."""
    issuer = stage.world.issuer
    claims = parse_token(issuer.github_token(entra.AUDIENCE), origin="the test")
    with entra.Entra(issuer.address, subject or str(claims["sub"])) as server:
        server.faults = [entra.says(400, entra.error(number, "")) for number in numbers]
        keys = f"tenant: {entra.TENANT}, client: {entra.CLIENT}, authority: '{server.address}'"
        stage.grants(
            f"audience: {audience}\n    azure: {{{keys}, resources: ['{resource}']}}",
        )
        stage.open()


def ask_server(stage: Stage, **changes: Any) -> None:
    """Open a session at an authorization server that is so."""
    issuer = stage.world.issuer.address
    subject = github_claims(issuer, None, {})["sub"]
    with AuthorizationServer(issuer, subject) as server:
        for name, value in changes.items():
            setattr(server, name, value)
        keys = f"url: '{server.address}/token', audience: '{API}', scope: upload"
        stage.grants(f"token_exchange: {{{keys}}}")
        stage.open()


# ── configuration ────────────────────────────────────────────────────────────────────────────


@causes("usage")
def usage(_: Stage) -> None:
    parser = Parser("exec", "", example="")
    parser.add_grants()
    parser.parse_args(["--grnts", "x"])


@causes("configuration")
def configuration(stage: Stage) -> None:
    stage.grants(address="")
    stage.open()


@causes("setting")
def setting(stage: Stage) -> None:
    stage.environ["VAULT_CACERT"] = str(stage.folder / "ca.pem")
    stage.grants(address="https://vault.acme.example")
    stage.open()


@causes("insecure-address")
def insecure_address(stage: Stage) -> None:
    stage.environ["VAULT_ADDR"] = "http://vault.acme.example"
    stage.grants(address="")
    stage.open()


@causes("grants-missing")
def grants_missing(stage: Stage) -> None:
    del stage.environ["CI_IDENTITY_GRANTS"]
    stage.open(grants_file=Path(".ci-identity.yml"))


@causes("grants-invalid")
def grants_invalid(stage: Stage) -> None:
    stage.grants(polices="[shop-db]")
    stage.open()


@causes("grant-unknown")
def grant_unknown(stage: Stage) -> None:
    stage.grants(name="migrate-dbs")
    stage.open()


@causes("input")
def an_input(_: Stage) -> None:
    given = {"STEPS": "deploy", "VAULT-ROLE": "shop", "VAULT-SECRETS": "A: a/b#c\nB a/b#c"}
    read_inputs({f"INPUT_{name}": value for name, value in given.items()})


@causes("trust-policy")
def trust_policy(_: Stage) -> None:
    parse('{"Version": "2012-10-17"}')


@causes("aws-region")
def aws_region(stage: Stage) -> None:
    stage.grants(f"aws: {{role: '{ROLE}'}}")
    stage.open()


@causes("aws-policy")
def aws_policy(stage: Stage) -> None:
    places = ", ".join(f"'arn:aws:s3:::shop-web/releases/{part}/*'" for part in range(100, 160))
    policy = f"[{{allow: ['s3:PutObject'], on: [{places}]}}]"
    stage.grants(f"aws: {{role: '{ROLE}', region: eu-west-1, policy: {policy}}}")
    stage.open()


# ── identity ─────────────────────────────────────────────────────────────────────────────────


@causes("identity-none")
def identity_none(stage: Stage) -> None:
    stage.job()
    stage.open()


@causes("identity-permission")
def identity_permission(stage: Stage) -> None:
    stage.job(GITHUB_ACTIONS="true")
    stage.open()


@causes("identity-command")
def identity_command(stage: Stage) -> None:
    stage.job(BUILDKITE="true", PATH=str(stage.folder))
    stage.open()


@causes("identity-two-cis")
def identity_two_cis(stage: Stage) -> None:
    stage.job(GITHUB_ACTIONS="true", BUILDKITE="true")
    stage.open()


@causes("identity-fork")
def identity_fork(stage: Stage) -> None:
    event = stage.folder / "event.json"
    event.write_text(
        '{"pull_request": {"base": {"repo": {"id": 42}}, "head": {"repo": {"id": 7}}}}'
    )
    stage.job(GITHUB_ACTIONS="true", GITHUB_EVENT_NAME="pull_request", GITHUB_EVENT_PATH=str(event))
    stage.open()


@causes("identity-id-tokens")
def identity_id_tokens(stage: Stage) -> None:
    stage.job(GITLAB_CI="true")
    stage.open()


@causes("identity-request")
def identity_request(stage: Stage) -> None:
    stage.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "of-a-job-that-has-ended"
    stage.open()


@causes("identity-token-file")
def identity_token_file(stage: Stage) -> None:
    stage.environ["CI_IDENTITY_TOKEN_FILE"] = "/var/run/secrets/ci/token"
    stage.open()


@causes("identity-malformed")
def identity_malformed(stage: Stage) -> None:
    stage.job(CI_IDENTITY_TOKEN="$VAULT_ID_TOKEN")
    stage.open()


@causes("identity-audience")
def identity_audience(stage: Stage) -> None:
    stage.token("https://other.acme.example")
    stage.open()


@causes("identity-expired")
def identity_expired(stage: Stage) -> None:
    stage.token(exp=1_700_000_000)
    stage.open()


# ── denied ───────────────────────────────────────────────────────────────────────────────────


@causes("denied")
def denied(stage: Stage) -> None:
    stage.environ.update(stage.world.issuer.github_environ(repository_id="666"))
    stage.open()


# ── exchange ─────────────────────────────────────────────────────────────────────────────────


@causes("vault-audience")
def vault_audience(stage: Stage) -> None:
    stage.role(bound_audiences=["https://vault.old.example"])
    stage.open()


@causes("vault-issuer")
def vault_issuer(stage: Stage) -> None:
    address = stage.world.issuer.address
    stage.config(oidc_discovery_url=address, bound_issuer="https://gitlab.com")
    stage.open()


@causes("vault-signature")
def vault_signature(stage: Stage) -> None:
    with Issuer() as other:
        stage.config(jwks_url=f"{other.address}/.well-known/jwks.json")
        stage.open()


@causes("vault-token-time")
def vault_token_time(stage: Stage) -> None:
    stage.role(expiration_leeway=-1, clock_skew_leeway=-1)
    stage.token(exp=int(time.time()) - 10)  # we allow for 30 s
    stage.open()


@causes("vault-claims")
def vault_claims(stage: Stage) -> None:
    stage.role(bound_claims={"environment": "production"})
    stage.open()


@causes("vault-role")
def vault_role(stage: Stage) -> None:
    stage.grants(role="shop-migrat")
    stage.open()


@causes("vault-mount")
def vault_mount(stage: Stage) -> None:
    stage.grants(mount="github")
    stage.open()


@causes("vault-policy")
def vault_policy(stage: Stage) -> None:
    stage.role(token_policies=["docs-shop"])
    stage.open()


@causes("vault-token-kind")
def vault_token_kind(stage: Stage) -> None:
    stage.role(token_type="batch")
    stage.open()


@causes("vault-secret")
def vault_secret(stage: Stage) -> None:
    stage.grants(secrets="{DB_PASSWORD: secret/data/docs-shop#passwort}")
    stage.open()


@causes("exchange-life")
def exchange_life(stage: Stage) -> None:
    stage.role(token_period="1h", token_ttl="1h")
    stage.grants(policies="")
    stage.open()


@causes("exchange-token")
def exchange_token(stage: Stage) -> None:
    ask_server(stage, audience="https://other.partner.example")


@causes("exchange-target")
def exchange_target(stage: Stage) -> None:
    ask_server(stage, targets=set())


@causes("exchange-scope")
def exchange_scope(stage: Stage) -> None:
    ask_server(stage, scopes={"download"})


@causes("exchange-client")
def exchange_client(stage: Stage) -> None:
    ask_server(stage, client_id="shop")


@causes("exchange-refused")
def exchange_refused(stage: Stage) -> None:
    ask_aws(stage, says(400, refusal("UnheardOf")))


@causes("aws-denied")
def aws_denied(stage: Stage) -> None:
    ask_aws(stage, says(403, refusal("AccessDenied")))


@causes("aws-provider")
def aws_provider(stage: Stage) -> None:
    text = "No OpenIDConnect provider found in your account for"
    ask_aws(stage, says(400, refusal("InvalidIdentityToken", text)))


@causes("aws-audience")
def aws_audience(stage: Stage) -> None:
    ask_aws(stage, says(400, refusal("InvalidIdentityToken", "Incorrect token audience")))


@causes("aws-token")
def aws_token(stage: Stage) -> None:
    ask_aws(stage, says(400, refusal("InvalidIdentityToken", "not a valid JWT")))


@causes("aws-token-time")
def aws_token_time(stage: Stage) -> None:
    expired = says(400, refusal("ExpiredTokenException"))
    ask_aws(stage, expired, expired)


@causes("aws-policy-refused")
def aws_policy_refused(stage: Stage) -> None:
    ask_aws(stage, says(400, refusal("MalformedPolicyDocument")))


@causes("aws-duration")
def aws_duration(stage: Stage) -> None:
    ask_aws(stage, says(400, refusal("ValidationError", "exceeds the MaxSessionDuration")))


@causes("aws-region-disabled")
def aws_region_disabled(stage: Stage) -> None:
    ask_aws(stage, says(403, refusal("RegionDisabledException")))


@causes("aws-clock")
def aws_clock(stage: Stage) -> None:
    with Sts() as sts:
        sts.faults = [
            lambda request: say(request, 200, answer(sts.form, ahead=400)),
            lambda request: say(request, 200, answer(sts.form, ahead=850)),
        ]
        stage.grants(f"aws: {{role: '{ROLE}', endpoint: '{sts.address}'}}")
        stage.open(ttl=timedelta(minutes=5))


@causes("aws-role")
def aws_role(stage: Stage) -> None:
    ask_aws(stage, Arn="arn:aws:sts::210987654321:assumed-role/deploy-web/ci")


@causes("gcp-provider")
def gcp_provider(stage: Stage) -> None:
    ask_google(stage, lambda gcp: setattr(gcp.google, "is_disabled", True))


@causes("gcp-audience")
def gcp_audience(stage: Stage) -> None:
    ask_google(stage, lambda _: None, audience="https://elsewhere.example")


@causes("gcp-issuer")
def gcp_issuer(stage: Stage) -> None:
    ask_google(stage, lambda gcp: setattr(gcp.google, "issuer", "https://gitlab.com"))


@causes("gcp-token")
def gcp_token(stage: Stage) -> None:
    body = says_sts("invalid_grant", "Error connecting to the given credential's issuer.")
    ask_google(stage, lambda gcp: gcp.fail("sts", 400, body))


@causes("gcp-token-time")
def gcp_token_time(stage: Stage) -> None:
    body = says_sts("invalid_grant", "ID Token issued at 1 is stale to sign-in.")
    ask_google(stage, lambda gcp: gcp.fail("sts", 400, body, times=2))


@causes("gcp-condition")
def gcp_condition(stage: Stage) -> None:
    ask_google(stage, lambda gcp: setattr(gcp.google, "condition", lambda _: False))


@causes("gcp-subject")
def gcp_subject(stage: Stage) -> None:
    ask_google(stage, lambda gcp: setattr(gcp.google, "subject", lambda _: "x" * 128))


@causes("gcp-impersonation")
def gcp_impersonation(stage: Stage) -> None:
    ask_google(stage, lambda gcp: gcp.google.users[ACCOUNT].clear())


@causes("gcp-api-disabled")
def gcp_api_disabled(stage: Stage) -> None:
    ask_google(stage, lambda gcp: setattr(gcp.google, "is_enabled", False))


@causes("gcp-lifetime")
def gcp_lifetime(stage: Stage) -> None:
    error = {"code": 400, "message": "can not have lifetimes of more than 1 hour", "status": "X"}
    body = json.dumps({"error": error}).encode()
    ask_google(stage, lambda gcp: gcp.fail("iamcredentials", 400, body))


@causes("gcp-boundary")
def gcp_boundary(stage: Stage) -> None:
    rule = "{resource: //run.googleapis.com/x, role: roles/run.viewer}"
    ask_google(stage, lambda _: None, more=f", boundary: [{rule}]")


def says_sts(code: str, text: str) -> bytes:
    return json.dumps({"error": code, "error_description": text}).encode()


@causes("azure-federation")
def azure_federation(stage: Stage) -> None:
    ask_azure(stage, subject="repo:acme/shop:ref:refs/heads/main")


@causes("azure-audience")
def azure_audience(stage: Stage) -> None:
    ask_azure(stage, audience="api://Other")


@causes("azure-application")
def azure_application(stage: Stage) -> None:
    ask_azure(stage, 700016)


@causes("azure-tenant")
def azure_tenant(stage: Stage) -> None:
    ask_azure(stage, 90002)


@causes("azure-resource")
def azure_resource(stage: Stage) -> None:
    ask_azure(stage, resource="https://valt.azure.net")


@causes("azure-blocked")
def azure_blocked(stage: Stage) -> None:
    ask_azure(stage, 53003)


@causes("azure-token")
def azure_token(stage: Stage) -> None:
    ask_azure(stage, 700027)


@causes("azure-token-time")
def azure_token_time(stage: Stage) -> None:
    ask_azure(stage, 700024, 700024)


def ask_cluster(stage: Stage, wrong: Callable[[Cluster], object]) -> None:
    """Ask a cluster that trusts the job, and about which `wrong` makes one thing wrong."""
    with KubernetesWorld(stage.world.issuer.address, stage.folder) as kubernetes:
        kubernetes.cluster.trust(github_claims(stage.world.issuer.address, None, {})["sub"])
        wrong(kubernetes.cluster)
        stage.grants(
            f"kubernetes: {{server: '{kubernetes.server}', ca_file: {kubernetes.ca_file.name},"
            f" audience: {AUDIENCE}, namespace: {NAMESPACE}, service_account: {DEPLOYER}}}"
        )
        stage.open()


@causes("kubernetes-token")
def kubernetes_token(stage: Stage) -> None:
    ask_cluster(stage, lambda cluster: setattr(cluster, "audiences", ("another",)))


@causes("kubernetes-forbidden")
def kubernetes_forbidden(stage: Stage) -> None:
    ask_cluster(stage, lambda cluster: cluster.rules.clear())


@causes("kubernetes-admission")
def kubernetes_admission(stage: Stage) -> None:
    def policy(*_: object) -> None:
        refuse(422, "Invalid", "ValidatingAdmissionPolicy 'ci' denied request: no")

    ask_cluster(stage, lambda cluster: setattr(cluster, "admission", policy))


@causes("kubernetes-not-found")
def kubernetes_not_found(stage: Stage) -> None:
    ask_cluster(stage, lambda cluster: cluster.accounts.clear())


@causes("kubernetes-secret")
def kubernetes_secret(stage: Stage) -> None:
    def forget(cluster: Cluster) -> None:
        real = cluster.answer

        def answer(method: str, path: str, bearer: str, body: dict[str, Any]) -> Any:
            if path.endswith("/token"):
                cluster.objects.clear()
            return real(method, path, bearer, body)

        cluster.answer = answer  # type: ignore[method-assign]  # somebody deletes it in between

    ask_cluster(stage, forget)


@causes("kubernetes-request")
def kubernetes_request(stage: Stage) -> None:
    def no_audiences(*_: object) -> None:
        causes = [{"field": "spec.audiences", "message": "too many"}]
        refuse(422, "Invalid", "TokenRequest is invalid", causes=causes)

    ask_cluster(stage, lambda cluster: setattr(cluster, "_bound", no_audiences))


@causes("kubernetes-binding")
def kubernetes_binding(stage: Stage) -> None:
    unbound = {"kubernetes.io": {"namespace": NAMESPACE}}
    ask_cluster(stage, lambda cluster: setattr(cluster, "rewrite", lambda claims: claims | unbound))


# ── provider ─────────────────────────────────────────────────────────────────────────────────


@causes("provider-unavailable")
def provider_unavailable(stage: Stage) -> None:
    ask(stage, Sealed)


@causes("provider-answer")
def provider_answer(stage: Stage) -> None:
    ask(stage, Answer)


# ── delivery ─────────────────────────────────────────────────────────────────────────────────


@causes("delivery")
def delivery(stage: Stage) -> None:
    stage.secret(password="with a NUL \0 in it")
    stage.open()


@causes("delivery-short-secret")
def delivery_short_secret(stage: Stage) -> None:
    stage.secret(password="1234")
    stage.open()


@causes("delivery-conflict")
def delivery_conflict(stage: Stage) -> None:
    text = stage.grants_path.read_text()
    again = text.partition("grants:\n")[2].replace("migrate-db", "seed-db")
    stage.grants_path.write_text(text + again)
    stage.run("migrate-db", "seed-db")


@causes("delivery-nothing")
def delivery_nothing(stage: Stage) -> None:
    stage.grants(secrets="")
    stage.run("migrate-db")


@causes("delivery-output")
def delivery_output(stage: Stage) -> None:
    stdout, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        ci_identity.run(["echo", "done"], grants=["migrate-db"], environ=stage.environ)
    finally:
        os.dup2(stdout, 1)
        os.close(full)
        os.close(stdout)


@causes("state")
def state(stage: Stage) -> None:
    folder = stage.folder / "state"
    folder.mkdir()
    folder.chmod(0o777)
    stage.environ["CI_IDENTITY_LEDGER"] = str(stage.folder / "ledger.jsonl")
    stage.open()


# ── ledger ───────────────────────────────────────────────────────────────────────────────────


@causes("ledger")
def ledger(stage: Stage) -> None:
    ledger = stage.folder / "ledger.jsonl"
    ledger.touch()
    ledger.chmod(0o666)
    stage.environ["CI_IDENTITY_LEDGER"] = str(ledger)
    stage.open()


@causes("ledger-tampered")
def ledger_tampered(stage: Stage) -> None:
    stage.open()
    ledger = stage.folder / "state" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("shop-migrate", "shop-migrated", 1))
    verify(ledger)


# ── revocation ───────────────────────────────────────────────────────────────────────────────


@causes("revocation")
def revocation(stage: Stage) -> None:
    stage.role(token_policies=["docs-shop", "docs-ci", "docs-deny"])
    root = stage.world.openbao.client()
    with ci_identity.session("migrate-db", environ=stage.environ):
        policy = 'path "auth/token/revoke-self" { capabilities = ["deny"] }'
        root.write_data("sys/policies/acl/docs-deny", data={"policy": policy})
