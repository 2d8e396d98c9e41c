"""What a platform team sets up for one grant: a role, two policies and a secret."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt

from ci_identity._record import replace
from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.exchangers.vault import VaultCredential, VaultExchanger
from ci_identity.model import (
    Grant,
    Handle,
    SecretReference,
    SubjectToken,
    UnverifiedClaims,
    VaultTarget,
    Wanted,
)
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify

CREATE = 'path "auth/token/create" { capabilities = ["update"] }'
REVOKE_LEASE = 'path "sys/leases/revoke" { capabilities = ["update"] }'


@dataclass
class Exchange:
    """One exchange as its caller sees it.

    Attributes:
        request: what the exchanger is asked.
        held: the credential, from before the first effect.
        handles: what was recorded, in order.
        warnings: what was said to people.
        pauses: the seconds asked for between two tries; nobody sleeps.
    """

    request: ExchangeRequest = field(init=False)
    held: list[VaultCredential] = field(default_factory=list[VaultCredential])
    handles: list[Handle] = field(default_factory=list[Handle])
    warnings: list[str] = field(default_factory=list[str])
    pauses: list[float] = field(default_factory=list[float])

    def hold(self, credential: Credential) -> None:
        assert isinstance(credential, VaultCredential)
        self.held.append(credential)

    @property
    def credential(self) -> VaultCredential:
        """The credential itself."""
        return self.held[0]

    @property
    def values(self) -> dict[str, str]:
        """What the step is given, as plain text."""
        return {name: given.value.reveal() for name, given in self.credential.variables.items()}

    def accessors(self) -> list[str]:
        """Return the accessors that were recorded, the login's first."""
        return [handle.value for handle in self.handles if handle.kind == "accessor"]


