"""AssumeRoleWithWebIdentity: limits, token, trust policy, session, in the order AWS has them."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from moto.core.responses import ActionResult
from moto.iam.models import IAMBackend, Role, iam_backends
from moto.sts import urls
from moto.sts.responses import TokenResponse

from tests.aws.account import SERVED, Account, Refusal, refuse
from tests.aws.decisions import Session
from tests.aws.web_identity import WebIdentity, verify

PACKED_LIMIT = 1024
"""AWS does not say how it packs session policies, nor into what; this is deflate, in bytes."""

ACTION = "sts:AssumeRoleWithWebIdentity"

_LENGTHS = {
    "RoleArn": (20, 2048),
    "RoleSessionName": (2, 64),
    "WebIdentityToken": (4, 20_000),
    "Policy": (1, 2048),
}
_NAME = re.compile(r"[\w+=,.@-]*", re.ASCII)
_DURATION = (900, 43_200)


class WebIdentityResponse(TokenResponse):
    """moto's STS, with the one call that moto believes without looking."""

    account: ClassVar[Account]

    def assume_role_with_web_identity(self) -> ActionResult:
        given = {name: values[0] for name, values in self.querystring.items()}
        for broken in _broken_limits(given):
            refuse("ValidationError", f"1 validation error detected: {broken}")
        iam = iam_backends[given["RoleArn"].split(":")[4]]["aws"]
        identity = verify(given["WebIdentityToken"], iam, self.account.now())
        SERVED.get()["principal"] = str(identity.claims["sub"])
        role = self._trusting_role(given, identity, iam)
        duration = int(given.get("DurationSeconds", 3600))
        if duration > int(role.max_session_duration or 3600):
            message = (
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
            refuse("ValidationError", message)
        arns = [arn for name, arn in given.items() if name.startswith("PolicyArns.")]
        packed = self._pack(given.get("Policy", ""), arns, iam)
        session = self.backend.assume_role(
            region_name=self.region,
            role_session_name=given["RoleSessionName"],
            role_arn=role.arn,
            policy=given.get("Policy", ""),
            duration=duration,
            external_id="",
        )
        assert isinstance(session, Session)
        session.policy_arns, session.provider = arns, identity.provider.arn
        return ActionResult(_answer(session, identity, packed))

    def _trusting_role(
        self, given: Mapping[str, str], identity: WebIdentity, iam: IAMBackend
    ) -> Role:
        roles = {role.arn: role for role in iam.roles.values()}
        role = roles.get(given["RoleArn"])
        if role is None or self._refuses(role, given["RoleSessionName"], identity):
            # Nobody is told whether a role is there.
            raise Refusal(
                HTTPStatus.FORBIDDEN, "AccessDenied", f"Not authorized to perform {ACTION}"
            )
        return role

    def _refuses(self, role: Role, session_name: str, identity: WebIdentity) -> bool:
        host = identity.provider.url
        request = {
            "principal": identity.provider.arn,
            "action": ACTION,
            "resource": role.arn,
            "account": role.account_id,
            "context": self.account.context()
            | {_tag(key): value for key, value in identity.condition_keys.items()}
            | {"sts:RoleSessionName": session_name},
        }
        trust = _renamed(json.loads(role.assume_role_policy_document), f"{host}:".lower())
        return self.account.simulator.refusal(request, resource=trust) is not None

    def _pack(self, policy: str, arns: list[str], iam: IAMBackend) -> int:
        """Return the packed size of the session policies in per cent of what there is room for."""
        for arn in arns:
            if arn not in iam.managed_policies:
                refuse("MalformedPolicyDocument", f"{arn} does not exist or is not attachable.")
        if policy:
            self._check_grammar(policy)
        packed = len(zlib.compress("".join([policy, *arns]).encode())) if policy or arns else 0
        per_cent = -(-packed * 100 // PACKED_LIMIT)
        if per_cent > 100:
            consumed = f"Packed size of session policies and tags consumes {per_cent}%"
            refuse("PackedPolicyTooLarge", f"{consumed} of allotted space.")
        return per_cent

    def _check_grammar(self, policy: str) -> None:
        try:
            document = json.loads(policy)
        except ValueError:
            refuse("MalformedPolicyDocument", "This policy contains invalid Json")
        if not self.account.simulator.is_policy(document):
            refuse("MalformedPolicyDocument", "Syntax errors in policy.")


def install(account: Account) -> None:
    """Let this class answer for STS, instead of moto's."""
    WebIdentityResponse.account = account
    urls.url_paths["{0}/$"] = WebIdentityResponse.dispatch


def _answer(session: Session, identity: WebIdentity, packed: int) -> dict[str, Any]:
    answer = {
        "Credentials": session,
        "AssumedRoleUser": {"AssumedRoleId": session.user_id, "Arn": session.arn},
        "SubjectFromWebIdentityToken": identity.claims["sub"],
        "Audience": identity.audience,
        "Provider": identity.provider.arn,
    }
    return answer | ({"PackedPolicySize": packed} if packed else {})


def _broken_limits(given: Mapping[str, str]) -> Iterator[str]:
    """Say what the API's own description rules out, before anything is looked at."""
    for name, (least, most) in _LENGTHS.items():
        if name not in given:
            if name != "Policy":
                yield _broken("null", name, "not be null")
        elif len(given[name]) < least:
            yield _broken(given[name], name, f"have length greater than or equal to {least}")
        elif len(given[name]) > most:
            yield _broken(given[name], name, f"have length less than or equal to {most}")
    yield from _broken_values(given)


def _broken_values(given: Mapping[str, str]) -> Iterator[str]:
    name, duration = given["RoleSessionName"], int(given.get("DurationSeconds", 3600))
    if not _NAME.fullmatch(name):
        pattern = f"satisfy regular expression pattern: {_NAME.pattern}"
        yield _broken(name, "RoleSessionName", pattern)
    least, most = _DURATION
    if duration < least:
        value = f"have value greater than or equal to {least}"
        yield _broken(str(duration), "DurationSeconds", value)
    if duration > most:
        value = f"have value less than or equal to {most}"
        yield _broken(str(duration), "DurationSeconds", value)


def _broken(value: str, name: str, constraint: str) -> str:
    where = name[0].lower() + name[1:]
    return f"Value '{value}' at '{where}' failed to satisfy constraint: Member must {constraint}"


def _tag(key: str) -> str:
    # iam-simulate has no idea of a provider's keys, and lets any tag of a request pass.
    return f"aws:RequestTag/{key}"


def _renamed(trust: Any, prefix: str) -> Any:
    """Return a trust policy with the provider's condition keys as iam-simulate can read them."""
    if isinstance(trust, list):
        return [_renamed(part, prefix) for part in trust]
    if not isinstance(trust, dict):
        return trust
    names = {
        name: _tag(name[len(prefix) :].lower()) if name.lower().startswith(prefix) else name
        for name in trust
    }
    return {names[name]: _renamed(part, prefix) for name, part in trust.items()}
