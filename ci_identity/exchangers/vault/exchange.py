"""Exchanges the job's token at a Vault or OpenBao server, and ends what it was given there.

    login -> record -> shorten -> are the rights right? -> child token -> record -> ask each path

The login token stays with us. Where the grant names policies, the step's values are read with a
child of it that can do nothing else; revoking the login token takes the child along.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from ci_identity._address import check_address
from ci_identity._answer import Answer
from ci_identity._network import Network
from ci_identity.errors import (
    ConfigurationError,
    ProviderAnswerError,
    TokenLifeError,
    UnansweredError,
    VaultNarrowingError,
    VaultTokenKindError,
)
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.vault.capabilities import check_rights
from ci_identity.exchangers.vault.client import Refused, VaultClient, present, retried
from ci_identity.exchangers.vault.credential import VaultCredential
from ci_identity.exchangers.vault.rights import auth_namespace
from ci_identity.exchangers.vault.secrets import read_secrets
from ci_identity.model import Handle, VaultTarget
from ci_identity.secret import Secret

NO_ACCESSOR = "none"
"""In the handle of a batch token, which has no accessor."""

CA_VARIABLES = ("VAULT_CACERT", "BAO_CACERT")
_LONGEST = 10 * 365 * 86_400
_NO_END = timedelta(seconds=_LONGEST)
"""For tokens whose lease_duration is 0: they end only when revoked."""


class VaultExchanger:
    """Exchanges subject tokens at the JWT auth method of one server.

    Args:
        target: the grant's `vault:`.
        environ: where `VAULT_ADDR` (if the grant has no address), CA and proxy are found.

    Sources: https://openbao.org/api-docs/auth/jwt/, https://openbao.org/api-docs/auth/token/.
    """

    def __init__(self, target: VaultTarget, environ: Mapping[str, str]) -> None:
        address, variables = _address(target, environ)
        self._address = check_address(address, what=variables[0] if variables else "vault.address")
        self._network = Network.from_environ(address, environ, ca_variables=CA_VARIABLES)
        self._target = target
        self.audience = address
        self.steered_by = (*variables, *self._network.variables)
        namespace = f"{ns.strip('/')}/" if (ns := auth_namespace(target)) else ""
        base = f"{address.rstrip('/')}/v1/{namespace}"
        self.target = f"{base}auth/{target.mount.strip('/')}/role/{target.role}"

    def exchange(self, request: ExchangeRequest) -> VaultCredential:
        """Log in, narrow, check the rights, and read what the grant names."""
        credential = VaultCredential()
        request.hold(credential)
        self._login(credential, request)
        check_rights(credential, self._target, request)
        if self._target.policies:
            self._make_child(credential, request)
        credential.variables = read_secrets(credential, self._target, request)
        return credential

    def _client(self, namespace: str | None, token: Secret | None = None) -> VaultClient:
        return VaultClient(self._address, self._network, namespace=namespace, token=token)

    # ── login ────────────────────────────────────────────────────────────────────────────────

    def _login(self, credential: VaultCredential, request: ExchangeRequest) -> None:
        anonymous = self._client(auth_namespace(self._target))
        path = f"auth/{self._target.mount.strip('/')}/login"
        token = request.subject_token.token
        login = partial(anonymous.post, path, {"role": self._target.role, "jwt": token.reveal()})
        asked_at = datetime.now(UTC)
        answer = _ask(
            partial(_warn_if_unanswered, login, request), request, f"the login at {self.target}"
        )
        token = _token(answer)
        credential.hold_login(
            self._client(auth_namespace(self._target), token),
            self._client(self._target.namespace, token),
        )
        credential.login_policies = frozenset(answer.texts("auth", "policies"))
        life = _life(answer) or _NO_END
        credential.expires_at = asked_at + life
        credential.login_expires_at = datetime.now(UTC) + life
        request.record(_token_handle(answer, token, credential.expires_at))
        self._check_kind(credential, answer)
        if life > request.ttl:
            self._shorten(credential, request)

    def _check_kind(self, credential: VaultCredential, answer: Answer) -> None:
        kind, uses = answer.text("auth", "token_type"), answer.get("auth", "num_uses")
        credential.is_revocable = kind != "batch"
        if kind != "service":
            message = f"the role {self._target.role} issues {kind} tokens"
            raise VaultTokenKindError(message)
        if uses:
            message = f"the role {self._target.role} issues tokens for {uses} uses only"
            raise VaultTokenKindError(message)

    def _shorten(self, credential: VaultCredential, request: ExchangeRequest) -> None:
        login = present(credential.login)
        increment = f"{request.ttl.total_seconds():.0f}s"
        asked_at = datetime.now(UTC)
        renew = partial(login.post, "auth/token/renew-self", {"increment": increment})
        try:
            life = _life(retried(renew, request))
        except Refused:
            life = timedelta.max
        if life <= request.ttl:
            credential.expires_at = asked_at + life
            credential.login_expires_at = datetime.now(UTC) + life
            return
        what = f"the login token of the role {self._target.role} lives longer than the grant's ttl"
        if not self._target.policies:
            message = f"{what}, and cannot be shortened"
            raise TokenLifeError(message)
        credential.outlives = True
        request.warn(f"{what}; it is revoked with the step, but set token_ttl on the role")

    # ── the step's token and its values ──────────────────────────────────────────────────────

    def _make_child(self, credential: VaultCredential, request: ExchangeRequest) -> None:
        login = present(credential.login)
        ttl = f"{request.ttl.total_seconds():.0f}s"
        asked = {
            "policies": list(self._target.policies),
            "ttl": ttl,
            "explicit_max_ttl": ttl,
            "meta": _metadata(request),
            "display_name": "ci-identity",
            "no_default_policy": True,
            "renewable": False,
        }
        create = partial(login.post, "auth/token/create", asked)
        asked_at = datetime.now(UTC)
        names = ", ".join(self._target.policies)
        answer = _ask(create, request, f"a child token with the policies {names}")
        token = _token(answer)
        self._check_child(answer)
        life = _life(answer)
        if not timedelta(0) < life <= request.ttl:
            message = "the child token lives longer than was asked"
            raise TokenLifeError(message)
        credential.expires_at = min(credential.expires_at, asked_at + life)
        credential.step = self._client(self._target.namespace, token)
        request.record(_token_handle(answer, token, credential.expires_at))

    def _check_child(self, answer: Answer) -> None:
        """Check the answer against the question, whatever the server says that it did."""
        given = answer.texts("auth", "token_policies")
        inherited = answer.texts("auth", "identity_policies")
        if not set(given) <= set(self._target.policies) or inherited:
            more = sorted({*given, *inherited} - set(self._target.policies))
            message = f"the step's token would have more policies than asked: {', '.join(more)}"
            raise VaultNarrowingError(message)
        if answer.get("auth", "renewable"):
            message = "the step's token can be renewed, although it was not to be"
            raise VaultNarrowingError(message, cause="the server does not do what it is asked")


def _address(target: VaultTarget, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    if target.address:
        return target.address, ()
    for name in ("VAULT_ADDR", "BAO_ADDR"):
        if address := environ.get(name):
            return address, (name,)
    message = "the grant has no vault.address, and VAULT_ADDR is not set"
    raise ConfigurationError(message, hint="write the address into the grant")


def _warn_if_unanswered(login: Callable[[], Answer], request: ExchangeRequest) -> Answer:
    try:
        return login()
    except UnansweredError:
        request.warn(
            "a login was sent, and not answered: if the server took it, a token that nobody has"
            f" lives until the role's token_ttl (run {request.identity.run} in its audit log)"
        )
        raise


def _ask(call: Callable[[], Answer], request: ExchangeRequest, what: str) -> Answer:
    try:
        return retried(call, request)
    except Refused as refused:
        from ci_identity.exchangers.vault.errors import refusal  # noqa: PLC0415  # seldom needed

        raise refusal(what, refused.errors, request.identity) from None


def _token(answer: Answer) -> Secret:
    token = answer.text("auth", "client_token")
    if not re.fullmatch("[!-~]+", token):  # it goes into a header
        message = "the server's answer has a token that is none"
        raise ProviderAnswerError(message)
    return Secret(token)


def _life(answer: Answer) -> timedelta:
    return timedelta(seconds=min(max(answer.integer("auth", "lease_duration"), 0), _LONGEST))


def _token_handle(answer: Answer, token: Secret, expires_at: datetime) -> Handle:
    return Handle(
        kind="accessor",
        value=answer.text("auth", "accessor") or NO_ACCESSOR,
        expires_at=expires_at,
        fingerprint=token.fingerprint(),
    )


def _metadata(request: ExchangeRequest) -> dict[str, str]:
    identity = request.identity
    said = {
        "repository": identity.repository,
        "run": identity.run,
        "job": identity.job,
        "step": request.step,
        "grant": request.grant.name,
        "lease": request.lease_id,
    }
    return {name: value for name, value in said.items() if value}