class Shop:
    """A role, its policies and a secret, with a name of their own in a real OpenBao.

    The login has the policies `NAME-ci` and `NAME-step`; the secret is at `secret/data/NAME`.

    Args:
        openbao: the server.
        issuer: whose tokens it trusts.
        namespace: the namespace to set all of it up in, which then gets its own mounts.

    Attributes:
        last: what the last exchange came to.
    """

    def __init__(self, openbao: OpenBao, issuer: Issuer, *, namespace: str | None = None) -> None:
        self.openbao, self.issuer, self.namespace = openbao, issuer, namespace
        self.name = f"shop-{secrets.token_hex(4)}"
        self.path = f"secret/data/{self.name}"
        self.root = openbao.client(namespace=namespace)
        self.password = secrets.token_urlsafe(16)
        self.last = Exchange()
        if namespace:
            self.root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
            self.trust(self.root)
        self.store({"username": self.name, "password": self.password})
        self.policy("ci", f"{CREATE}\n{REVOKE_LEASE}")
        self.policy("step", self.may_read(self.path))
        self.role()

    def trust(self, root: Any, *, mount: str = "jwt", **config: Any) -> None:
        """Mount a JWT auth method at `mount` in the namespace of `root`."""
        root.sys.enable_auth_method("jwt", path=mount)
        trusted = {"oidc_discovery_url": self.issuer.address} | config
        root.write_data(f"auth/{mount}/config", data=trusted)

    @staticmethod
    def may_read(path: str) -> str:
        """Return the policy that lets somebody read `path` and no more."""
        return f'path "{path}" {{ capabilities = ["read"] }}'

    @staticmethod
    def may_write(path: str) -> str:
        """Return the policy that lets somebody have `path` issue something, and no more."""
        return f'path "{path}" {{ capabilities = ["update"] }}'

    def mount(self, kind: str) -> str:
        """Mount an engine of this kind with a name of its own, and return the name."""
        self.root.sys.enable_secrets_engine(kind, path=f"{self.name}-{kind}")
        return f"{self.name}-{kind}"

    def store(self, data: Mapping[str, Any], path: str | None = None) -> None:
        """Write `data` as the secret at `path`, KV version 2."""
        self.root.write_data(path or self.path, data={"data": dict(data)})

    def policy(self, what: str, text: str) -> str:
        """Write the policy `NAME-what` and return its name."""
        self.root.sys.create_or_update_acl_policy(f"{self.name}-{what}", text)
        return f"{self.name}-{what}"

    def role(self, *, root: Any = None, mount: str = "jwt", **settings: Any) -> None:
        """Write the role anew: as a platform team would, but for `settings`; `None` drops one."""
        usual = {
            "role_type": "jwt",
            "bound_audiences": [self.openbao.address],
            "bound_claims": {"repository": "acme/shop", "ref": "refs/heads/main"},
            "user_claim": "sub",
            "token_policies": [f"{self.name}-ci", f"{self.name}-step"],
            "token_ttl": "5m",
        }
        role = {name: value for name, value in (usual | settings).items() if value is not None}
        client, path = root or self.root, f"auth/{mount}/role/{self.name}"
        client.delete(path)  # a write would keep what it does not mention
        client.write_data(path, data=role)

    def target(self, **changes: Any) -> VaultTarget:
        """Return the grant's `vault:`: the role, the step's policy and the password."""
        usual = {
            "address": self.openbao.address,
            "role": self.name,
            "namespace": self.namespace,
            "policies": (f"{self.name}-step",),
            "secrets": references(PASSWORD=f"{self.path}#password"),
        }
        return VaultTarget(**(usual | changes))

    def token(self, **claims: Any) -> Secret:
        """Return the token of a job of acme/shop on main, with these claims."""
        return self.issuer.github_token(self.openbao.address, **claims)

    @contextmanager
    def exchange(
        self,
        target: VaultTarget | None = None,
        *,
        token: Secret | None = None,
        ttl: timedelta = timedelta(minutes=5),
        environ: Mapping[str, str] | None = None,
        **callbacks: Any,
    ) -> Iterator[Exchange]:
        """Exchange a token at `target`, and end whatever was issued, however it goes.

        Args:
            target: what for; by default the password, with the step's policy.
            token: whose token; by default that of a job which the role is for.
            ttl: how long the credential may live.
            environ: what the exchanger sees of the environment.
            callbacks: `record`, `warn` or `pause` to use instead of those that take notes.
        """
        target = target or self.target()
        self.last = seen = Exchange()
        request = self._request(target, token or self.token(), seen, ttl=ttl)
        seen.request = replace(request, **callbacks)
        try:
            assert VaultExchanger(target, environ or {}).exchange(seen.request) is seen.credential
            yield seen
        finally:
            for credential in seen.held:
                credential.revoke(budget=5.0)

    def refuse(self, target: VaultTarget | None = None, **asked: Any) -> Exception:
        """Return what the exchange raises; its words hold no token and none of the server's."""
        try:
            with self.exchange(target, **asked) as seen:
                pass
        except Exception as error:  # noqa: BLE001  # the caller says which one it must be
            return error
        raise AssertionError(seen.handles)

    def _request(
        self, target: VaultTarget, token: Secret, seen: Exchange, *, ttl: timedelta
    ) -> ExchangeRequest:
        claims = jwt.decode(token.reveal(), options={"verify_signature": False})
        subject_token = SubjectToken(
            token=token, claims=UnverifiedClaims(claims), source="github", step="migrate"
        )
        return ExchangeRequest(
            grant=Grant(
                name="migrate-db",
                conditions={"repository": (Wanted(text="acme/shop"),)},
                target=target,
            ),
            subject_token=subject_token,
            mint=lambda: subject_token,
            identity=identify(subject_token),
            step="migrate",
            ttl=ttl,
            lease_id=f"lease-of-{self.name}",
            hold=seen.hold,
            record=seen.handles.append,
            warn=seen.warnings.append,
            note=seen.warnings.append,
            pause=seen.pauses.append,
        )


def written(
    reference: str,
    given: Mapping[str, str] | None = None,
    *,
    ttl: timedelta | None = None,
    **more: str,
) -> SecretReference:
    """Return one line of `secrets:` that is `{from: PATH#FIELD, with: {...}}`."""
    path, _, field = reference.partition("#")
    return SecretReference(path=path, field=field, parameters={**(given or {}), **more}, ttl=ttl)


def references(**variables: str) -> dict[str, SecretReference]:
    """Return the grant's `secrets:`, each written as `PATH#FIELD`."""
    parts = {name: text.partition("#") for name, text in variables.items()}
    return {
        name: SecretReference(path=path, field=field) for name, (path, _, field) in parts.items()
    }
