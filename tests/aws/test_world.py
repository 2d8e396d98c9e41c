"""The AWS of the tests refuses what AWS refuses, in AWS's words: else it would prove nothing."""

import json
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.aws.policies import ACCOUNT, AUDIENCE, allow, deny, host_of, policy
from tests.aws.terraform import terraform_project
from tests.aws.world import REGION, AwsWorld, Keys

RunScript = Callable[[str], list[str]]


@contextmanager
def refused(code: str, status: int, *, says: str = "") -> Iterator[None]:
    """Assert that AWS refuses what is done in the block, with this code, status and message."""
    with pytest.raises(ClientError) as caught:
        yield
    error: Any = caught.value.response
    assert error["Error"]["Code"] == code
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    assert says in error["Error"].get("Message", "")


def put(aws: AwsWorld, keys: Keys, key: str = "index.html") -> None:
    aws.client("s3", keys).put_object(Bucket="shop", Key=key, Body=b"hello")


@pytest.fixture
def role(aws: AwsWorld) -> str:
    """A role that may do everything in S3, where there is one bucket."""
    aws.bucket("shop")
    return aws.role("deploy")


@pytest.fixture
def token(issuer: Issuer) -> Secret:
    return issuer.github_token(AUDIENCE)


# ── taking a role ────────────────────────────────────────────────────────────────────────────


def test_a_job_of_the_repository_takes_the_role(aws: AwsWorld, role: str, token: Secret) -> None:
    """The answer has what AWS's has, and its AssumedRoleId is the session's true user id."""
    answer = aws.client("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="one", WebIdentityToken=token.reveal()
    )
    user = answer["AssumedRoleUser"]
    assert user["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/one"
    assert answer["Audience"] == AUDIENCE
    assert answer["Provider"] == aws.provider_arn
    assert answer["SubjectFromWebIdentityToken"] == "repo:acme@7/shop@42:ref:refs/heads/main"
    life = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert timedelta(seconds=3540) < life <= timedelta(seconds=3600)
    keys = aws.assume(role, token, name="one")
    identity = aws.client("sts", keys).get_caller_identity()
    assert identity["UserId"] == user["AssumedRoleId"]
    assert identity["UserId"].startswith("AROA")
    assert identity["Arn"] == user["Arn"]


def test_another_audience_is_refused(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """A token that is for somebody else is no token, whatever the trust policy says."""
    with refused("InvalidIdentityToken", 400, says="Incorrect token audience"):
        aws.assume(role, issuer.github_token("vault.example"))


def test_another_issuer_is_refused(aws: AwsWorld, role: str) -> None:
    """An issuer that the account has no provider for is refused by name."""
    with (
        Issuer() as other,
        refused(
            "InvalidIdentityToken",
            400,
            says=f"No OpenIDConnect provider found in your account for {other.address}",
        ),
    ):
        aws.assume(role, other.github_token(AUDIENCE))


def test_a_trusted_issuer_is_not_every_roles(aws: AwsWorld, role: str) -> None:
    """An account's other provider does not open a role whose trust policy does not name it."""
    with Issuer() as other:
        aws.provider(other.address)
        with refused("AccessDenied", 403):
            aws.assume(role, other.github_token(AUDIENCE))


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "mallory/shop", "repository_id": "666"},
        {"repository": "acme/shopping", "repository_id": "43"},
    ],
    ids=["stranger", "neighbour"],
)
def test_another_subject_is_refused(
    aws: AwsWorld, role: str, issuer: Issuer, claims: dict[str, Any]
) -> None:
    """Another repository's job is refused by the trust policy, and not told why."""
    says = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    with refused("AccessDenied", 403, says=says):
        aws.assume(role, issuer.github_token(AUDIENCE, **claims))


def test_a_role_that_is_not_there_is_refused_like_one_that_is(aws: AwsWorld, token: Secret) -> None:
    """Nobody learns from the answer which roles an account has."""
    with refused("AccessDenied", 403, says="Not authorized to perform"):
        aws.assume(f"arn:aws:iam::{ACCOUNT}:role/absent", token)


