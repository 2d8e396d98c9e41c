"""The local world: an issuer, an OpenBao that trusts it, and a grant between the two."""

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import hvac

from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.secret import Secret

CI = Literal["github", "gitlab"]

GRANT = "migrate-db"

# What a login needs beyond OpenBao's `default` policy to make a step's token and end its leases.
_CI_POLICY = """
path "auth/token/create" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""
_SHOP_DB_POLICY = """
path "secret/data/shop" { capabilities = ["read"] }
"""

_CONDITIONS: Mapping[CI, Mapping[str, str]] = {
    "github": {"repository": "acme/shop", "repository_id": "42", "ref": "refs/heads/main"},
    "gitlab": {"project_id": "1234", "ref": "main", "ref_protected": "true"},
}
_ROLES: Mapping[CI, str] = {"github": "shop-migrate", "gitlab": "shop-migrate-gitlab"}
_REPOSITORY_CLAIM: Mapping[CI, str] = {"github": "repository", "gitlab": "project_path"}

_GRANTS = """\
version: 1
grants:
  {grant}:
    description: Migrate the shop's database
    for:
      issuer: {issuer}
{conditions}
    ttl: 5m
    vault:
      address: {address}
      mount: jwt
      role: {role}
      policies: [shop-db]
      secrets:
        DB_USER: {{from: secret/data/shop#username, public: true}}
        DB_PASSWORD: secret/data/shop#password
        LICENCE: secret/data/shop#licence
"""


class World:
    """An issuer and an OpenBao with one grant, `migrate-db`, for jobs of acme/shop on main.

    Leaving the `with` block, or `close()`, stops both and removes every file.

    Attributes:
        issuer: whose tokens OpenBao trusts.
        openbao: JWT auth at `jwt/`, policies `ci` and `shop-db`, one secret at `secret/data/shop`.
        secrets: the values of that secret, by key: `username` (not secret), `password`, and
            `licence`, which has several lines.
        grants_path: the grants file for GitHub-shaped jobs.
        gitlab_grants_path: the same grant for GitLab-shaped jobs, whose claims differ.
    """

    def __init__(self) -> None:
        """Start everything.

        Raises:
            MissingDependencyError: the `sandbox` extra is not installed.
            ProviderUnavailableError: OpenBao does not start.
        """
        with ExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="ci-identity-sandbox-"))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self.issuer = stack.enter_context(Issuer())
            self.openbao = stack.enter_context(OpenBao(self._folder))
            self.secrets = {
                "username": Secret("shop"),
                "password": Secret(secrets.token_urlsafe(24)),
                "licence": Secret("\n".join(secrets.token_hex(16) for _ in range(3))),
            }
            self._configure(self.openbao.client())
            self.grants_path = self._write_grants("github")
            self.gitlab_grants_path = self._write_grants("gitlab")
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything and remove every file. May be called twice."""
        self._stack.close()

    def environ(self, ci: CI = "github", claims: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Return the variables of a new job: the CI's own, and where grants and state are.

        Args:
            ci: whose job it looks like.
            claims: what its token says beside the defaults, which the grant is for; `None` as a
                value removes a claim. Every call makes a job of its own.
        """
        if ci == "github":
            job = self.issuer.github_environ(**claims or {})
        else:
            job = self.issuer.gitlab_environ(self.openbao.address, **claims or {})
        grants = self.grants_path if ci == "github" else self.gitlab_grants_path
        return job | {
            "CI_IDENTITY_GRANTS": str(grants),
            "CI_IDENTITY_STATE_DIR": str(self._folder / "state"),
        }

    def _configure(self, root: hvac.Client) -> None:
        values = {name: value.reveal() for name, value in self.secrets.items()}
        # Without `bound_issuer` only the keys would bind the issuer.
        address = self.issuer.address
        issuer: dict[str, Any] = {"oidc_discovery_url": address, "bound_issuer": address}
        for path, data in (
            ("sys/policies/acl/ci", {"policy": _CI_POLICY}),
            ("sys/policies/acl/shop-db", {"policy": _SHOP_DB_POLICY}),
            ("secret/data/shop", {"data": values}),
            ("sys/auth/jwt", {"type": "jwt"}),
            ("auth/jwt/config", issuer),
        ):
            root.write_data(path, data=data)
        for ci, role in _ROLES.items():
            root.write_data(f"auth/jwt/role/{role}", data=self._role(ci))

    def _role(self, ci: CI) -> dict[str, Any]:
        """The role as a platform team would write it: what the grant asks for, once more."""
        return {
            "role_type": "jwt",
            "bound_audiences": [self.openbao.address],
            "bound_claims": _CONDITIONS[ci],
            "claim_mappings": {_REPOSITORY_CLAIM[ci]: "repository"},
            "user_claim": "sub",
            "token_policies": ["ci", "shop-db"],
            "token_ttl": "10m",
        }

    def _write_grants(self, ci: CI) -> Path:
        conditions = (f"      {claim}: {value}" for claim, value in _CONDITIONS[ci].items())
        path = self._folder / ci / ".ci-identity.yml"
        path.parent.mkdir()
        path.write_text(
            _GRANTS.format(
                grant=GRANT,
                issuer=self.issuer.address,
                conditions="\n".join(conditions),
                address=self.openbao.address,
                role=_ROLES[ci],
            )
        )
        return path
