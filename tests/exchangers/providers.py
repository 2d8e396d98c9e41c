"""Each provider as the contract test has it: one that can be told to misbehave.

A new target is a class here, and a line in `PROVIDERS`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from ci_identity.exchangers.aws.credential import STRENGTH as AWS
from ci_identity.exchangers.azure.credential import STRENGTH as AZURE
from ci_identity.exchangers.gcp.credential import STRENGTH as GCP
from ci_identity.exchangers.interface import Strength
from ci_identity.exchangers.kubernetes.credential import STRENGTH as KUBERNETES
from ci_identity.exchangers.token_exchange.credential import NOT_REVOCABLE, REVOCABLE
from ci_identity.exchangers.vault.credential import STRENGTH as VAULT
from ci_identity.model import AZURE_TTL, Handle, SubjectToken, Target
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import parse
from tests.audit import is_alive
from tests.azure.entra import AUDIENCE, Entra
from tests.azure.entra import error as entra_error
from tests.azure.entra import says as entra_says
from tests.exchangers.aws.stage import ROLE, Sts
from tests.exchangers.aws.stage import refusal as sts_refusal
from tests.exchangers.aws.stage import says as sts_says
from tests.exchangers.aws.stage import target as aws_target
from tests.exchangers.azure.stage import target as azure_target
from tests.exchangers.front import Front, answers, with_
from tests.exchangers.gcp.stage import target as gcp_target
from tests.exchangers.kubernetes.stage import target as kubernetes_target
from tests.exchangers.shop import Shop
from tests.exchangers.token_exchange.stage import target as exchange_target
from tests.gcp.google import DEFAULT_AUDIENCE
from tests.gcp.server import GcpWorld
from tests.kubernetes.cluster import AUDIENCE as ACME
from tests.kubernetes.server import KubernetesWorld
from tests.token_exchange.server import API, AuthorizationServer, says

WORDS = "WORDS-of-the-provider"
"""Stands in all that a provider says where an error of ours may not have it."""


class Provider(ABC):
    """A provider that trusts the job, and an exchange there that succeeds.

    Attributes:
        strength: what is declared of its ends.
        audience: whom the job's token is made for.
        ttl: a life that it can give.
        environ: the variables by which it is reached.
        token: the job's token.
        target: the grant's.
    """

    strength: ClassVar[Strength]
    audience: ClassVar[str]
    ttl: ClassVar[timedelta] = timedelta(minutes=15)
    target: Target

    def __init__(self, issuer: Issuer) -> None:
        token = issuer.github_token(self.audience)
        claims = parse(token, origin="the test")
        self.token = SubjectToken(token=token, claims=claims, source="github")
        self.subject = str(claims["sub"])
        self.environ: dict[str, str] = {}

    @classmethod
    @abstractmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator["Provider"]:
        """Yield one, and end it."""

    @property
    @abstractmethod
    def calls(self) -> int:
        """How many requests it was sent."""

    @abstractmethod
    def refuse(self) -> None:
        """Say no from now on, in words that have the job's token and `WORDS`."""

    @abstractmethod
    def say_later(self, times: int) -> None:
        """Answer so many requests by "later"."""

    @abstractmethod
    def give_more(self) -> None:
        """Do not narrow as asked: give more, or none of what would narrow."""

    @abstractmethod
    def give_longer(self) -> None:
        """Give what lives longer than is asked."""

    def is_alive(self, handle: Handle, secret: Secret | None) -> bool:
        """Return whether it takes what it has given; where ends are not confirmed, as ever."""
        del handle, secret
        return True


