"""An AWS account on loopback that decides as AWS does: moto's API, iam-simulate's decisions."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import boto3
import requests
from botocore.config import Config

from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.aws import policies
from tests.aws.policies import ACCOUNT, AUDIENCE, Document, allow

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_s3 import S3Client
    from types_boto3_sts import STSClient

REGION = "eu-west-1"

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Access keys as AWS hands them out."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that reached AWS, as CloudTrail would have it.

    Attributes:
        service: `sts`, `s3`, `iam`.
        action: as in a policy, without its service: `AssumeRoleWithWebIdentity`, `PutObject`.
        principal: whose it was: an ARN, a web identity's subject, or empty if not known.
        status: of the HTTP answer.
        error: AWS's error code, or empty.
        parameters: of a call to STS, without the token.
    """

    service: str
    action: str
    principal: str
    status: int
    error: str
    parameters: Mapping[str, str]


class AwsWorld:
    """A running AWS with one account; leaving the `with` block, or `close()`, ends it.

    Attributes:
        address: where all of its services are, `http://127.0.0.1:PORT`.
        account: the account's id.
        region: where its own clients are; it answers in any other too.
    """

    account = ACCOUNT
    region = REGION

    def __init__(self, issuer: Issuer, simulator: Path) -> None:
        """Start it and wait until it answers.

        Args:
            issuer: the identity provider that it trusts after each `reset()`.
            simulator: a folder with iam-simulate in its `node_modules`.
        """
        self._issuer = issuer
        self._http = requests.Session()
        self._http.trust_env = False
        with ExitStack() as stack:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.aws.server", str(simulator)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)  # the end of its input is its end
            assert process.stdout
            self.address = process.stdout.readline().strip()
            assert self.address, "the server ended while starting"
            stack.callback(self._http.close)
            self._clients = stack.enter_context(ExitStack())
            self.reset()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. May be called twice."""
        self._stack.close()

    def reset(self) -> None:
        """Begin again: an empty account that trusts the issuer, no calls seen, the real time."""
        self._clients.close()
        self._administrator = Keys(**self._control("reset"))
        self.provider(self._issuer.address)

    # ── what a test looks at ─────────────────────────────────────────────────────────────────

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a job reaches it; nothing secret."""
        return {"AWS_ENDPOINT_URL": self.address}

    @property
    def provider_arn(self) -> str:
        """The issuer's ARN as an identity provider of the account."""
        return policies.provider_arn(self._issuer.address)

    def calls(self, action: str | None = None) -> list[Call]:
        """Return the calls seen since the last reset, in order, but for the administrator's.

        Args:
            action: only those of this action.
        """
        calls = [Call(**call) for call in self._control("calls")]
        return [call for call in calls if action in (None, call.action)]

    @overload
    def client(self, service: Literal["iam"], keys: Keys | None = None) -> "IAMClient": ...
    @overload
    def client(self, service: Literal["s3"], keys: Keys | None = None) -> "S3Client": ...
    @overload
    def client(self, service: Literal["sts"], keys: Keys | None = None) -> "STSClient": ...
    def client(self, service: Literal["iam", "s3", "sts"], keys: Keys | None = None) -> Any:
        """Return a boto3 client that does not try again, for the test or for who it plays.

        Args:
            service: which.
            keys: whose; the administrator's by default.
        """
        keys = keys or self._administrator
        client = boto3.client(
            service,
            endpoint_url=self.address,
            region_name=REGION,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._clients.callback(client.close)
        return client

    # ── what a test puts there ───────────────────────────────────────────────────────────────

    def provider(self, issuer_url: str, client_ids: Iterable[str] = (AUDIENCE,)) -> str:
        """Register an OIDC identity provider and return its ARN.

        Its keys are fetched from `issuer_url` whenever a token is verified. In trust policies it
        has the condition keys that AWS knows for GitHub, whoever it is.
        """
        made = self.client("iam").create_open_id_connect_provider(
            Url=issuer_url, ClientIDList=list(client_ids)
        )
        return made["OpenIDConnectProviderArn"]

    def trust(self, conditions: Document | None = None) -> Document:
        """Return a trust policy for the issuer's tokens: see `policies.trust`."""
        return policies.trust(self._issuer.address, conditions)

    def role(
        self,
        name: str,
        *,
        trust: Document | None = None,
        policy: Document | None = None,
        max_session: int = 3600,
    ) -> str:
        """Make a role and return its ARN.

        Args:
            name: unique in the account; `reset()` forgets it.
            trust: who may take it; by default `trust()`.
            policy: what it may do, its inline policy `base`; by default everything in S3.
            max_session: its MaxSessionDuration in seconds.
        """
        iam = self.client("iam")
        role = iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(trust or self.trust()),
            MaxSessionDuration=max_session,
        )
        document = json.dumps(policy or allow("s3:*"))
        iam.put_role_policy(RoleName=name, PolicyName="base", PolicyDocument=document)
        return role["Role"]["Arn"]

    def managed_policy(self, name: str, document: Document) -> str:
        """Make a managed policy of the account and return its ARN."""
        made = self.client("iam").create_policy(
            PolicyName=name, PolicyDocument=json.dumps(document)
        )
        return made["Policy"]["Arn"]

    def bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        where: Any = {"LocationConstraint": REGION}
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=where)
        return name

    def assume(self, role: str, token: Secret, *, name: str = "test", **options: Any) -> Keys:
        """Take a role with a web identity, as the AWS SDKs do, and return the session's keys.

        Args:
            role: its ARN.
            token: the subject token.
            name: the session's.
            options: more parameters of AssumeRoleWithWebIdentity.
        """
        answer = self.client("sts").assume_role_with_web_identity(
            RoleArn=role, RoleSessionName=name, WebIdentityToken=token.reveal(), **options
        )
        return Keys(
            access_key_id=answer["Credentials"]["AccessKeyId"],
            secret_access_key=answer["Credentials"]["SecretAccessKey"],
            session_token=answer["Credentials"]["SessionToken"],
        )

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def issued(self) -> list[str]:
        """Return every secret of the sessions issued since the last reset, to look for leaks."""
        return list(self._control("issued"))

    def sessions(self) -> list[tuple[str, Keys]]:
        """Return the sessions issued since the last reset: their names, and their keys."""
        return [(one.pop("name"), Keys(**one)) for one in self._control("sessions")]

    def advance(self, seconds: float) -> None:
        """Let AWS's clock go ahead of ours, until the next reset: sessions and tokens expire."""
        self._control("advance", seconds)

    def shorten_sessions(self, seconds: float) -> None:
        """Give new sessions this life, which AWS itself would not, until the next reset.

        Whatever DurationSeconds says; the answer's Expiration tells the truth.
        """
        self._control("shorten", seconds)

    def _control(self, verb: str, value: object = None) -> Any:
        answer = self._http.post(f"{self.address}/_world/{verb}", json=value, timeout=30)
        answer.raise_for_status()
        return answer.json()