def test_an_expired_token_is_refused(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """A token ends at its `exp`, whoever signed it."""
    now = int(time.time())
    with refused("ExpiredTokenException", 400, says="Token expired: current date/time"):
        aws.assume(role, issuer.github_token(AUDIENCE, iat=now - 600, exp=now - 1))


def test_a_tampered_token_is_refused(aws: AwsWorld, role: str, issuer: Issuer) -> None:
    """Claims that the issuer did not sign, under a signature that it did make, do not count."""
    header, _, signature = issuer.github_token(AUDIENCE).reveal().split(".")
    claims = issuer.github_token(AUDIENCE, run_id="1").reveal().split(".")[1]
    with refused("InvalidIdentityToken", 400):
        aws.assume(role, Secret(f"{header}.{claims}.{signature}"))


def test_a_token_without_a_signature_is_refused(aws: AwsWorld, role: str, token: Secret) -> None:
    """`alg: none` is not one of the algorithms."""
    none = "eyJhbGciOiJub25lIiwia2lkIjoic2FuZGJveCJ9"
    with refused("InvalidIdentityToken", 400):
        aws.assume(role, Secret(f"{none}.{token.reveal().split('.')[1]}."))


def test_what_is_no_token_is_refused(aws: AwsWorld, role: str) -> None:
    """Text that is not a JWT is said to be none."""
    with refused("InvalidIdentityToken", 400, says="not a valid JWT"):
        aws.assume(role, Secret("not-a-token"))


def test_an_issuer_that_does_not_answer_is_said_to_be_the_reason(aws: AwsWorld, role: str) -> None:
    """AWS fetches the keys from the issuer, and where it cannot, it says so."""
    with Issuer() as gone:
        aws.provider(gone.address)
        token = gone.github_token(AUDIENCE)
    with refused("InvalidIdentityToken", 400, says="Couldn't retrieve verification key"):
        aws.assume(role, token)


def test_a_trust_policy_sees_githubs_claims(aws: AwsWorld, issuer: Issuer) -> None:
    """The condition keys are those that AWS has for GitHub: some claims, and no others."""
    host = host_of(issuer.address)
    pinned = aws.role(
        "pinned", trust=aws.trust({"StringEquals": {f"{host}:environment": "production"}})
    )
    aws.assume(pinned, issuer.github_token(AUDIENCE, environment="production"))
    with refused("AccessDenied", 403):
        aws.assume(pinned, issuer.github_token(AUDIENCE))
    unknown = aws.role("unknown", trust=aws.trust({"StringEquals": {f"{host}:run_id": "9001"}}))
    with refused("AccessDenied", 403):
        aws.assume(unknown, issuer.github_token(AUDIENCE))


# ── what the call itself allows ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"DurationSeconds": 899}, "greater than or equal to 900"),
        ({"DurationSeconds": 43_201}, "less than or equal to 43200"),
        ({"DurationSeconds": 3601}, "exceeds the MaxSessionDuration set for this role"),
        ({"name": "x" * 65}, "length less than or equal to 64"),
        ({"name": "x"}, "length greater than or equal to 2"),
        ({"name": "acme/shop"}, "regular expression pattern"),
        (
            {"Policy": json.dumps(allow("s3:GetObject", on="x" * 2048))},
            "less than or equal to 2048",
        ),
    ],
    ids=["short", "long", "role", "long-name", "short-name", "name", "policy"],
)
def test_a_call_out_of_bounds_is_refused(
    aws: AwsWorld, role: str, token: Secret, options: dict[str, Any], says: str
) -> None:
    """The limits of the API, and of the role, are AWS's."""
    # Unlike boto3, which looks at the lengths itself, a plain client sends what it is given.
    given = {"RoleSessionName": options.get("name", "test")} | {
        name: str(value) for name, value in options.items() if name != "name"
    }
    parameters = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role}
    body = parameters | given | {"WebIdentityToken": token.reveal()}
    answer = requests.post(aws.address, data=body, timeout=30)
    assert answer.status_code == 400
    assert "<Code>ValidationError</Code>" in answer.text
    assert says in answer.text
    assert token.reveal() not in answer.text


@pytest.mark.parametrize(
    "document", ["{", '{"Version":"2012-10-17","Statement":[{"Effect":"Yes"}]}']
)
def test_a_malformed_session_policy_is_refused(
    aws: AwsWorld, role: str, token: Secret, document: str
) -> None:
    """What is no JSON, or no policy, is refused before there is a session."""
    with refused("MalformedPolicyDocument", 400):
        aws.assume(role, token, Policy=document)


