"""Exchanges the job's token at Google for one of the grant's provider or service account.

    federate -> record -> (impersonate -> record) -> (narrow -> record)

Only the last token leaves this module. It never outlives what was asked for: a service account's
is made to measure, a federated one is refused before it is made if it would.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity._record import replace
from ci_identity.errors import GcpLifetimeError, GcpTokenTimeError, SettingError
from ci_identity.exchangers.gcp.client import IAM_SCOPE, Client, Refused, full_scopes
from ci_identity.exchangers.gcp.credential import GcpCredential
from ci_identity.exchangers.gcp.errors import not_federated, not_impersonated, not_narrowed
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.live_token import LiveToken, ends
from ci_identity.model import GcpTarget, GcpToken, Handle, SubjectToken

UNIVERSE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
"""What Google's own clients read where nothing else names their domain."""

PUBLIC = "googleapis.com"
RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""

_CLOCKS_DIFFER = timedelta(minutes=1)
_MAX_FEDERATED = timedelta(hours=1)
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class GcpExchanger:
    """Exchanges subject tokens at one workload identity provider.

    Args:
        target: the grant's `gcp:`.
        environ: where universe, CA and proxy are found.
        now: returns the time (UTC).
    """

    def __init__(
        self,
        target: GcpTarget,
        environ: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._universe, variables = _universe(target, environ)
        services = ("sts", "iamcredentials") if target.service_account else ("sts",)
        hosts = [f"{service}.{self._universe}" for service in services]
        self._networks = {host: Network.from_environ(f"https://{host}", environ) for host in hosts}
        self._target = target
        self._now = now
        self._has_warned = False
        self.target = target.service_account or target.provider
        self.audience = f"https://iam.googleapis.com/{target.provider}"
        reached = (name for network in self._networks.values() for name in network.variables)
        self.steered_by = (*variables, *dict.fromkeys(reached))

    def exchange(self, request: ExchangeRequest) -> GcpCredential:
        """Ask for a token, record each that is issued, and hold all but the last one back."""
        credential = GcpCredential()
        request.hold(credential)
        with ExitStack() as stack:
            _Exchange(self._target, request, credential, self._client(request, stack), self._now)()
        self._tell(request, credential)
        return credential

    def _client(self, request: ExchangeRequest, stack: ExitStack) -> Client:
        deadline = time.monotonic() + RETRY_BUDGET
        opened: dict[str, HttpSession] = {}

        def open_http(url: str) -> HttpSession:
            host = urlsplit(url).netloc
            if host not in opened:
                opened[host] = stack.enter_context(HttpSession(self._networks[host]))
                opened[host].deadline = deadline
            return opened[host]

        reason = f"ci-identity lease {request.lease_id}"
        return Client(self._universe, open_http, reason, now=self._now)

    def _tell(self, request: ExchangeRequest, credential: GcpCredential) -> None:
        """Say once what a renewal would say again and again."""
        life = credential.expires_at - self._now()
        if self._has_warned or self._target.service_account or life >= request.ttl * 0.9:
            return
        self._has_warned = True
        request.warn(
            f"{request.grant.name}: without `service_account` a token ends with the job's own;"
            " where it is not renewed, so does the step's access"
        )


class _Exchange:
    """One exchange: what it is for, and how much time is left for it."""

    def __init__(
        self,
        target: GcpTarget,
        request: ExchangeRequest,
        credential: GcpCredential,
        client: Client,
        now: Callable[[], datetime],
    ) -> None:
        self._target, self._request, self._credential = target, request, credential
        self._client, self._now = client, now
        self._deadline = time.monotonic() + RETRY_BUDGET
        self._live_token = LiveToken(request, now)

    def __call__(self) -> None:
        """Go from the job's token to the step's."""
        target = self._target
        federate = partial(self._live_token.send, self._federate, expired=GcpTokenTimeError)
        token = self._insist(federate)
        self._issued("federated", target.provider, token)
        if target.service_account:
            federated = token
            token = self._insist(lambda: self._impersonate(federated))
            self._issued("service-account", target.service_account, token)
        if target.boundary:
            wide = token
            token = self._insist(lambda: self._narrow(wide))
            self._issued("narrowed", target.service_account or target.provider, token)
        universe = None if self._client.universe == PUBLIC else self._client.universe
        self._credential.serve(replace(token, universe=universe))

    def _insist(self, call: Callable[[], T]) -> T:
        left = max(self._deadline - time.monotonic(), 0.0)
        return retry(call, budget=left, pause=self._request.pause)

    def _issued(self, kind: str, value: str, token: GcpToken) -> None:
        self._credential.hold(token)
        fingerprint = token.access_token.fingerprint()
        self._request.record(
            Handle(kind=kind, value=value, expires_at=token.expires_at, fingerprint=fingerprint)
        )

    # ── the calls ────────────────────────────────────────────────────────────────────────────

    def _federate(self, subject: SubjectToken) -> GcpToken:
        target = self._target
        if not target.service_account:
            self._check_life(subject)
        scopes = [IAM_SCOPE] if target.service_account else full_scopes(target.scopes)
        try:
            token = self._client.federate(target.provider, subject.token, scopes)
        except Refused as refused:
            raise not_federated(refused, target, self._request.identity) from None
        return replace(token, expires_at=min(token.expires_at, ends(subject)))

    def _check_life(self, subject: SubjectToken) -> None:
        """Refuse what would live longer than was asked: a federated token ends with the job's."""
        life = min(ends(subject) - self._now(), _MAX_FEDERATED)
        if life > self._request.ttl + _CLOCKS_DIFFER:
            message = (
                f"a federated token would live for {life.total_seconds():.0f} s, and"
                f" {self._request.ttl.total_seconds():.0f} s were asked"
            )
            raise GcpLifetimeError(
                message,
                cause="without `service_account` a token lives as long as the job's own",
                hint="name a `service_account`, whose tokens are made to measure; or raise `ttl`",
            )

    def _impersonate(self, token: GcpToken) -> GcpToken:
        target, asked_at = self._target, self._now()
        try:
            made = self._client.impersonate(
                token,
                target.service_account or "",
                delegates=target.delegates,
                scopes=full_scopes(target.scopes),
                lifetime=self._request.ttl,
            )
        except Refused as refused:
            raise not_impersonated(refused, target, self._request.identity) from None
        if abs(gap := made.expires_at - asked_at - self._request.ttl) > _CLOCKS_DIFFER:
            self._request.warn(
                f"{self._request.grant.name}: this machine's clock and Google's differ by"
                f" {abs(gap).total_seconds():.0f} s; ends are told by this one"
            )
        return made

    def _narrow(self, token: GcpToken) -> GcpToken:
        try:
            return self._client.narrow(token, self._target.boundary)
        except Refused as refused:
            raise not_narrowed(refused) from None


def _universe(target: GcpTarget, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    if target.universe:
        return target.universe, ()
    if named := environ.get(UNIVERSE):
        if not _DOMAIN.fullmatch(named):
            message = f"{UNIVERSE} is not a domain, such as {PUBLIC}"
            raise SettingError(message)
        return named, (UNIVERSE,)
    return PUBLIC, ()
