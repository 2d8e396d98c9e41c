"""Exchanges the job's token at Entra for a token of each resource that the grant names.

    one call per resource, in one connection -> record -> is it what was asked for?

All are asked for at the start, so that a refusal comes before the step begins.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from ci_identity._address import check_address
from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity.errors import (
    AzureApplicationError,
    AzureTokenTimeError,
    TokenLifeError,
    UnansweredError,
)
from ci_identity.exchangers.azure.authority import resolve
from ci_identity.exchangers.azure.credential import AzureCredential
from ci_identity.exchangers.azure.entra import ASSERTION_TYPE, Issued, Refused, ask
from ci_identity.exchangers.azure.errors import refusal
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.live_token import LiveToken
from ci_identity.model import AzureTarget, AzureToken, Handle, SubjectToken

RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""

_CLOCKS_DIFFER = timedelta(minutes=1)


def _now() -> datetime:
    return datetime.now(UTC)


class AzureExchanger:
    """Exchanges subject tokens for tokens of one Entra application.

    Args:
        target: the grant's `azure:`.
        environ: where authority, CA and proxy are found.
        now: returns the time (UTC).
    """

    def __init__(
        self,
        target: AzureTarget,
        environ: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        authority = resolve(target, environ)
        self._authority = check_address(authority.url, what=authority.named)
        self._network = Network.from_environ(self._authority, environ)
        self._target = target
        self._now = now
        self._life = timedelta(0)
        self.target = f"{target.tenant}/{target.client}"
        self.audience = authority.audience
        self.steered_by = (*authority.variables, *self._network.variables)

    def exchange(self, request: ExchangeRequest) -> AzureCredential:
        """Ask for each token, record it, and check that it is the one that was asked for."""
        _check_life(self._life, request)  # a renewal that would outlive `max` issues nothing
        credential = AzureCredential(self._target.client)
        request.hold(credential)
        assertion = LiveToken(request, self._now)
        correlation_id = _correlation_id(request.lease_id)
        with HttpSession(self._network) as http:
            http.deadline = time.monotonic() + RETRY_BUDGET
            for resource in self._target.resources:
                call = partial(self._call, http, request, resource, correlation_id)
                issued = retry(
                    partial(assertion.send, call, expired=AzureTokenTimeError),
                    budget=http.deadline - time.monotonic(),
                    pause=request.pause,
                )
                token = self._token(resource, issued)
                credential.hold_token(token)
                request.record(_handle(token, issued))
                self._check(issued)
                self._life = issued.life
                _check_life(issued.life, request)
        self._tell(request, correlation_id)
        return credential

    def _call(
        self,
        http: HttpSession,
        request: ExchangeRequest,
        resource: str,
        correlation_id: str,
        assertion: SubjectToken,
    ) -> Issued:
        url = f"{self._authority}/{self._target.tenant}/oauth2/v2.0/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": self._target.client,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion.token.reveal(),
            "scope": f"{resource}/.default",
        }
        try:
            return ask(http, url, form, correlation_id=correlation_id)
        except Refused as refused:
            raise refusal(
                refused,
                target=self._target,
                authority=self._authority,
                resource=resource,
                identity=request.identity,
            ) from None
        except UnansweredError as error:
            raise _unanswered(error, correlation_id, request) from None

    def _token(self, resource: str, issued: Issued) -> AzureToken:
        return AzureToken(
            resource=resource,
            access_token=issued.access_token,
            expires_at=self._now() + issued.life,
        )

    def _check(self, issued: Issued) -> None:
        """Check whose token it is, whoever it was that answered.

        Entra may make tokens that nobody but the resource can read: of those nothing can be said.
        """
        claims = issued.claims
        tenant, client = claims.get("tid"), claims.get("appid", claims.get("azp"))
        for wanted, got in ((self._target.tenant, tenant), (self._target.client, client)):
            if got is not None and str(got).lower() != wanted.lower():
                message = f"Entra was asked for {self.target}, and gave a token of another one"
                raise AzureApplicationError(
                    message,
                    cause="the authority is not Entra's own, or carries the request elsewhere",
                    hint="check `authority` of the grant, and AZURE_AUTHORITY_HOST",
                )

    def _tell(self, request: ExchangeRequest, correlation_id: str) -> None:
        count = len(self._target.resources)
        request.note(
            f"{request.grant.name}: {count} token{'s' * (count > 1)} of Entra, which nobody can end"
            f" sooner; its sign-in log has the correlation id {correlation_id}"
        )


def _check_life(life: timedelta, request: ExchangeRequest) -> None:
    """Raise if what Entra gives lives longer than was asked: it can be asked for no less."""
    if life <= request.ttl + _CLOCKS_DIFFER:
        return
    seconds, ttl = life.total_seconds(), request.ttl.total_seconds()
    message = f"Entra's tokens live for {seconds:.0f} s, longer than the {ttl:.0f} s asked for"
    raise TokenLifeError(
        message,
        cause="Entra alone decides how long its tokens live: mostly 60 to 90 minutes, and 24 hours"
        " for a managed identity",
        hint=f"write `ttl: {math.ceil(seconds / 60)}m` into the grant, knowing that a copy lives"
        " that long; or shorten it in the tenant, by a token lifetime policy for the application",
    )


def _correlation_id(lease_id: str) -> str:
    """Return a UUID that begins with the lease's id, for Entra's sign-in log."""
    return f"{lease_id[:8]}-{lease_id[8:12]}-{lease_id[12:]}-0000-000000000000"


def _unanswered(
    error: UnansweredError, correlation_id: str, request: ExchangeRequest
) -> UnansweredError:
    request.warn(
        f"{request.grant.name}: Entra was asked, and did not answer: if it took the request, a"
        f" token that nobody has lives; its correlation id is {correlation_id}"
    )
    hint = f"try again; if Entra took it, its sign-in log has the correlation id {correlation_id}"
    return UnansweredError(str(error), hint=hint, retry_after=error.retry_after)


def _handle(token: AzureToken, issued: Issued) -> Handle:
    """Return what Entra's sign-in log knows the token by: its `uti`, where it can be read."""
    name = issued.claims.get("uti")
    is_known = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]{1,64}", name)
    return Handle(
        kind="token",
        value=f"{token.resource} {name}" if is_known else token.resource,
        expires_at=token.expires_at,
        fingerprint=token.access_token.fingerprint(),
    )
