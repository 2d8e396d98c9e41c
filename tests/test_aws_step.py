"""An AWS grant under `ci-identity exec`: real clients, and an AWS that decides as AWS does."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.aws.policies import allow
from tests.aws.terraform import terraform_project
from tests.aws.world import AwsWorld
from tests.step import COMMAND, Job

AWS = str(Path(sys.executable).with_name("aws"))
BUCKET = "shop-web"
PUT = f"echo site | {AWS} s3 cp - s3://{BUCKET}/index.html"
GET = f"{AWS} s3 cp s3://{BUCKET}/index.html -"

BOTO3 = f"""
import sys, time, boto3
s3 = boto3.client("s3")
for _ in range(int(sys.argv[1])):
    s3.put_object(Bucket="{BUCKET}", Key="index.html", Body=b"site")
    time.sleep(float(sys.argv[2]))
"""
JAVASCRIPT = f"""
import {{ S3Client, PutObjectCommand }} from "@aws-sdk/client-s3";
const s3 = new S3Client({{ forcePathStyle: true }});
await s3.send(new PutObjectCommand({{ Bucket: "{BUCKET}", Key: "index.html", Body: "site" }}));
console.log("written");
"""


def exec_with(*grants: str, options: tuple[str, ...] = ()) -> list[str]:
    named = [word for grant in grants for word in ("--grant", grant)]
    return [*COMMAND, "exec", *named, *options, "--"]


def boto3_step(calls: int = 1, pause: float = 0.0) -> list[str]:
    return [sys.executable, "-c", BOTO3, str(calls), str(pause)]


@pytest.fixture
def job(world: World, aws: AwsWorld, tmp_path: Path) -> Job:
    """A job with grants for one role: `deploy-web` may write a bucket, `read-web` only read it."""
    aws.bucket(BUCKET)
    role = aws.role("deploy-web", policy=allow("s3:*"))
    found = f"{{issuer: {json.dumps(world.issuer.address)}, repository: acme/shop}}"
    lines = ["version: 1", "grants:"]
    for name, ttl, action in (
        ("deploy-web", "15m", "s3:PutObject"),
        ("deploy-soon", "3s", "s3:PutObject"),
        ("read-web", "15m", "s3:GetObject"),
    ):
        policy = f'[{{allow: ["{action}"], on: ["arn:aws:s3:::{BUCKET}/*"]}}]'
        lines += [f"  {name}:", f"    for: {found}", f"    ttl: {ttl}", "    aws:"]
        lines += [f"      role: {role}", f"      region: {aws.region}", f"      policy: {policy}"]
    (tmp_path / "grants.yml").write_text("\n".join(lines))
    made = Job.of(world, tmp_path / "state")
    made.environ.update(aws.environ, CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"))
    return made


def succeeded(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


# ── real clients ─────────────────────────────────────────────────────────────────────────────


def test_awscli(job: Job, aws: AwsWorld) -> None:
    """The aws command finds its keys at the endpoint; one call to STS was made for it."""
    succeeded(job.run([*exec_with("deploy-web"), "sh", "-c", PUT]))
    assert [call.action for call in aws.calls()] == ["AssumeRoleWithWebIdentity", "PutObject"]
    assert job.events() == ["requested", "issued", "delivered", "accessed", "expires"]


def test_boto3(job: Job, aws: AwsWorld) -> None:
    """So does boto3, as often as it likes, by one exchange."""
    succeeded(job.run([*exec_with("deploy-web"), *boto3_step(calls=5)]))
    assert len(aws.calls("PutObject")) == 5
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1


def test_javascript(job: Job, aws_js: Callable[[str], list[str]]) -> None:
    """So does the AWS SDK for JavaScript."""
    assert "written" in succeeded(job.run([*exec_with("deploy-web"), *aws_js(JAVASCRIPT)]))


def test_terraform(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """So does Terraform, by the SDK for Go; its state is what it writes to the bucket."""
    path = tmp_path / "grants.yml"
    path.write_text(path.read_text().replace('"s3:PutObject"', '"s3:*"').replace("/*", "*"))
    terraform = terraform_project(tmp_path, bucket=BUCKET)
    for words in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        succeeded(job.run([*exec_with("deploy-web"), *terraform, *words]))
    assert aws.calls("PutObject")


@pytest.mark.parametrize("mode", ["endpoint", "credential-process", "env"])
def test_every_delivery_reaches_the_client(job: Job, mode: str) -> None:
    """The endpoint, a profile's process and variables all lead to the same session."""
    done = job.run([*exec_with("deploy-web", options=("--delivery", mode)), *boto3_step()])
    succeeded(done)
    assert ("not renewed" in done.stderr.decode()) == (mode == "env")


def test_several_grants_at_once(job: Job) -> None:
    """Each grant has a profile; what one may do the other may not."""
    script = f"{PUT} && AWS_PROFILE=read-web {GET} && ! AWS_PROFILE=read-web sh -c '{PUT}'"
    done = job.run([*exec_with("deploy-web", "read-web"), "sh", "-c", script])
    assert succeeded(done).endswith("\nsite\n")
    assert b"AccessDenied" in done.stderr


def test_session_policy_holds(job: Job, aws: AwsWorld) -> None:
    """The role may do everything in the bucket; the step may do what its grant says."""
    done = job.run([*exec_with("deploy-web"), "sh", "-c", f"{PUT} && {GET}"])
    assert done.returncode != 0
    assert [call.error for call in aws.calls("PutObject")] == [""]
    assert {call.status for call in aws.calls() if call.action in {"GetObject", "HeadObject"}} == {
        403
    }


