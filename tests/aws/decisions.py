"""Who may do what: moto's checks of signatures, with AWS's decisions behind them."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, ClassVar

from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam import access_control
from moto.iam.access_control import IAMRequest, IAMRequestBase, IAMUserAccessKey, S3IAMRequest
from moto.iam.exceptions import LimitExceededException
from moto.iam.models import IAMBackend, iam_backends
from moto.s3.exceptions import S3ClientError
from moto.sts import models as sts
from moto.sts.models import AssumedRole, sts_backends

from tests.aws.account import ISO, SERVED, Account, Refusal

ROLE_POLICIES_LIMIT = 10_240
"""Characters of all inline policies of a role together, white space not counted (IAM's quota)."""

_UNSIGNED = "AssumeRoleWithWebIdentity"
_IAM_ACTIONS = {"HeadBucket": "ListBucket", "ListBuckets": "ListAllMyBuckets"}

_DENIED = "AccessDenied"
_ANONYMOUS = (_DENIED, "Access Denied")
_EXPIRED_AT_S3 = ("ExpiredToken", "The provided token has expired.")
_REASONS = {
    "ImplicitlyDenied": "because no policy allows it",
    "ExplicitlyDenied": "with an explicit deny in a policy",
}


class Session(AssumedRole):
    """A role's session that remembers when it began, whose it is, and what it is narrowed to."""

    account: ClassVar[Account]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        life = self.account.session_life or given["duration"]
        self.issued_at = self.account.now()
        self.ends_at = self.issued_at + timedelta(seconds=life)
        self.expiration = self.ends_at.replace(tzinfo=None)  # as moto writes it, in UTC
        self.policy_arns: list[str] = []
        self.provider = ""

    @property
    def narrowed_to(self) -> dict[str, Any] | None:
        """Its session policies as one, or `None` if it has none."""
        backend = iam_backends[self.account_id][self.partition]
        documents = [_document(backend.managed_policies[arn]) for arn in self.policy_arns]
        if self.policy:
            documents.append(json.loads(self.policy))
        if not documents:
            return None
        statements = [statement for document in documents for statement in _statements(document)]
        return {"Version": "2012-10-17", "Statement": statements}

    @property
    def context(self) -> dict[str, str]:
        """The condition keys that every request of it has."""
        keys = {
            "aws:PrincipalType": "AssumedRole",
            "aws:PrincipalArn": self.role_arn,
            "aws:userid": self.user_id,
            "aws:TokenIssueTime": self.issued_at.strftime(ISO),
        }
        return keys | ({"aws:FederatedProvider": self.provider} if self.provider else {})


class _Decided(IAMRequestBase):
    """A signed request about which IAM decides."""

    account: ClassVar[Account]

    def check_signature(self) -> None:
        super().check_signature()
        SERVED.get()["principal"] = self._access_key.arn

    def check_action_permitted(self, resource: str) -> None:
        session = self._session()
        if session and session.ends_at <= self.account.now():
            self._raise_expired()
        service, _, action = self._action.partition(":")
        action = _IAM_ACTIONS.get(action, action)
        if (service, action) == ("sts", "GetCallerIdentity"):
            return  # always allowed, even where a policy denies it
        arn = self._resource(resource)
        request = {
            "principal": self._access_key.arn,
            "action": f"{service}:{action}",
            "resource": arn,
            "account": self.account_id,
            "context": self._context(session),
        }
        why = self.account.simulator.refusal(
            request,
            identity=[_document(policy) for policy in self._access_key.collect_policies()],
            session=session.narrowed_to if session else None,
            resource=self._trust_policy(arn) if service == "sts" else None,
        )
        if why:
            self._raise_denied(f"{service}:{action} on resource: {arn} {_REASONS[why]}")

    def _session(self) -> Session | None:
        if isinstance(self._access_key, IAMUserAccessKey):
            return None
        known = sts_backends[self.account_id]["aws"].assumed_roles
        key_id = self._access_key._access_key_id
        [session] = [role for role in known if role.access_key_id == key_id]
        assert isinstance(session, Session)
        return session

    def _context(self, session: Session | None) -> dict[str, str]:
        keys = session.context if session else {"aws:PrincipalArn": self._access_key.arn}
        asked = {"aws:RequestedRegion": self._region, "aws:PrincipalAccount": self.account_id}
        return self.account.context() | keys | asked

    def _resource(self, found: str) -> str:
        """What moto found, or the ARN of a role that is not there: it may be forbidden too."""
        names = self._data.get("RoleName")
        if found == "*" and self._service == "iam" and names:
            path = (self._data.get("Path") or ["/"])[0]
            return f"arn:aws:iam::{self.account_id}:role{path}{names[0]}"
        return found

    def _trust_policy(self, role_arn: str) -> dict[str, Any] | None:
        roles = {role.arn: role for role in self.backend.roles.values()}
        return _document(roles[role_arn].assume_role_policy_document) if role_arn in roles else None

    def _raise_expired(self) -> None:
        message = "The security token included in the request is expired"
        raise Refusal(HTTPStatus.FORBIDDEN, "ExpiredToken", message)

    def _raise_denied(self, what: str) -> None:
        message = f"User: {self._access_key.arn} is not authorized to perform: {what}"
        raise Refusal(HTTPStatus.FORBIDDEN, _DENIED, message)


class _QueryRequest(_Decided, IAMRequest):
    def _raise_signature_does_not_match(self) -> None:
        message = "The request signature we calculated does not match the signature you provided."
        raise Refusal(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", message)

    def _raise_invalid_access_key(self, _: str) -> None:
        message = "The security token included in the request is invalid."
        raise Refusal(HTTPStatus.FORBIDDEN, "InvalidClientTokenId", message)


class _S3Request(_Decided, S3IAMRequest):
    def _raise_expired(self) -> None:
        raise S3ClientError(*_EXPIRED_AT_S3)

    def _raise_denied(self, what: str) -> None:
        message = f"User: {self._access_key.arn} is not authorized to perform: {what}"
        raise S3ClientError(_DENIED, message)


def install(account: Account) -> None:
    """Put AWS's decisions in the place of moto's."""
    checked = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def authorize(response: Any, request_class: type, resource: str = "*") -> None:
        action = response._get_action()
        SERVED.get().update(service=response.service_name, action=action)
        if response.service_name == "sts":
            given = {name: values[0] for name, values in response.data.items()}
            given.pop("WebIdentityToken", None)
            SERVED.get()["parameters"] = given
        if action == _UNSIGNED:
            return
        if "Authorization" not in response.headers:
            raise S3ClientError(*_ANONYMOUS)  # unsigned, it is taken for one to S3
        checked(response, request_class, resource)

    put = IAMBackend.put_role_policy

    def put_role_policy(backend: Any, role_name: str, policy_name: str, policy_json: str) -> None:
        others = dict(backend.get_role(role_name).policies) | {policy_name: policy_json}
        if sum(len("".join(text.split())) for text in others.values()) > ROLE_POLICIES_LIMIT:
            exceeded = f"Maximum policy size of {ROLE_POLICIES_LIMIT} bytes exceeded"
            message = f"{exceeded} for role {role_name}"
            raise LimitExceededException(message)
        put(backend, role_name, policy_name, policy_json)

    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # check from the first call on
    Session.account = _Decided.account = account
    for owner, name, ours in (
        (ActionAuthenticatorMixin, "_authenticate_and_authorize_action", authorize),
        (IAMBackend, "put_role_policy", put_role_policy),
        (access_control, "IAMRequest", _QueryRequest),
        (access_control, "S3IAMRequest", _S3Request),
        (sts, "AssumedRole", Session),
    ):
        setattr(owner, name, ours)


def _document(policy: Any) -> dict[str, Any]:
    """Return the JSON of a policy in any of the forms that moto keeps."""
    if isinstance(policy, Mapping):
        policy = policy["policy_document"]
    if not isinstance(policy, str):
        policy = next(version.document for version in policy.versions if version.is_default)
    document: dict[str, Any] = json.loads(policy)
    return document


def _statements(document: Mapping[str, Any]) -> Iterator[Any]:
    found = document["Statement"]
    yield from found if isinstance(found, list) else [found]
