"""How AWS SDKs are handed a session: by the container-credentials protocol, a profile, variables.

Sources: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity.model import AwsKeys, Delivered
from ci_identity.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
"""Both: version 1 of the aws command reads the second only."""

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

PROCESS_FORMAT = "aws-credential-process"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsOffer:
    """One grant's session, as it is on offer to the child.

    Attributes:
        grant: the grant's name, which is also the profile's.
        region: the grant's region, if it names one.
        is_default: whether clients without a profile are sent to the endpoint; else the profile
            is named to them.
        keys: returns the keys as they are now. It raises a `CiIdentityError` if there are none.
    """

    grant: str
    region: str | None
    is_default: bool
    keys: "Callable[[], AwsKeys]"


def container_answer(keys: AwsKeys) -> bytes:
    """Return what an SDK expects from a container-credentials endpoint."""
    answer = {
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key.reveal(),
        "Token": keys.session_token.reveal(),
        "Expiration": f"{keys.expires_at:{_TIME}}",
    }
    return json.dumps(answer).encode()


def process_answer(keys: AwsKeys) -> str:
    """Return what an SDK expects from a `credential_process`."""
    answer = {
        "Version": 1,
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key.reveal(),
        "SessionToken": keys.session_token.reveal(),
        "Expiration": f"{keys.expires_at:{_TIME}}",
    }
    return json.dumps(answer)


def variables(offers: Sequence[AwsOffer], url: str, bearer: Secret) -> Mapping[str, Delivered]:
    """Return the variables of a child for all its AWS grants; the first one is the default.

    With several grants the regions are in the profiles alone: a variable would go before them.

    Args:
        offers: the grants, in the order they were asked for.
        url: the endpoint's address of the first one.
        bearer: what the endpoint asks for.
    """
    first = offers[0]
    given: dict[str, str | Secret] = {}
    if first.is_default:
        given["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = url
        given["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = bearer
    else:
        given["AWS_PROFILE"] = first.grant
    if len(offers) == 1 and first.region:
        given |= dict.fromkeys(REGION, first.region)
    return _delivered(given)


def pointers(
    url: str, bearer_file: Path, *, config: Path, credentials: Path
) -> Mapping[str, str]:
    """Return the variables of a whole job: where the default grant is served, and no secret.

    They are the weakest of their kind: what a step sets by itself goes before them. The region is
    in the config file, and not in a variable, for that reason.

    Args:
        url: the endpoint's address of the first grant.
        bearer_file: the file with what the endpoint asks for.
        config: the AWS config file with the grants' profiles.
        credentials: an empty file; a key in ~/.aws/credentials would go before the endpoint.
    """
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(bearer_file),
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
    }


def key_variables(keys: AwsKeys, region: str | None) -> Mapping[str, Delivered]:
    """Return the variables of a child that is given the keys themselves."""
    values = (keys.access_key_id, keys.secret_access_key, keys.session_token)
    given: dict[str, str | Secret] = dict(zip(KEYS, values, strict=True))
    if region:
        given |= dict.fromkeys(REGION, region)
    return _delivered(given)


def _delivered(given: Mapping[str, str | Secret]) -> Mapping[str, Delivered]:
    return {
        name: Delivered(value=value)
        if isinstance(value, Secret)
        else Delivered(value=Secret(value), is_public=True)
        for name, value in given.items()
    }


def profiles(offers: Sequence[AwsOffer], command: Sequence[str]) -> str:
    """Return an AWS config file with one profile for each grant, in which there is no secret.

    Args:
        offers: the grants. `AWS_PROFILE=<grant>` chooses one.
        command: how to run ci-identity; the profile's process asks the endpoint.
    """
    sections: list[str] = []
    ours = " ".join(f'"{word}"' for word in command)
    if offers[0].region:
        sections.append(f"[default]\nregion = {offers[0].region}\n")
    for offer in offers:
        lines = [f"[profile {offer.grant}]"]
        if offer.region:
            lines.append(f"region = {offer.region}")
        process = f"{ours} credential --grant {offer.grant} --format {PROCESS_FORMAT}"
        lines.append(f"credential_process = {process}")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)
