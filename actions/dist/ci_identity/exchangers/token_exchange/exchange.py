"""Exchanges the job's token at a server that speaks RFC 8693, and has what it gives ended there.

    one call -> hold -> record -> is it what was asked for? -> deliver

Nothing but the job's token logs in: a secret for a client would be one more to keep.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from ci_identity._address import check_address
from ci_identity._http import HttpSession, retry
from ci_identity._jws import take_apart
from ci_identity._network import Network
from ci_identity._text import lasting, shortened
from ci_identity.errors import (
    ExchangeError,
    ExchangeScopeError,
    ProviderAnswerError,
    TokenLifeError,
    UnansweredError,
)
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.live_token import LiveToken
from ci_identity.exchangers.token_exchange.client import MAX_LIFE, Issued, Refused, exchange, revoke
from ci_identity.exchangers.token_exchange.credential import TokenCredential
from ci_identity.exchangers.token_exchange.errors import refusal
from ci_identity.model import Handle, SubjectToken, TokenExchangeTarget
from ci_identity.secret import Secret

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105  # RFC 8693, section 3

RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""

_CLOCKS_DIFFER = timedelta(minutes=1)


def _now() -> datetime:
    return datetime.now(UTC)


class TokenExchanger:
    """Exchanges subject tokens at one token endpoint.

    Args:
        target: the grant's `token_exchange:`.
        environ: where CA and proxy are found.
        now: returns the time (UTC).
    """

    def __init__(
        self,
        target: TokenExchangeTarget,
        environ: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        check_address(target.url, what="token_exchange.url")
        self._network = Network.from_environ(target.url, environ)
        self._revocation: Network | None = None
        variables = self._network.variables
        if target.revoke_url:
            check_address(target.revoke_url, what="token_exchange.revoke_url")
            self._revocation = Network.from_environ(target.revoke_url, environ)
            variables += self._revocation.variables
        self._target = target
        self._asked = frozenset((target.scope or "").split())
        self._now = now
        self.target = f"{target.audience} at {urlsplit(target.url).netloc}"
        self.audience = target.audience
        self.steered_by = tuple(dict.fromkeys(variables))

    def exchange(self, request: ExchangeRequest) -> TokenCredential:
        """Ask for a token, record it, and check that it is no more than was asked for."""
        credential = TokenCredential(self._revoke if self._revocation else None)
        request.hold(credential)
        with HttpSession(self._network) as http:
            http.deadline = time.monotonic() + RETRY_BUDGET
            issued = retry(
                partial(
                    LiveToken(request, self._now).send,
                    partial(self._ask, http, request, credential),
                ),
                budget=RETRY_BUDGET,
                pause=request.pause,
            )
        claims = _claims(credential.secrets[0])
        expires_at = _end(issued, claims, self._now())
        credential.expires_at = expires_at or credential.expires_at
        for token in credential.secrets:
            request.record(_handle(token, claims, expires_at))
        self._check(issued, claims)
        self._tell(issued, claims, request)
        if len(credential.secrets) > 1 and not self._revocation:
            request.warn(
                f"{request.grant.name}: a refresh token came along, which is dropped, and lives on;"
                " have the server issue none, or write its `revoke_url` into the grant"
            )
        _check_life(expires_at, self._now(), request)
        credential.deliver(self._target.variable_for(request.grant.name))
        return credential

    # ── the calls ────────────────────────────────────────────────────────────────────────────

    def _ask(
        self,
        http: HttpSession,
        request: ExchangeRequest,
        credential: TokenCredential,
        subject: SubjectToken,
    ) -> Issued:
        target = self._target
        form = {
            "grant_type": GRANT_TYPE,
            "subject_token": subject.token.reveal(),
            "subject_token_type": TOKEN_TYPE + target.subject_token_type,
            "audience": target.audience,
            **({"scope": target.scope} if target.scope else {}),
            **({"client_id": target.client_id} if target.client_id else {}),
            **target.parameters,
        }
        try:
            return exchange(http, target.url, form, hold=credential.hold_token)
        except Refused as refused:
            raise refusal(refused, target, request.identity) from None
        except ProviderAnswerError:
            if credential.secrets and not self._revocation:
                request.warn(
                    f"{request.grant.name}: a token came from {self.target} that is not handed"
                    " over, and lives as long as it makes them; the grant has no revoke_url"
                )
            raise
        except UnansweredError as error:
            request.warn(
                f"{request.grant.name}: {self.target} was asked, and did not answer: if it took the"
                " request, a token that nobody has lives as long as it makes them"
            )
            hint = "try again; the server's own log has what it issued"
            raise UnansweredError(str(error), hint=hint, retry_after=error.retry_after) from None

    def _revoke(self, token: Secret, deadline: float) -> None:
        """Have the server end a token, of either kind: it finds out by itself of which."""
        form = {"token": token.reveal()}
        if self._target.client_id:
            form["client_id"] = self._target.client_id
        with HttpSession(self._revocation or self._network) as http:
            http.deadline = deadline
            revoke(http, self._target.revoke_url or "", form)

    # ── is it what was asked for? ────────────────────────────────────────────────────────────

    def _check(self, issued: Issued, claims: Mapping[str, object]) -> None:
        if issued.token_type != "bearer":  # noqa: S105  # RFC 6750; also N_A, DPoP
            kind = shortened(issued.token_type)
            message = f"{self.target} gave a token of the type {kind}, which no variable can carry"
            raise ExchangeError(
                message,
                cause="the server issues something that is no access token, or is bound to a key",
                hint="have it issue Bearer tokens to this client; some are told by a field"
                " `requested_token_type` (`parameters:`)",
            )
        named = claims.get("scope")  # RFC 9068, section 2.2.3: what services go by
        written = frozenset(named.split() if isinstance(named, str) else ())
        given = (self._asked if issued.scope is None else issued.scope) | written
        if self._asked and not given <= self._asked:
            what = "more" if self._asked <= given else "another scope"
            more = shortened(" ".join(sorted(given - self._asked)))
            message = f"{self.target} gave {what} than was asked: {more}"
            raise ExchangeScopeError(message, cause="the server does not keep to the scope asked")

    def _tell(self, issued: Issued, claims: Mapping[str, object], request: ExchangeRequest) -> None:
        """Say what else is to be known of it."""
        name, audience = request.grant.name, claims.get("aud")
        if issued.scope is not None and issued.scope != self._asked:
            scope = shortened(" ".join(sorted(issued.scope)))
            request.note(f"{name}: the token has the scope {scope or 'of nothing'}")
        if audience not in (None, self._target.audience, [self._target.audience]):
            request.note(f"{name}: the token is for {shortened(str(audience))}")


def _handle(token: Secret, claims: Mapping[str, object], expires_at: datetime | None) -> Handle:
    """Return what the server's log may know the token by: its `jti`, where it can be read."""
    name = claims.get("jti")
    is_known = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_.:-]{1,64}", name)
    return Handle(
        kind="token",
        value=str(name) if is_known else "unnamed",
        expires_at=expires_at,
        fingerprint=token.fingerprint(),
    )


