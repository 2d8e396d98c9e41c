"""One exchange at a cluster as its caller sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.exchangers.kubernetes import KubernetesCredential, KubernetesExchanger
from ci_identity.model import Grant, Handle, KubernetesTarget, SubjectToken, Wanted
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify
from ci_identity.sources.subject_token import parse
from tests.kubernetes.cluster import ACCOUNT, AUDIENCE, NAMESPACE
from tests.kubernetes.server import KubernetesWorld

LEASE = "0123456789abcdef"
NAME = f"ci-identity-{LEASE}"


def subject_token(issuer: Issuer, audience: str = AUDIENCE, **claims: Any) -> SubjectToken:
    """Return the token of a job of GitHub Actions with these claims."""
    return made_of(issuer.github_token(audience, **claims))


def made_of(token: Secret) -> SubjectToken:
    """Return a token as a source would find it."""
    return SubjectToken(token=token, claims=parse(token, origin="the test"), source="github")


def target(world: KubernetesWorld, **changes: Any) -> KubernetesTarget:
    """Return the grant's `kubernetes:`, but for `changes`."""
    usual = {
        "server": world.server,
        "namespace": NAMESPACE,
        "service_account": ACCOUNT,
        "audience": AUDIENCE,
        "ca_file": str(world.ca_file),
    }
    return KubernetesTarget(**(usual | changes))


@dataclass
class Stage:
    """One exchange: what it is asked, and everything that it told its caller."""

    token: SubjectToken
    target: KubernetesTarget
    mints: list[SubjectToken] = field(default_factory=list[SubjectToken])
    ttl: timedelta = timedelta(minutes=15)
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    events: list[str] = field(default_factory=list[str])
    held: list[Credential] = field(default_factory=list[Credential])
    handles: list[Handle] = field(default_factory=list[Handle])
    warnings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    pauses: list[float] = field(default_factory=list[float])
    minted: int = 0

    def exchanger(self) -> KubernetesExchanger:
        """Return the exchanger."""
        return KubernetesExchanger(self.target, self.environ, now=self.now)

    def exchange(self) -> KubernetesCredential:
        """Exchange the token, and return what came of it."""
        return self.exchanger().exchange(self.request)

    def refuse(self, *secret: str) -> Exception:
        """Return what the exchange raises, whose words hold no token and no text of theirs."""
        try:
            self.exchange()
        except Exception as error:  # noqa: BLE001  # the caller says which one it must be
            said = f"{error!r}{error}{getattr(error, 'cause', '')}{getattr(error, 'hint', '')}"
            said += f"{self.warnings}{self.notes}{error.__cause__}"
            for text in (self.token.token.reveal(), "WORDS", *secret):
                assert text not in said
            return error
        raise AssertionError(self.handles)

    @property
    def request(self) -> ExchangeRequest:
        """What the exchanger is asked for."""
        conditions = {"repository": (Wanted(text="acme/shop"),)}
        return ExchangeRequest(
            grant=Grant(name="rollout", conditions=conditions, target=self.target),
            subject_token=self.token,
            mint=self._mint,
            identity=identify(self.token),
            step="deploy",
            ttl=self.ttl,
            lease_id=LEASE,
            hold=self._hold,
            record=self._record,
            warn=self.warnings.append,
            note=self.notes.append,
            pause=self.pauses.append,
        )

    def _mint(self) -> SubjectToken:
        self.minted += 1
        return self.mints.pop(0) if len(self.mints) > 1 else (self.mints or [self.token])[0]

    def _hold(self, credential: Credential) -> None:
        self.events.append("hold")
        self.held.append(credential)

    def _record(self, handle: Handle) -> None:
        self.events.append(handle.kind)
        self.handles.append(handle)
