"""How AWS SDKs are handed a session: by the container-credentials protocol, a profile, variables.

Sources: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html.
"""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity._record import Record
from ci_identity.delivery.endpoint import Route
from ci_identity.delivery.environ import AWS_CONFIG
from ci_identity.delivery.interface import Door, delivered
from ci_identity.delivery.message import Reply
from ci_identity.model import AwsKeys, Delivered
from ci_identity.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
"""Both: version 1 of the aws command reads the second only."""

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

PROCESS_FORMAT = "aws-credential-process"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class AwsOffer(Record):
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

    @property
    def summary(self) -> str:
        """What the child finds, in a few words for people."""
        return f"an AWS session at a loopback endpoint, and as AWS_PROFILE={self.grant}"

    @property
    def path(self) -> str:
        """Where the session is served."""
        return f"/aws/{self.grant}"

    def routes(self, door: Door) -> Mapping[str, Route]:  # noqa: ARG002  # as `Offer` has it
        """Return what is served, by path."""
        return {
            self.path: Route(answer=lambda _: Reply(status=200, body=container_answer(self.keys())))
        }

    def files(self, door: Door, among: "Sequence[AwsOffer]") -> Mapping[str, str]:
        """Return the AWS config file with one profile for each grant."""
        return {AWS_CONFIG: profiles(among, door.command)}

    def variables(self, door: Door, among: "Sequence[AwsOffer]") -> Mapping[str, Delivered]:
        """Return the variables of a child; the first grant of several is the default.

        With several grants the regions are in the profiles alone: a variable would go before them.
        """
        given: dict[str, str | Secret] = {}
        if self.is_default:
            given["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = door.address + self.path
            given["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = door.bearer
        else:
            given["AWS_PROFILE"] = self.grant
        if len(among) == 1 and self.region:
            given |= dict.fromkeys(REGION, self.region)
        return delivered(given)

    def pointers(self, door: Door, bearer_file: Path) -> Mapping[str, str]:
        """Return the variables of a whole job: where the grant is served, and no secret.

        The region is in the config file: as a variable it would go before what a step chooses. The
        credentials file is empty: a key in ~/.aws/credentials would go before the endpoint.
        """
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": door.address + self.path,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(bearer_file),
            "AWS_CONFIG_FILE": str(door.folder / AWS_CONFIG),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


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


def key_variables(keys: AwsKeys, region: str | None) -> Mapping[str, Delivered]:
    """Return the variables of a child that is given the keys themselves."""
    values = (keys.access_key_id, keys.secret_access_key, keys.session_token)
    given: dict[str, str | Secret] = dict(zip(KEYS, values, strict=True))
    if region:
        given |= dict.fromkeys(REGION, region)
    return delivered(given)


def profiles(offers: Sequence[AwsOffer], command: Sequence[str]) -> str:
    """Return an AWS config file with one profile for each grant, in which there is no secret.

    Args:
        offers: the grants. `AWS_PROFILE=<grant>` chooses one.
        command: how to run ci-identity; the profile's process asks the endpoint.
    """
    sections: list[str] = []
    ours = shlex.join(command)  # some SDKs give it to a shell
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
