"""Exchanges the job's token for one of a service account, which ends with a Secret of its own.

    a Secret -> record -> a token bound to it -> record -> is it the one that was asked for?

The job's token is the bearer: the cluster trusts the CI's issuer. A renewal asks for another token
bound to the same Secret, and never makes a second one: who deletes it, ends the lease.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar, cast

from ci_identity._http import retry
from ci_identity._network import Network
from ci_identity._record import replace
from ci_identity._text import lasting, shortened
from ci_identity.errors import (
    ConfigurationError,
    KubernetesBindingError,
    SettingError,
    TokenLifeError,
)
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.kubernetes.api import Api, Issued, Refused, ThrowAway
from ci_identity.exchangers.kubernetes.credential import Connect, KubernetesCredential
from ci_identity.exchangers.kubernetes.errors import Doing, refusal
from ci_identity.exchangers.live_token import LiveToken
from ci_identity.model import (
    KUBERNETES_TTL,
    Handle,
    KubernetesTarget,
    KubernetesToken,
    SubjectToken,
)
from ci_identity.secret import Secret

RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""

_CLOCKS_DIFFER = timedelta(minutes=1)
"""From here on it is this machine's clock, or the server's, that is wrong."""

_CA_FILE = "ca_file"
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class KubernetesExchanger:
    """Exchanges subject tokens at one cluster.

    Args:
        target: the grant's `kubernetes:`.
        environ: where proxy and, without a `ca_file`, CA are found.
        now: returns the time (UTC).
    """

    def __init__(
        self,
        target: KubernetesTarget,
        environ: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._network = _network(target, environ)
        self._target = target
        self._now = now
        self._secret: ThrowAway | None = None
        self.target = (
            f"{target.server.rstrip('/')}/api/v1/namespaces/{target.namespace}"
            f"/serviceaccounts/{target.service_account}"
        )
        self.audience = target.audience
        self.steered_by = self._network.variables

    def exchange(self, request: ExchangeRequest) -> KubernetesCredential:
        """Make the Secret of the lease, if this is no renewal, and have a token bound to it."""
        name = secret_name(request.lease_id)
        known = self._secret if self._secret and self._secret.name == name else None
        _check_ttl(request, is_renewal=known is not None)
        secret = known or ThrowAway(name)
        connect = self.connect(request)
        credential = KubernetesCredential(secret, self._target, request.identity, connect)
        request.hold(credential)
        deadline = time.monotonic() + RETRY_BUDGET
        with connect(deadline) as api:
            if not known:
                self._make(api, request, secret, deadline)
                self._secret = secret
            issue = partial(api.issue, secret, request.ttl)
            issued = self._insist(issue, Doing.ISSUE, request, deadline)
        expires_at = self._end_of(issued)
        credential.hold_token(KubernetesToken(token=issued.token, expires_at=expires_at))
        fingerprint = issued.token.fingerprint()
        request.record(self._handle(secret, expires_at, fingerprint))
        self._check(issued, secret, request)
        if not known:
            self._tell(secret, request)
        return credential

    def connect(self, request: ExchangeRequest) -> Connect:
        """Return what opens connections with the token of the request's job."""
        return self.connect_as(partial(LiveToken(request, self._now).send, _secret_of))

    def connect_as(self, bearer: Callable[[], Secret]) -> Connect:
        """Return what opens connections with what `bearer` returns: a token of whoever asks."""

        def connect(deadline: float) -> Api:
            return Api(self._target, self._network, bearer, deadline=deadline)

        return connect

    def _make(self, api: Api, request: ExchangeRequest, secret: ThrowAway, deadline: float) -> None:
        make = partial(api.make, secret, _about(request))
        self._insist(make, Doing.MAKE, request, deadline)
        request.record(self._handle(secret, self._now() + request.ttl))

    def _insist(
        self, call: Callable[[], T], doing: Doing, request: ExchangeRequest, deadline: float
    ) -> T:
        try:
            budget = max(deadline - time.monotonic(), 0.0)
            return retry(call, budget=budget, pause=request.pause)
        except Refused as refused:
            raise refusal(refused, doing, self._target, request.identity) from None

    def _end_of(self, issued: Issued) -> datetime:
        """Return when a new token ends by this machine's clock, which the step's clients go by."""
        try:
            ends = self._now() + issued.life
        except OverflowError:  # no date: refused below, as longer than was asked, or over already
            return issued.ends
        return min(ends, issued.ends) if abs(ends - issued.ends) < _CLOCKS_DIFFER else ends

    def _handle(
        self, secret: ThrowAway, expires_at: datetime, fingerprint: str | None = None
    ) -> Handle:
        name = "/".join(filter(None, (self._target.namespace, secret.name, secret.uid)))
        return Handle(kind="secret", value=name, expires_at=expires_at, fingerprint=fingerprint)

    def _check(self, issued: Issued, secret: ThrowAway, request: ExchangeRequest) -> None:
        """Check whose token it is, and that the Secret ends it, whoever it was that answered."""
        claims, target = issued.claims, self._target
        account = f"system:serviceaccount:{target.namespace}:{target.service_account}"
        if claims.get("sub") != account:
            message = f"the token that was issued is not one of {account}"
            raise KubernetesBindingError(message)
        bound = claims.get("kubernetes.io", "secret", "name")
        uid = claims.get("kubernetes.io", "secret", "uid")
        if bound != secret.name or (secret.uid and uid != secret.uid):
            message = "the token that was issued would not end with its Secret"
            raise KubernetesBindingError(message)
        found, wanted = claims.get("aud"), target.token_audiences
        audiences = cast("list[object]", found) if isinstance(found, list) else [found]
        if wanted and any(one not in wanted for one in audiences):
            message = "the token that was issued has more audiences than `token_audiences`"
            raise KubernetesBindingError(message)
        if issued.life > request.ttl:
            life, asked = lasting(issued.life), lasting(request.ttl)
            message = f"the token that was issued lives for {life}, and {asked} were asked"
            raise TokenLifeError(
                message, cause="the API server gives longer lives than it is asked"
            )

    def _tell(self, secret: ThrowAway, request: ExchangeRequest) -> None:
        request.note(
            f"{request.grant.name}: ends with the Secret {self._target.namespace}/{secret.name},"
            " whoever deletes it"
        )


