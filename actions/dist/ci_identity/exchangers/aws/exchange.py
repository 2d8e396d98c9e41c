"""Exchanges the job's token at AWS STS for a session of a role.

    one call, in one connection -> record -> is it what was asked for?

The token is minted again where it would end on the way; nothing else is asked of anybody. AWS keeps
ends by its own clock, we tell them by this machine's: each answer says how far the two are apart.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from ci_identity._address import check_address
from ci_identity._http import HttpSession, retry
from ci_identity._network import Network
from ci_identity._text import shortened
from ci_identity.errors import (
    AwsClockError,
    AwsRoleError,
    AwsTokenTimeError,
    ProviderAnswerError,
    UnansweredError,
)
from ci_identity.exchangers.aws.clocks import ahead, is_credible, matters, told
from ci_identity.exchangers.aws.credential import AwsCredential
from ci_identity.exchangers.aws.endpoint import resolve
from ci_identity.exchangers.aws.issued import Issued
from ci_identity.exchangers.aws.names import AUDIENCE, session_name
from ci_identity.exchangers.aws.policy import MAX_POLICY, SessionPolicy, session_policy
from ci_identity.exchangers.aws.sts import Refused, Session, assume_role
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.exchangers.live_token import LiveToken
from ci_identity.model import AwsTarget, SubjectToken

CA_VARIABLES = ("AWS_CA_BUNDLE",)

RETRY_BUDGET = 20.0
"""Seconds for the whole exchange, retries included."""


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
        self._ahead = timedelta()  # how far this machine's clock is, by the last answer
        self.target = target.role
        self.audience = AUDIENCE
        self.steered_by = (*endpoint.variables, *self._network.variables)

    def exchange(self, request: ExchangeRequest) -> AwsCredential:
        """Ask for a session, record it, and check that it is the one that was asked for.

        Where the clocks turn out to differ so much that its policy ends it too soon or too late,
        one more is asked for, which ends when it should; nobody ever has the keys of the first.
        """
        self._policy(request.ttl)  # raises: one that AWS does not take is not asked for
        credential, known = AwsCredential(), self._ahead
        request.hold(credential)
        with HttpSession(self._network) as http:
            http.deadline = time.monotonic() + RETRY_BUDGET
            call = partial(
                LiveToken(request, self._now).send,
                partial(self._assume, http, request),
                expired=AwsTokenTimeError,
            )
            issued = self._issue(call, credential, request, budget=RETRY_BUDGET)
            left = http.deadline - time.monotonic()
            if issued.is_misjudged(request.ttl) and left > 0:
                issued = self._issue(call, credential, request, budget=left)
        if issued.is_over:
            what = f"{self.target}: by AWS's clock the session was over when it was given"
            message = f"{what}; {told(issued.ahead)}"
            raise AwsClockError(message)
        self._tell(issued, request)
        if matters(issued.ahead - known, ttl=request.ttl):
            request.warn(
                f"{request.grant.name}: {told(issued.ahead)}; AWS keeps ends by its own clock,"
                " they are told by this machine's"
            )
        return credential

    def _policy(self, ttl: timedelta) -> SessionPolicy:
        """Return what narrows a session that begins now; its deadline is by AWS's clock."""
        return session_policy(self._target, ttl=ttl, asked_at=self._now() - self._ahead)

    def _issue(
        self,
        call: Callable[[], Issued],
        credential: AwsCredential,
        request: ExchangeRequest,
        *,
        budget: float,
    ) -> Issued:
        issued = retry(call, budget=budget, pause=request.pause)
        self._ahead = issued.ahead
        credential.hold_keys(issued.keys)
        request.record(issued.handle)
        self._check(issued.session, _name(request))
        return issued

    def _assume(self, http: HttpSession, request: ExchangeRequest, token: SubjectToken) -> Issued:
        """Ask once. The life counts from here: a try that comes late must not begin half over."""
        name, policy, asked_at = _name(request), self._policy(request.ttl), self._now()
        form = _form(self._target.role, name, policy)
        try:
            session = assume_role(
                http, self._url, form | {"WebIdentityToken": token.token.reveal()}
            )
        except Refused as refused:
            from ci_identity.exchangers.aws.errors import refusal  # noqa: PLC0415  # on demand

            raise refusal(refused, role=self.target, identity=request.identity) from None
        except UnansweredError as error:
            raise _unanswered(error, name, request) from None
        difference = ahead(
            session.expires_at, life=policy.life, asked_at=asked_at, answered_at=self._now()
        )
        if not is_credible(difference):
            message = f"{urlsplit(self._url).netloc}: the answer has an Expiration that is none"
            raise ProviderAnswerError(message)
        return Issued(session=session, policy=policy, ahead=difference, assumed=self._ahead)

    def _check(self, session: Session, name: str) -> None:
        """Check the answer against the question, whoever it was that answered."""
        _, partition, _, _, account, role = self._target.role.split(":", 5)
        role_name = role.rpartition("/")[2]  # a session's ARN leaves the role's path out
        wanted = f"arn:{partition}:sts::{account}:assumed-role/{role_name}/{name}"
        if session.arn != wanted or session.role_id.partition(":")[2] != name:
            message = f"AWS was asked for {self._target.role}, and gave {shortened(session.arn)}"
            raise AwsRoleError(message)

    def _tell(self, issued: Issued, request: ExchangeRequest) -> None:
        if size := issued.policy.size:
            packed = issued.session.packed_policy
            request.note(
                f"{request.grant.name}: session policy of {size} of {MAX_POLICY} characters"
                + (f", packed {packed} %" if packed else "")
            )


def _name(request: ExchangeRequest) -> str:
    return session_name(request.identity, grant=request.grant.name, lease_id=request.lease_id)


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