def test_a_session_policy_that_does_not_pack_is_refused(
    aws: AwsWorld, role: str, token: Secret
) -> None:
    """Within 2,048 characters a policy can still be too large for what AWS makes of it."""
    # Digests do not compress; the test is the same every time.
    digests = [urlsafe_b64encode(sha256(bytes([n])).digest()).decode() for n in range(32)]
    names = [f"arn:aws:s3:::{digest[:43]}" for digest in digests]
    dense = json.dumps(allow("s3:GetObject", on=names), separators=(",", ":"))
    assert len(dense) <= 2048
    with refused("PackedPolicyTooLarge", 400, says="of allotted space"):
        aws.assume(role, token, Policy=dense)


# ── what a session may do ────────────────────────────────────────────────────────────────────


def test_a_role_may_do_what_its_policy_says_and_no_more(
    aws: AwsWorld, role: str, token: Secret
) -> None:
    """A role for S3 writes and reads there, and gets nothing from IAM."""
    keys = aws.assume(role, token)
    put(aws, keys, "a b/é.txt")
    got = aws.client("s3", keys).get_object(Bucket="shop", Key="a b/é.txt")
    assert got["Body"].read() == b"hello"
    with refused("AccessDenied", 403, says="is not authorized to perform: iam:GetRole"):
        aws.client("iam", keys).get_role(RoleName="deploy")


def test_a_session_policy_narrows(aws: AwsWorld, role: str, token: Secret) -> None:
    """A session does what role and session policy both allow: a policy never adds anything."""
    narrowed = allow("s3:PutObject", "iam:GetRole")
    keys = aws.assume(role, token, Policy=json.dumps(narrowed))
    put(aws, keys)
    with refused("AccessDenied", 403):
        aws.client("s3", keys).get_object(Bucket="shop", Key="index.html")
    with refused("AccessDenied", 403):
        aws.client("iam", keys).get_role(RoleName="deploy")


def test_a_session_policy_narrows_to_resources(aws: AwsWorld, role: str, token: Secret) -> None:
    """A prefix in a session policy is a prefix."""
    narrowed = allow("s3:PutObject", on="arn:aws:s3:::shop/site/*")
    keys = aws.assume(role, token, Policy=json.dumps(narrowed))
    put(aws, keys, "site/index.html")
    with refused("AccessDenied", 403):
        put(aws, keys, "secrets/index.html")


def test_managed_session_policies_count(aws: AwsWorld, role: str, token: Secret) -> None:
    """A policy given by its ARN narrows as one given in full does."""
    arn = aws.managed_policy("read", allow("s3:GetObject"))
    keys = aws.assume(role, token, PolicyArns=[{"arn": arn}])
    with refused("AccessDenied", 403):
        put(aws, keys)


def test_a_managed_policy_of_the_role_counts(aws: AwsWorld, role: str, token: Secret) -> None:
    """A Deny in an attached policy stops what an inline one allows."""
    arn = aws.managed_policy("never", deny(None, "s3:PutObject"))
    aws.client("iam").attach_role_policy(RoleName="deploy", PolicyArn=arn)
    with refused("AccessDenied", 403, says="explicit deny"):
        put(aws, aws.assume(role, token))


def test_a_deny_by_user_id_stops_one_session_and_not_its_neighbour(
    aws: AwsWorld, role: str, token: Secret
) -> None:
    """This is how one live session is cut: an inline Deny on the role, by `aws:userid`."""
    one, other = aws.assume(role, token, name="one"), aws.assume(role, token, name="other")
    user_id = aws.client("sts", one).get_caller_identity()["UserId"]
    cut = json.dumps(deny({"StringEquals": {"aws:userid": [user_id]}}))
    aws.client("iam").put_role_policy(RoleName="deploy", PolicyName="cut", PolicyDocument=cut)
    with refused("AccessDenied", 403, says="explicit deny"):
        put(aws, one)
    put(aws, other)
    assert aws.client("sts", one).get_caller_identity()["UserId"] == user_id


def test_a_deny_by_issue_time_stops_the_sessions_before_it(
    aws: AwsWorld, role: str, token: Secret
) -> None:
    """This is how the console revokes: every session that began before a time."""
    before = aws.assume(role, token)
    aws.advance(60)
    older = json.dumps(deny({"DateLessThan": {"aws:TokenIssueTime": _in(30)}}))
    aws.client("iam").put_role_policy(RoleName="deploy", PolicyName="old", PolicyDocument=older)
    with refused("AccessDenied", 403):
        put(aws, before)
    put(aws, aws.assume(role, token))


