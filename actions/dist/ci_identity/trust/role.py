"""Reads a role's trust policy from AWS, where the job has keys of its own that may: best effort."""

import json
from collections.abc import Mapping
from threading import Thread

PATIENCE = 3.0
"""Seconds that it may take in all. It only explains an error that has already happened."""

_REGIONS = {
    "aws": "us-east-1",
    "aws-cn": "cn-north-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-eusc": "eusc-de-east-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-iso-e": "eu-isoe-west-1",
    "aws-iso-f": "us-isof-south-1",
}
"""By partition, a region of it; IAM has one address for all of them."""

_NO_METADATA = "legacy"
"""The defaults mode that never asks the metadata service, as `auto` does."""


def fetch(role: str, environ: Mapping[str, str]) -> Mapping[str, object] | None:
    """Return the trust policy of the role with the ARN `role` (IAM, GetRole), or `None`.

    Only keys in `environ` are used, as an earlier step may have left them: no profile, which could
    start a program, and no metadata service. Needs boto3. Never raises.
    """
    if not environ.get("AWS_ACCESS_KEY_ID") or not environ.get("AWS_SECRET_ACCESS_KEY"):
        return None
    found: list[Mapping[str, object]] = []
    thread = Thread(target=_fetch, args=(role, environ, found), name="get-role", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found[0] if found else None


def _fetch(role: str, environ: Mapping[str, str], found: list[Mapping[str, object]]) -> None:
    try:
        import boto3  # noqa: PLC0415  # 0.3 s, and an optional dependency
        from botocore.config import Config  # noqa: PLC0415  # as above

        client = boto3.client(  # pyright: ignore[reportUnknownMemberType]  # stubs: not all services
            "iam",
            region_name=_REGIONS[role.split(":")[1]],
            aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=environ.get("AWS_SESSION_TOKEN"),
            config=Config(
                connect_timeout=PATIENCE,
                read_timeout=PATIENCE,
                retries={"total_max_attempts": 1},
                defaults_mode=_NO_METADATA,  # type: ignore[arg-type]  # the stub is wrong
            ),
        )
        answer = client.get_role(RoleName=role.rpartition("/")[2])["Role"]
        if answer["Arn"] == role:  # the keys may be of another account, with a role of that name
            found.append(json.loads(json.dumps(answer.get("AssumeRolePolicyDocument"))))
    except Exception:  # noqa: BLE001  # whatever it is, there is an error already, and it matters
        return