def _claims(token: Secret) -> Mapping[str, object]:
    """Return its claims, unverified; none if it is not a JWT, or not for us to read."""
    try:
        return take_apart(token.reveal())[1]
    except ValueError:
        return {}


def _end(issued: Issued, claims: Mapping[str, object], now: datetime) -> datetime | None:
    """Return when the token ends: the later one of what the server says and what it wrote."""
    ends = [] if issued.life is None else [now + issued.life]
    exp = claims.get("exp")
    if isinstance(exp, int | float) and exp > 0:  # not NaN either
        latest = (now + MAX_LIFE).timestamp()
        ends.append(datetime.fromtimestamp(min(exp, latest), UTC))
    return max(ends, default=None)


def _check_life(expires_at: datetime | None, now: datetime, request: ExchangeRequest) -> None:
    """Raise if the token lives longer than was asked: RFC 8693 has no way to ask for less."""
    if expires_at is None:
        message = f"{request.grant.name}: the server does not say when its token ends"
        raise TokenLifeError(
            message,
            cause="the answer has no expires_in, and the token is no JWT with an `exp`",
            hint="have the server say it: RFC 8693 recommends expires_in",
        )
    life = expires_at - now
    if life <= request.ttl + _CLOCKS_DIFFER:
        return
    minutes = math.ceil(life.total_seconds() / 60)
    message = (
        f"{request.grant.name}: the server's token lives for {minutes} min, longer than the"
        f" {lasting(request.ttl)} asked for"
    )
    write = f"write `ttl: {minutes}m` into the grant"
    if life <= request.grant.ttl:
        write = f"ask for `--ttl {minutes}m`, which the grant allows"
    raise TokenLifeError(
        message,
        cause="token exchange has no way to ask for a shorter life: the server decides",
        hint=f"shorten it at the server, or by a field of its own (`parameters:`); or"
        f" {write}, knowing that a copy may live that long",
    )
