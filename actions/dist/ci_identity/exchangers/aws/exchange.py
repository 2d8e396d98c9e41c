"""Exchanges the job's token at AWS STS for a session of a role.

    one call, in one connection -> record -> is it what was asked for?

The token is minted again where it would end on the way; nothing else is asked of anybody.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from ci_identity._address import check_address
from ci_identity._http import HttpSession, Network, retry
from ci_identity._text import shortened
from ci_identity.errors import AwsRoleError, AwsTokenTimeError, UnansweredError
from ci_identity.exchangers.aws.credential import AwsCredential
from ci_identity.exchangers.aws.denied import AUDIENCE
from ci_identity.exchangers.aws.endpoint import resolve
from ci_identity.exchangers.aws.errors import refusal
from ci_identity.exchangers.aws.names import session_name
from ci_identity.exchangers.aws.policy import MAX_POLICY, SessionPolicy, session_policy
from ci_identity.exchangers.aws.sts import Refused, Session, assume_role
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.model import AwsKeys, AwsTarget, Handle, SubjectToken
from ci_identity.secret import Secret

CA_VARIABLES = ("AWS_CA_BUNDLE",)

RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""

_ENOUGH_LIFE = timedelta(seconds=60)
"""A token that has less is minted again: AWS may take its time, and clocks differ."""

_CLOCKS_DIFFER = timedelta(minutes=1)


def _now() -> datetime:
    return datetime.now(UTC)


class AwsExchanger:
    """Exchanges subject tokens for sessions of one role.

    Args:
        target: the grant's `aws:`.
        environ: where region, endpoint, CA and proxy are found.
        now: returns the time (UTC).
    """

    def __init__(
        self,
        target: AwsTarget,
        environ: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        endpoint = resolve(target, environ)
        self._url = check_address(endpoint.url, what=endpoint.named)
        self._network = Network.from_environ(self._url, environ, ca_variables=CA_VARIABLES)
        self._target = target
        self._now = now
        self.target = target.role
        self.audience = AUDIENCE
        self.steered_by = (*endpoint.variables, *self._network.variables)

    def exchange(self, request: ExchangeRequest) -> AwsCredential:
        """Ask for a session, record it, and check that it is the one that was asked for."""
        policy = session_policy(self._target, ttl=request.ttl, asked_at=self._now())
        name = session_name(request.identity, grant=request.grant.name, lease_id=request.lease_id)
        credential = AwsCredential()
        request.hold(credential)
        session = self._ask(request, name, policy)
        credential.hold_keys(_keys(session, policy))
        request.record(_handle(session, credential.expires_at))
        self._check(session, name)
        self._tell(session, policy, request)
        return credential

    def _ask(self, request: ExchangeRequest, name: str, policy: SessionPolicy) -> Session:
        form = _form(self._target.role, name, policy)
        with HttpSession(self._network) as http:
            http.deadline = time.monotonic() + RETRY_BUDGET

            def assume(token: Secret) -> Session:
                try:
                    return assume_role(http, self._url, form | {"WebIdentityToken": token.reveal()})
                except Refused as refused:
                    raise refusal(refused, role=self.target, identity=request.identity) from None
                except UnansweredError as error:
                    raise _unanswered(error, name, request) from None

            call = _Call(assume, request, self._now)
            return retry(call.attempt, budget=RETRY_BUDGET, pause=request.pause)

    def _check(self, session: Session, name: str) -> None:
        """Check the answer against the question, whoever it was that answered."""
        _, partition, _, _, account, role = self._target.role.split(":", 5)
        role_name = role.rpartition("/")[2]  # a session's ARN leaves the role's path out
        wanted = f"arn:{partition}:sts::{account}:assumed-role/{role_name}/{name}"
        if session.arn != wanted or session.role_id.partition(":")[2] != name:
            message = f"AWS was asked for {self._target.role}, and gave {shortened(session.arn)}"
            raise AwsRoleError(message)

    def _tell(self, session: Session, policy: SessionPolicy, request: ExchangeRequest) -> None:
        if policy.size:
            packed = f", packed {session.packed_policy} %" if session.packed_policy else ""
            request.note(
                f"{request.grant.name}: session policy of {policy.size} of {MAX_POLICY}"
                f" characters{packed}"
            )
        begun = session.expires_at - timedelta(seconds=policy.duration)
        if abs(gap := self._now() - begun) > _CLOCKS_DIFFER:
            request.warn(
                f"{request.grant.name}: this machine's clock and AWS's differ by"
                f" {abs(gap).total_seconds():.0f} s; ends are told by this one"
            )


class _Call:
    """The call of one exchange, as often as it takes, each time with a token that is alive."""

    def __init__(
        self,
        assume: Callable[[Secret], Session],
        request: ExchangeRequest,
        now: Callable[[], datetime],
    ) -> None:
        self._assume, self._request, self._now = assume, request, now
        self._token = request.subject_token
        self._has_expired = False

    def attempt(self) -> Session:
        """Ask once; once more, with a new token, if AWS takes the first one for expired."""
        if _ends(self._token) - self._now() < _ENOUGH_LIFE:
            self._token = self._request.mint()
        try:
            return self._assume(self._token.token)
        except AwsTokenTimeError:
            if self._has_expired:
                raise
            self._has_expired = True
            expired, self._token = self._token, self._request.mint()
            if self._token.token == expired.token:  # GitLab's job has one for all its life
                raise
        return self._assume(self._token.token)


def _unanswered(error: UnansweredError, name: str, request: ExchangeRequest) -> UnansweredError:
    seconds = request.ttl.total_seconds()
    request.warn(
        f"{request.grant.name}: AWS was asked, and did not answer: if it took the request,"
        f" a session that nobody has lives for {seconds:.0f} s; its name is {name}"
    )
    hint = f"try again; if AWS took it, CloudTrail has the session {name}"
    return UnansweredError(str(error), hint=hint, retry_after=error.retry_after)


def _form(role: str, name: str, policy: SessionPolicy) -> dict[str, str]:
    form = {
        "RoleArn": role,
        "RoleSessionName": name,
        "DurationSeconds": str(policy.duration),
    }
    if policy.text:
        form["Policy"] = policy.text
    members = enumerate(policy.arns, 1)
    return form | {f"PolicyArns.member.{at}.arn": arn for at, arn in members}


def _keys(session: Session, policy: SessionPolicy) -> AwsKeys:
    return AwsKeys(
        access_key_id=session.access_key_id,
        secret_access_key=session.secret_access_key,
        session_token=session.session_token,
        expires_at=min(session.expires_at, policy.deadline or session.expires_at),
    )


def _handle(session: Session, expires_at: datetime) -> Handle:
    return Handle(
        kind="session",
        value=session.role_id,
        expires_at=expires_at,
        fingerprint=session.session_token.fingerprint(),
        packed_policy=session.packed_policy,
    )


def _ends(token: SubjectToken) -> datetime:
    exp = token.claims.get("exp")  # a number: every source looks
    return datetime.fromtimestamp(exp if isinstance(exp, int | float) else 0, UTC)
