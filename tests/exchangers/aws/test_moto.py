"""The same exchange at an STS that nobody here wrote, and its keys in a real SDK's hands."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ci_identity._record import replace
from ci_identity.model import PolicyStatement
from tests.exchangers.aws.stage import LEASE, ROLE, Stage, target


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of moto's server: answers as AWS does, but decides nothing."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_keys_are_those_of_a_session_of_the_role(moto: str) -> None:
    """Its answer is understood, and boto3 is somebody with what came of it."""
    read = PolicyStatement(allow=("s3:GetObject",), on=("*",))
    stage = Stage(
        target=replace(target(), policy=(read,)),
        environ={"AWS_ENDPOINT_URL": moto},
        ttl=timedelta(minutes=30),
    )
    credential = stage.exchange()
    keys = credential.served
    assert keys is not None
    left = keys.expires_at - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)
    sts = boto3.Session(
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key.reveal(),
        aws_session_token=keys.session_token.reveal(),
        region_name="eu-west-1",
    ).client("sts", endpoint_url=moto)
    who = sts.get_caller_identity()
    role = ROLE.rpartition("/")[2]
    assert who["Arn"].startswith(f"arn:aws:sts::123456789012:assumed-role/{role}/")
    assert who["Arn"].endswith(f"-{LEASE}")
    assert stage.handles[0].value.endswith(f"-{LEASE}")