def test_a_deadline_in_a_session_policy_ends_access(
    aws: AwsWorld, role: str, token: Secret
) -> None:
    """A session's life can be shorter than AWS's 900 s: after the deadline everything is denied."""
    deadline = deny({"DateGreaterThan": {"aws:CurrentTime": _in(60)}})
    narrowed = policy(*allow("s3:PutObject")["Statement"], *deadline["Statement"])
    keys = aws.assume(role, token, Policy=json.dumps(narrowed), DurationSeconds=900)
    put(aws, keys)
    aws.advance(61)
    with refused("AccessDenied", 403, says="explicit deny"):
        put(aws, keys)


def test_an_expired_session_is_refused_everywhere(aws: AwsWorld, role: str, token: Secret) -> None:
    """A session ends with its DurationSeconds, at every service."""
    keys = aws.assume(role, token, DurationSeconds=900)
    put(aws, keys)
    aws.advance(901)
    with refused("ExpiredToken", 400):
        put(aws, keys)
    with refused("ExpiredToken", 403):
        aws.client("sts", keys).get_caller_identity()
    with refused("ExpiredToken", 403):
        aws.client("iam", keys).get_role(RoleName="deploy")


def test_a_shortened_session_says_so_and_ends(aws: AwsWorld, role: str, token: Secret) -> None:
    """Sessions can be made to end while a test waits, and their Expiration is then as short."""
    aws.shorten_sessions(2)
    answer = aws.client("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="one", WebIdentityToken=token.reveal()
    )
    assert answer["Credentials"]["Expiration"] - datetime.now(UTC) < timedelta(seconds=3)
    keys = aws.assume(role, token)
    aws.advance(2)
    with refused("ExpiredToken", 400):
        put(aws, keys)


@pytest.mark.parametrize("service", ["s3", "sts"])
def test_a_bad_signature_is_refused(aws: AwsWorld, role: str, token: Secret, service: str) -> None:
    """Whoever has the key's id and the token, and not the secret key, has nothing."""
    keys = aws.assume(role, token)
    forged = Keys(
        access_key_id=keys.access_key_id,
        secret_access_key="x" * 40,
        session_token=keys.session_token,
    )
    with refused("SignatureDoesNotMatch", 403):
        if service == "s3":
            put(aws, forged)
        else:
            aws.client("sts", forged).get_caller_identity()


def test_keys_that_nobody_gave_are_refused(aws: AwsWorld) -> None:
    """Keys that AWS did not make open nothing."""
    keys = Keys(access_key_id="ASIA" + "A" * 16, secret_access_key="x" * 40, session_token="x")
    with refused("InvalidClientTokenId", 403):
        aws.client("sts", keys).get_caller_identity()


def test_an_unsigned_call_is_refused(aws: AwsWorld) -> None:
    """Only AssumeRoleWithWebIdentity needs no signature."""
    aws.bucket("shop")
    answer = requests.get(f"{aws.address}/shop", timeout=30)
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text


# ── IAM, for who cuts sessions ───────────────────────────────────────────────────────────────


def test_who_may_write_one_roles_policies_may_not_write_anothers(
    aws: AwsWorld, token: Secret
) -> None:
    """IAM's own calls are decided by IAM too, each with the ARN of its role."""
    actions = ("iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies", "iam:GetRole*")
    mine = f"arn:aws:iam::{ACCOUNT}:role/deploy"
    keys = aws.assume(aws.role("cutter", policy=allow(*actions, on=mine)), token)
    aws.role("deploy")
    aws.role("other")
    iam = aws.client("iam", keys)
    cut = json.dumps(deny({"StringEquals": {"aws:userid": ["AROAX:gone"]}}))
    iam.put_role_policy(RoleName="deploy", PolicyName="cut", PolicyDocument=cut)
    assert iam.list_role_policies(RoleName="deploy")["PolicyNames"] == ["base", "cut"]
    written: Any = iam.get_role_policy(RoleName="deploy", PolicyName="cut")["PolicyDocument"]
    assert written == json.loads(cut)
    assert iam.get_role(RoleName="deploy")["Role"]["Arn"] == mine
    iam.delete_role_policy(RoleName="deploy", PolicyName="cut")
    for name in ("other", "cutter", "absent"):
        with refused("AccessDenied", 403):
            iam.put_role_policy(RoleName=name, PolicyName="cut", PolicyDocument=cut)