def _secret_of(token: SubjectToken) -> Secret:
    return token.token


def secret_name(lease_id: str) -> str:
    """Return the name of a lease's Secret."""
    return f"ci-identity-{lease_id}"


def _about(request: ExchangeRequest) -> Mapping[str, Mapping[str, str]]:
    """Return what says whose the Secret is, to whoever looks at it in the cluster."""
    labels = {
        "app.kubernetes.io/managed-by": "ci-identity",
        "ci-identity/lease": request.lease_id,
    }
    said = ("issuer", "subject", "repository", "run", "job")
    found = {name: getattr(request.identity, name) for name in said}
    found |= {"grant": request.grant.name, "step": request.step}
    notes = {f"ci-identity/{name}": shortened(text) for name, text in found.items() if text}
    return {"labels": labels, "annotations": notes}


def _check_ttl(request: ExchangeRequest, *, is_renewal: bool) -> None:
    if request.ttl >= KUBERNETES_TTL:
        return
    asked, least = lasting(request.ttl), lasting(KUBERNETES_TTL)
    cause = f"an API server gives no token that lives for less than {least}"
    if is_renewal:  # one that outlives `max` is not asked for
        message = (
            f"{request.grant.name}: {asked} of the grant's `max` are left, too few for a token"
        )
        raise TokenLifeError(message, cause=cause, hint="raise `max`, or make two of the step")
    message = f"{request.grant.name}: asked for a token of {asked}, and Kubernetes has none"
    hint = "ask for more; the token ends with the step all the same, since its Secret is deleted"
    raise TokenLifeError(message, cause=cause, hint=hint)


def _network(target: KubernetesTarget, environ: Mapping[str, str]) -> Network:
    """Return how the cluster is reached; the grant's own CA goes before what a variable names."""
    if target.ca_file is None:
        return Network.from_environ(target.server, environ)
    if not os.access(target.ca_file, os.R_OK):
        message = f"`ca_file` of the grant cannot be read: {target.ca_file}"
        raise ConfigurationError(
            message,
            cause="it is misspelt, or was not checked out",
            hint="a relative path is looked for beside the grants file",
        )
    from ci_identity import _tls  # noqa: PLC0415  # as in `_http`

    try:
        _tls.context(target.ca_file)
    except SettingError:
        message = f"`ca_file` of the grant has no certificate: {target.ca_file}"
        cause = "it is another file, or not in PEM"
        hint = "PEM begins with -----BEGIN CERTIFICATE-----; a kubeconfig has the same in base64"
        raise ConfigurationError(message, cause=cause, hint=hint) from None
    found = Network.from_environ(
        target.server, {**environ, _CA_FILE: target.ca_file}, ca_variables=(_CA_FILE,)
    )
    return replace(found, variables=tuple(name for name in found.variables if name != _CA_FILE))
