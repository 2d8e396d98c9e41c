"""One exchange at Entra as its caller sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ci_identity.exchangers.azure import AzureCredential, AzureExchanger
from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.model import AZURE_TTL, AzureTarget, Grant, Handle, SubjectToken, Wanted
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sources.claims import identify
from ci_identity.sources.subject_token import parse
from tests.azure.entra import AUDIENCE, CLIENT, TENANT, VAULT

LEASE = "0123456789abcdef"
CORRELATION_ID = "01234567-89ab-cdef-0000-000000000000"


def target(**changes: Any) -> AzureTarget:
    """Return the grant's `azure:`, but for `changes`."""
    return AzureTarget(**({"tenant": TENANT, "client": CLIENT, "resources": (VAULT,)} | changes))


def subject_token(issuer: Issuer, *, audience: str = AUDIENCE, **claims: Any) -> SubjectToken:
    """Return the token of a job of GitHub Actions with these claims."""
    token = issuer.github_token(audience, **claims)
    return SubjectToken(token=token, claims=parse(token, origin="the test"), source="github")


@dataclass
class Stage:
    """One exchange: what it is asked, and everything that it told its caller.

    Attributes:
        mints: the tokens that minting again gives, in order; the last one for ever.
        events: `hold` and `record`, in the order in which they came.
        now: the machine's clock.
        exchanger: who exchanges; made at the first exchange.
    """

    target: AzureTarget
    token: SubjectToken
    mints: list[SubjectToken] = field(default_factory=list[SubjectToken])
    ttl: timedelta = AZURE_TTL
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    held: list[Credential] = field(default_factory=list[Credential])
    handles: list[Handle] = field(default_factory=list[Handle])
    events: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    pauses: list[float] = field(default_factory=list[float])
    minted: int = 0
    exchanger: AzureExchanger | None = None

    def exchange(self) -> AzureCredential:
        """Exchange the token, and return what came of it."""
        self.exchanger = self.exchanger or AzureExchanger(self.target, self.environ, now=self.now)
        return self.exchanger.exchange(self.request)

    def refuse(self) -> Exception:
        """Return what the exchange raises, whose words hold no token and none of Entra's."""
        try:
            self.exchange()
        except Exception as error:  # noqa: BLE001  # the caller says which one it must be
            said = f"{error!r}{error}{getattr(error, 'cause', '')}{getattr(error, 'hint', '')}"
            said += f"{self.warnings}{self.notes}{error.__cause__}"
            for text in (self.token.token.reveal(), "Trace ID", "WORDS", "eyJ"):
                assert text not in said
            return error
        raise AssertionError(self.handles)

    @property
    def request(self) -> ExchangeRequest:
        """What the exchanger is asked for."""
        conditions = {"repository": (Wanted(text="acme/shop"),)}
        return ExchangeRequest(
            grant=Grant(name="rotate", conditions=conditions, target=self.target),
            subject_token=self.token,
            mint=self._mint,
            identity=identify(self.token),
            step="rotate",
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
        self.events.append("record")
        self.handles.append(handle)