def test_the_inline_policies_of_a_role_have_a_quota(aws: AwsWorld, role: str) -> None:
    """Together they have 10,240 characters, of which white space is none."""
    iam = aws.client("iam")

    def write(name: str, size: int) -> None:
        document = json.dumps(allow("s3:GetObject", on="arn:aws:s3:::" + "x" * size), indent=40)
        iam.put_role_policy(RoleName=role.split("/")[1], PolicyName=name, PolicyDocument=document)

    write("one", 5000)
    write("two", 4800)
    with refused("LimitExceeded", 409, says="10240"):
        write("three", 500)
    write("two", 100)  # in the place of the one that was there
    write("three", 500)


# ── what was seen ────────────────────────────────────────────────────────────────────────────


def test_calls_are_what_aws_saw(aws: AwsWorld, role: str, token: Secret) -> None:
    """The log has each call but the administrator's, whose it was and how it ended, no token."""
    keys = aws.assume(role, token, name="one", Policy=json.dumps(allow("s3:GetObject")))
    with refused("AccessDenied", 403):
        put(aws, keys)
    taken, written = aws.calls()
    assert (taken.service, taken.action) == ("sts", "AssumeRoleWithWebIdentity")
    assert (taken.status, taken.error) == (200, "")
    assert taken.principal == "repo:acme@7/shop@42:ref:refs/heads/main"
    assert taken.parameters["RoleSessionName"] == "one"
    assert token.reveal() not in str(taken)
    assert (written.service, written.action) == ("s3", "PutObject")
    assert (written.status, written.error) == (403, "AccessDenied")
    assert written.principal == f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/one"
    assert aws.calls("PutObject") == [written]


def test_each_test_begins_with_an_empty_account(aws: AwsWorld) -> None:
    """A reset leaves no role and no call behind, only the provider."""
    aws.role("deploy")
    aws.reset()
    assert aws.calls() == []
    assert aws.client("iam").list_roles()["Roles"] == []
    providers = aws.client("iam").list_open_id_connect_providers()
    assert [p["Arn"] for p in providers["OpenIDConnectProviderList"]] == [aws.provider_arn]


# ── other clients than boto3 ─────────────────────────────────────────────────────────────────


def _environ(aws: AwsWorld, keys: Keys, home: Path) -> dict[str, str]:
    assert keys.session_token
    return aws.environ | {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token,
    }


def test_the_command_line_reaches_it(
    aws: AwsWorld, role: str, token: Secret, tmp_path: Path
) -> None:
    """`aws s3 cp` needs no more than the endpoint's address and a credential."""
    source = tmp_path / "index.html"
    source.write_text("hello")
    command = [sys.executable, "-m", "awscli", "s3", "cp", str(source), "s3://shop/index.html"]
    run(command, _environ(aws, aws.assume(role, token), tmp_path))
    assert [call.status for call in aws.calls("PutObject")] == [200]


def test_the_javascript_sdk_reaches_it(
    aws: AwsWorld, role: str, token: Secret, tmp_path: Path, aws_js: RunScript
) -> None:
    """The JavaScript SDK finds it and its credential in the same variables."""
    script = """
        import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
        await new S3Client().send(new PutObjectCommand({ Bucket: 'shop', Key: 'a', Body: 'hello' }))
    """
    run(aws_js(script), _environ(aws, aws.assume(role, token), tmp_path))
    assert [call.status for call in aws.calls("PutObject")] == [200]


def test_terraform_reaches_it(aws: AwsWorld, role: str, token: Secret, tmp_path: Path) -> None:
    """Terraform keeps its state there: the S3 backend signs in as the AWS provider does."""
    terraform = terraform_project(tmp_path, bucket="shop")
    environ = _environ(aws, aws.assume(role, token), tmp_path)
    run([*terraform, "init", "-input=false"], environ)
    run([*terraform, "apply", "-input=false", "-auto-approve"], environ)
    assert [call.status for call in aws.calls("PutObject")] == [200]


def run(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _in(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