# ── how long it lasts ────────────────────────────────────────────────────────────────────────


def test_step_outlives_its_credential_twice(job: Job, aws: AwsWorld) -> None:
    """A step of 8 s with credentials of 3 s goes on working: they are renewed in time."""
    succeeded(job.run([*exec_with("deploy-soon"), *boto3_step(calls=16, pause=0.5)]))
    assert {call.status for call in aws.calls("PutObject")} == {200}
    assert len(aws.calls("AssumeRoleWithWebIdentity")) >= 3
    refreshed = [entry for entry in job.ledger() if entry["event"] == "refreshed"]
    assert len(refreshed) >= 2
    issued = next(entry for entry in job.ledger() if entry["event"] == "issued")
    assert {entry["handle"] for entry in refreshed} == {issued["handle"]}
    assert {entry["lease"] for entry in job.ledger()} == {issued["lease"]}


def test_credential_ends_when_the_grant_says(job: Job) -> None:
    """AWS gives 900 s at least; the session policy makes 3 s of them."""
    options = ("--delivery", "env")
    done = job.run([*exec_with("deploy-soon", options=options), *boto3_step(calls=2, pause=4.0)])
    assert done.returncode == 1
    assert b"AccessDenied" in done.stderr


def test_endpoint_ends_with_the_step(job: Job, tmp_path: Path) -> None:
    """What a step kept of the endpoint's address and bearer opens nothing afterwards."""
    kept = tmp_path / "kept"
    succeeded(job.run([*exec_with("deploy-web"), "sh", "-c", f"env >{kept}"]))
    environ = dict(line.partition("=")[::2] for line in kept.read_text().splitlines())
    done = subprocess.run(boto3_step(), env=environ, capture_output=True, check=False)
    assert done.returncode == 1
    assert not Path(environ["AWS_CONFIG_FILE"]).exists()


# ── who may ask ──────────────────────────────────────────────────────────────────────────────


def test_other_process_with_the_bearer_is_refused(job: Job, tmp_path: Path) -> None:
    """Another process of the same user, bearer in hand, gets a 403 and is on record."""
    kept, go = tmp_path / "kept", tmp_path / "go"
    os.mkfifo(go)
    script = f"env >{kept}.part; mv {kept}.part {kept}; cat {go}"
    running = job.start([*exec_with("deploy-web"), "sh", "-c", script])
    while not kept.exists():
        assert running.poll() is None
    environ = dict(line.partition("=")[::2] for line in kept.read_text().splitlines())
    thief = subprocess.run(boto3_step(), env=environ, capture_output=True, check=False)
    go.write_text("")
    _, said = running.communicate()
    assert thief.returncode == 1
    assert b"this process is not one of the step" in thief.stderr
    assert b"deploy-web: refused pid" in said
    refused = [entry for entry in job.ledger() if entry["event"] == "refused"]
    assert refused[0]["reason"] == "endpoint-peer"
    assert refused[0]["peer"].startswith("pid ")
    assert "accessed" not in job.events()


# ── what can be found of it ──────────────────────────────────────────────────────────────────

STRACE = shutil.which("strace")
CALLS = "execve,execveat,write,writev,pwrite64,openat,connect,sendto,sendmsg"


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_no_secret_in_any_exec_or_file(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """Every program start and every write of a whole step, watched: the keys go over loopback."""
    trace = tmp_path / "trace"
    watched = [str(STRACE), "-f", "-qq", "-z", "-v", "-s", "1000000", "-y", "-e", f"trace={CALLS}"]
    step = [*exec_with("deploy-soon", "read-web"), *boto3_step(calls=10, pause=0.5)]
    succeeded(job.run([*watched, "-e", "signal=none", "-o", str(trace), *step]))
    secrets = [*aws.issued(), job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]]
    assert len(secrets) >= 2 * 3 + 1  # the first key of two grants, and one that was renewed
    seen = trace.read_text().splitlines()
    assert any(secret in line for line in seen for secret in secrets)  # or the watching is blind
    for line in seen:
        if any(secret in line for secret in secrets):
            call = re.search(r"(\w+)\((\d+<[^>]*>)?", line)
            assert call
            is_mask = "::add-mask::" in line
            is_loopback = "<TCP:" in line or "<socket:" in line
            is_start = call[1] == "execve" and f'"{COMMAND[0]}", "-I", "-m", "ci_identity"' in line
            assert is_mask or is_loopback or is_start, line[:120]


# ── many at once ─────────────────────────────────────────────────────────────────────────────

ASK = """
import os, urllib.request
header = {"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
print(urllib.request.urlopen(urllib.request.Request(url, headers=header)).status)
"""


def test_sixty_four_processes_at_once(job: Job, aws: AwsWorld) -> None:
    """All are served, by one exchange, and each is on record."""
    script = f'for i in $(seq 64); do "{sys.executable}" -IS -c "$0" & done; wait'
    done = job.run([*exec_with("deploy-web"), "sh", "-c", script, ASK])
    assert succeeded(done).split("\n").count("200") == 64
    assert [call.action for call in aws.calls()] == ["AssumeRoleWithWebIdentity"]
    assert job.events().count("accessed") == 64