class Vault(Provider):
    """A real OpenBao, with a server in front that can be told to lie."""

    strength = VAULT

    def __init__(self, shop: Shop, front: Front) -> None:
        self.audience = shop.openbao.address  # type: ignore[misc]  # known at run time only
        super().__init__(shop.issuer)
        self.shop, self.front = shop, front
        self.target = shop.target(address=front.address)

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del folder
        with Front(openbao.address) as front:
            yield cls(Shop(openbao, issuer), front)

    @property
    def calls(self) -> int:
        return len(self.front.asked)

    def refuse(self) -> None:
        said = json.dumps({"errors": [f"{WORDS} {self.token.token.reveal()}"]})
        self.front.faults["auth/jwt/login"] = [answers(400, said)] * 9

    def say_later(self, times: int) -> None:
        self.front.faults["auth/jwt/login"] = [answers(503, WORDS)] * times

    def give_more(self) -> None:
        more = [f"{self.shop.name}-step", "root"]
        path = ("auth", "token_policies")
        self.front.faults["auth/token/create"] = [with_(value=more, path=path)]

    def give_longer(self) -> None:
        self.shop.role(token_ttl="2h")

    def is_alive(self, handle: Handle, secret: Secret | None) -> bool:
        del secret
        return is_alive(self.shop.openbao, handle.value)


