"""A role's trust policy is read with the job's own keys, or not at all; it never raises."""

import json
import socket
from collections.abc import Iterator, Mapping

import pytest

from ci_identity.trust import role
from tests.aws.world import AwsWorld

NAME = "deploy-web"


@pytest.fixture
def keys(aws: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Keys that may read a role; boto3 finds the address in this process's own variables."""
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    iam = aws.client("iam")
    iam.create_user(UserName="reader")
    allow = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
    made = iam.create_access_key(UserName="reader")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
    }


def test_the_policy_is_what_iam_has(aws: AwsWorld, keys: Mapping[str, str]) -> None:
    """One call, and the document is the one that the role was made with."""
    arn = aws.role(NAME)
    assert role.fetch(arn, keys) == aws.trust()
    assert [call.action for call in aws.calls()] == ["GetRole"]


def test_without_keys_nobody_is_asked(aws: AwsWorld, keys: Mapping[str, str]) -> None:
    """No profile and no metadata service stands in for keys."""
    arn = aws.role(NAME)
    for name in keys:
        assert role.fetch(arn, dict(keys) | {name: ""}) is None
    assert role.fetch(arn, {"AWS_PROFILE": "x"}) is None
    assert aws.calls() == []


def test_a_role_of_another_account_is_not_taken_for_ours(
    aws: AwsWorld, keys: Mapping[str, str]
) -> None:
    """The keys may be another account's, where a role has the same name by chance."""
    arn = aws.role(NAME)
    assert role.fetch(arn.replace(aws.account, "999999999999"), keys) is None


def test_a_refusal_is_none(aws: AwsWorld, keys: Mapping[str, str]) -> None:
    """No such role, no right to read it, or no ARN at all: nothing is raised."""
    arn = aws.role(NAME)
    assert role.fetch(arn + "x", keys) is None
    assert role.fetch("nonsense", keys) is None
    assert role.fetch(arn, dict(keys) | {"AWS_SECRET_ACCESS_KEY": "wrong"}) is None


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An IAM that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(role, "PATIENCE", 0.2)
        yield


@pytest.mark.usefixtures("silent")
def test_silence_is_none() -> None:
    """A server that never answers keeps nobody."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert role.fetch("arn:aws:iam::123456789012:role/x", keys) is None
