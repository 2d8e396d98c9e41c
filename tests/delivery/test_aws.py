"""What AWS clients are handed: answers of their protocols, variables, profiles."""

import json
from configparser import ConfigParser
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.utils import parse_to_aware_datetime

from ci_identity.delivery.aws import (
    AwsOffer,
    container_answer,
    key_variables,
    process_answer,
    profiles,
)
from ci_identity.delivery.interface import Door
from ci_identity.model import AwsKeys
from ci_identity.secret import Secret

ENDS = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
KEYS = AwsKeys(
    access_key_id="ASIAEXAMPLE",
    secret_access_key=Secret("the-secret-key"),
    session_token=Secret("the-session-token"),
    expires_at=ENDS,
)
URL = "http://127.0.0.1:1/aws/deploy-web"
DOOR = Door(
    address="http://127.0.0.1:1",
    bearer=Secret("the-bearer"),
    folder=Path("/private"),
    command=["/a b/python", "-I"],
)


def offer(grant: str = "deploy-web", region: str | None = "eu-west-1", **more: bool) -> AwsOffer:
    return AwsOffer(
        grant=grant, region=region, is_default=more.get("is_default", True), keys=lambda: KEYS
    )


def test_container_answer() -> None:
    """As SDKs read it; the time is cut to the second before, never after."""
    assert json.loads(container_answer(KEYS)) == {
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": "the-secret-key",
        "Token": "the-session-token",
        "Expiration": "2026-01-02T03:04:05Z",
    }
    assert parse_to_aware_datetime("2026-01-02T03:04:05Z") <= ENDS


def test_process_answer() -> None:
    """A credential_process names the token otherwise, and has a version."""
    assert json.loads(process_answer(KEYS)) == {
        "Version": 1,
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": "the-secret-key",
        "SessionToken": "the-session-token",
        "Expiration": "2026-01-02T03:04:05Z",
    }


def test_variables_lead_to_the_endpoint() -> None:
    """The bearer alone is secret; both names of the region are set."""
    given = offer().variables(DOOR, [offer()])
    assert {name: delivered.value.reveal() for name, delivered in given.items()} == {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": URL,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-bearer",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    assert [name for name, delivered in given.items() if not delivered.is_public] == [
        "AWS_CONTAINER_AUTHORIZATION_TOKEN"
    ]


def test_profile_instead_of_the_endpoint() -> None:
    """For clients without the protocol the first grant's profile is chosen."""
    one = offer(is_default=False, region=None)
    given = one.variables(DOOR, [one])
    assert {name: delivered.value.reveal() for name, delivered in given.items()} == {
        "AWS_PROFILE": "deploy-web"
    }


def test_regions_of_several_grants_are_in_their_profiles() -> None:
    """A variable would go before the profiles' own regions."""
    offers = [offer(), offer("read-web", "us-east-1")]
    assert not offers[0].variables(DOOR, offers).keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}
    config = ConfigParser()
    config.read_string(profiles(offers, ["/a b/python", "-I"]))
    assert {name: config[name]["region"] for name in config.sections()} == {
        "default": "eu-west-1",
        "profile deploy-web": "eu-west-1",
        "profile read-web": "us-east-1",
    }
    assert config["profile read-web"]["credential_process"] == (
        "'/a b/python' -I credential --grant read-web --format aws-credential-process"
    )


@pytest.mark.parametrize("region", ["eu-west-1", None])
def test_keys_as_variables(region: str | None) -> None:
    """The id of the key may be seen; the key and the token may not."""
    given = key_variables(KEYS, region)
    assert {name for name, delivered in given.items() if not delivered.is_public} == {
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
    assert ("AWS_REGION" in given) == (region is not None)


def test_pointers_of_a_whole_job_hold_no_secret() -> None:
    """They name files: the one with the bearer, and the one with the profiles."""
    given = offer().pointers(DOOR, Path("/agent/bearer"))
    assert given["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == URL
    assert given["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == "/agent/bearer"
    assert given["AWS_CONFIG_FILE"] == "/private/aws-config"
    assert "the-bearer" not in str(given)