class Aws(Provider):
    """An STS that answers as it is told."""

    strength, audience = AWS, "sts.amazonaws.com"

    def __init__(self, issuer: Issuer, sts: Sts) -> None:
        super().__init__(issuer)
        self.sts = sts
        self.target = aws_target(endpoint=sts.address)

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del openbao, folder
        with Sts() as sts:
            yield cls(issuer, sts)

    @property
    def calls(self) -> int:
        return len(self.sts.asked)

    def refuse(self) -> None:
        said = sts_refusal("AccessDenied", f"{WORDS} {self.token.token.reveal()}")
        self.sts.faults = [sts_says(403, said)] * 9

    def say_later(self, times: int) -> None:
        self.sts.faults = [sts_says(503, WORDS)] * times

    def give_more(self) -> None:
        name = ROLE.rpartition("/")[2].replace("deploy", "admin")
        self.sts.changes = {"Arn": f"arn:aws:sts::123456789012:assumed-role/{name}/x"}

    def give_longer(self) -> None:
        ends = datetime.now(UTC) + timedelta(hours=2)
        self.sts.changes = {"Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}


class Gcp(Provider):
    """A Google Cloud that decides as Google does."""

    strength, audience = GCP, DEFAULT_AUDIENCE

    def __init__(self, issuer: Issuer, world: GcpWorld) -> None:
        super().__init__(issuer)
        self.world = world
        world.trust(self.subject)
        self.environ, self.target = world.environ, gcp_target()

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del openbao
        with GcpWorld(issuer.address, folder) as world:
            yield cls(issuer, world)

    @property
    def calls(self) -> int:
        return len(self.world.calls)

    def refuse(self) -> None:
        said = {"error": "invalid_grant", "error_description": self.token.token.reveal() + WORDS}
        self.world.fail("sts", 400, json.dumps(said).encode(), times=9)

    def say_later(self, times: int) -> None:
        self.world.fail("sts", 503, WORDS.encode(), times=times)

    def give_more(self) -> None:
        """Take no boundary: Google's answers say nothing of what a token may do."""
        rule = {"resource": "//run.googleapis.com/x", "role": "roles/x"}
        self.target = gcp_target(boundary=(rule,))

    def give_longer(self) -> None:
        ends = datetime.now(UTC) + timedelta(hours=2)
        said = {
            "accessToken": "ya29.d.0123456789abcdef",
            "expireTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }
        self.world.fail("iamcredentials", 200, json.dumps(said).encode())


class Azure(Provider):
    """An Entra that verifies what a federated credential binds."""

    strength, audience, ttl = AZURE, AUDIENCE, AZURE_TTL

    def __init__(self, issuer: Issuer, entra: Entra) -> None:
        super().__init__(issuer)
        self.entra = entra
        entra.subject = self.subject
        self.target = azure_target(authority=entra.address)

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del openbao, folder
        with Entra(issuer.address, "") as entra:
            yield cls(issuer, entra)

    @property
    def calls(self) -> int:
        return len(self.entra.calls)

    def refuse(self) -> None:
        said = entra_error(700213, f"{WORDS} {self.token.token.reveal()}")
        self.entra.faults = [entra_says(400, said)] * 9

    def say_later(self, times: int) -> None:
        self.entra.faults = [entra_says(503, WORDS)] * times

    def give_more(self) -> None:
        self.entra.claims = {"tid": "99999999-2222-3333-4444-555555555555"}

    def give_longer(self) -> None:
        self.entra.life = 24 * 3600


class Kubernetes(Provider):
    """A cluster that decides as an API server does."""

    strength, audience = KUBERNETES, ACME

    def __init__(self, issuer: Issuer, world: KubernetesWorld) -> None:
        super().__init__(issuer)
        self.world = world
        world.cluster.trust(self.subject)
        self.target = kubernetes_target(world)

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del openbao
        with KubernetesWorld(issuer.address, folder) as world:
            yield cls(issuer, world)

    @property
    def calls(self) -> int:
        return len(self.world.calls)

    def refuse(self) -> None:
        said = {"kind": "Status", "message": self.token.token.reveal() + WORDS, "code": 401}
        for _ in range(9):
            self.world.fail("POST", "/secrets", 401, body=json.dumps(said).encode())

    def say_later(self, times: int) -> None:
        for _ in range(times):
            self.world.fail("POST", "/secrets", 503, body=WORDS.encode())

    def give_more(self) -> None:
        other = {"sub": "system:serviceaccount:shop:admin"}
        self.world.cluster.rewrite = lambda claims: claims | other

    def give_longer(self) -> None:
        self.world.cluster.extra_life = 3600

    def is_alive(self, handle: Handle, secret: Secret | None) -> bool:
        del handle
        return secret is not None and self.world.cluster.takes(secret.reveal())


class TokenExchange(Provider):
    """An authorization server with a revocation endpoint."""

    strength, audience = REVOCABLE, API

    def __init__(self, issuer: Issuer, server: AuthorizationServer) -> None:
        super().__init__(issuer)
        self.server = server
        server.subject = self.subject
        self.target = exchange_target(server)

    @classmethod
    def running(cls, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
        del openbao, folder
        with AuthorizationServer(issuer.address, "") as server:
            yield cls(issuer, server)

    @property
    def calls(self) -> int:
        return len(self.server.calls)

    def refuse(self) -> None:
        said = {"error": "invalid_grant", "error_description": self.token.token.reveal() + WORDS}
        self.server.faults = [says(400, json.dumps(said))] * 9

    def say_later(self, times: int) -> None:
        self.server.faults = [says(503, WORDS)] * times

    def give_more(self) -> None:
        self.server.changes = {"scope": "upload admin"}

    def give_longer(self) -> None:
        self.server.life = 3600

    def is_alive(self, handle: Handle, secret: Secret | None) -> bool:
        del handle
        return secret is not None and self.server.accepts(secret.reveal())


class TokenExchangeAlone(TokenExchange):
    """One without."""

    strength = NOT_REVOCABLE

    def __init__(self, issuer: Issuer, server: AuthorizationServer) -> None:
        super().__init__(issuer, server)
        self.target = exchange_target(server, revoke_url=None)


PROVIDERS: dict[str, type[Provider]] = {
    "vault": Vault,
    "aws": Aws,
    "gcp": Gcp,
    "azure": Azure,
    "kubernetes": Kubernetes,
    "token_exchange": TokenExchange,
    "token_exchange without revoke_url": TokenExchangeAlone,
}


@contextmanager
def running(name: str, issuer: Issuer, openbao: OpenBao, folder: Path) -> Iterator[Provider]:
    """Run the provider of that name."""
    yield from PROVIDERS[name].running(issuer, openbao, folder)
