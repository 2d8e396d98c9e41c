"""One exchange at an authorization server as its caller sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ci_identity.exchangers.interface import Credential, ExchangeRequest
from ci_identity.exchangers.token_exchange import TokenCredential, TokenExchanger
from ci_identity.model import Grant, Handle, SubjectToken, TokenExchangeTarget, Wanted
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sources.claims import identify
from ci_identity.sources.subject_token import parse
from tests.token_exchange.server import API, AuthorizationServer


def target(server: AuthorizationServer, **changes: Any) -> TokenExchangeTarget:
    """Return the grant's `token_exchange:`, but for `changes`."""
    usual = {
        "url": f"{server.address}/token",
        "audience": API,
        "scope": "upload",
        "revoke_url": f"{server.address}/revoke",
    }
    return TokenExchangeTarget(**(usual | changes))


def subject_token(issuer: Issuer, *, audience: str = API, **claims: Any) -> SubjectToken:
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
    """

    target: TokenExchangeTarget
    token: SubjectToken
    mints: list[SubjectToken] = field(default_factory=list[SubjectToken])
    ttl: timedelta = timedelta(minutes=15)
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    held: list[Credential] = field(default_factory=list[Credential])
    handles: list[Handle] = field(default_factory=list[Handle])
    events: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    pauses: list[float] = field(default_factory=list[float])
    minted: int = 0

    def exchanger(self) -> TokenExchanger:
        """Return the exchanger."""
        return TokenExchanger(self.target, self.environ, now=self.now)

    def exchange(self) -> TokenCredential:
        """Exchange the token, and return what came of it."""
        return self.exchanger().exchange(self.request)

    def given(self) -> str:
        """Exchange the token, and return the text of what the step is given."""
        (given,) = self.exchange().variables.values()
        return given.value.reveal()

    def refuse(self) -> Exception:
        """Return what the exchange raises, whose words hold no token and none of the server's."""
        try:
            self.exchange()
        except Exception as error:  # noqa: BLE001  # the caller says which one it must be
            said = f"{error!r}{error}{getattr(error, 'cause', '')}{getattr(error, 'hint', '')}"
            said += f"{self.warnings}{self.notes}{error.__cause__}"
            for text in (self.token.token.reveal(), "WORDS", "eyJ", "opaque-", "refresh-"):
                assert text not in said
            return error
        raise AssertionError(self.handles)

    @property
    def request(self) -> ExchangeRequest:
        """What the exchanger is asked for."""
        conditions = {"repository": (Wanted(text="acme/shop"),)}
        return ExchangeRequest(
            grant=Grant(name="partner", conditions=conditions, target=self.target),
            subject_token=self.token,
            mint=self._mint,
            identity=identify(self.token),
            step="upload",
            ttl=self.ttl,
            lease_id="0123456789abcdef",
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
