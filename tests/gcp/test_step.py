"""A Google Cloud grant under `ci-identity exec`: real clients, and a Google that decides."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.aws import npm
from tests.gcp.google import ACCOUNT, BUCKET, PROVIDER
from tests.gcp.server import GcpWorld
from tests.step import COMMAND, Job

STORAGE = f"""
import sys, time
from google.cloud import storage
client = storage.Client()
for at in range(int(sys.argv[1])):
    client.bucket("{BUCKET}").blob(sys.argv[3]).upload_from_string(b"site")
    time.sleep(float(sys.argv[2]))
print(client.project)
"""
CURL = f"""
import os, sys, requests
token = os.environ["GOOGLE_OAUTH_ACCESS_TOKEN"]
print(requests.get(
    "https://storage.googleapis.com/download/storage/v1/b/{BUCKET}/o/shop%2Findex.html?alt=media",
    headers={{"Authorization": f"Bearer {{token}}"}}, timeout=9,
).status_code)
"""
JAVASCRIPT = f"""
import {{ GoogleAuth }} from "google-auth-library";
const auth = new GoogleAuth({{ scopes: ["https://www.googleapis.com/auth/cloud-platform"] }});
const client = await auth.getClient();
const url = "https://storage.googleapis.com/storage/v1/b/{BUCKET}/o/shop%2Findex.html?alt=media";
const answer = await client.request({{ url, responseType: "text" }});
console.log(answer.data, await auth.getProjectId());
"""
TERRAFORM = f"""
terraform {{
  backend "gcs" {{
    bucket = "{BUCKET}"
    prefix = "shop"
  }}
}}
"""
GOOGLE_AUTH_JS = ("google-auth-library@11.3.4",)
GCLOUD = shutil.which("gcloud")


def upload(times: int = 1, pause: float = 0.0, name: str = "shop/index.html") -> list[str]:
    return [sys.executable, "-c", STORAGE, str(times), str(pause), name]


def exec_with(*grants: str, options: tuple[str, ...] = ()) -> list[str]:
    named = [word for grant in grants for word in ("--grant", grant)]
    return [*COMMAND, "exec", *named, *options, "--"]


def succeeded(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith("::add-mask::"))


@pytest.fixture
def job(world: World, gcp: GcpWorld, tmp_path: Path) -> Job:
    """A job with grants for one service account, and one for the federated token itself."""
    gcp.trust(github_claims(world.issuer.address, None, {})["sub"])
    rule = (
        f"{{resource: //storage.googleapis.com/projects/_/buckets/{BUCKET},"
        " role: roles/storage.objectCreator,"
        f" condition: \"resource.name.startsWith('projects/_/buckets/{BUCKET}/objects/shop/')\"}}"
    )
    found = f"{{issuer: {json.dumps(world.issuer.address)}, repository: acme/shop}}"
    lines = ["version: 1", "grants:"]
    for name, ttl, more in (
        ("push", "15m", f"service_account: {ACCOUNT}"),
        ("push-soon", "3s", f"service_account: {ACCOUNT}"),
        ("push-shop", "15m", f"service_account: {ACCOUNT}, boundary: [{rule}]"),
        ("direct", "15m", "project: acme-direct"),
    ):
        target = f"{{provider: {PROVIDER}, {more}}}"
        lines += [f"  {name}:", f"    for: {found}", f"    ttl: {ttl}", f"    gcp: {target}"]
    (tmp_path / "grants.yml").write_text("\n".join(lines))
    made = Job.of(world, tmp_path / "state")
    made.environ.update(gcp.environ, CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"))
    return made


# ── real clients ─────────────────────────────────────────────────────────────────────────────


def test_the_storage_client(job: Job, gcp: GcpWorld) -> None:
    """Google's own library finds the token by itself; Google was asked for one, once."""
    assert succeeded(job.run([*exec_with("push"), *upload()])).split() == ["acme-shop"]
    assert gcp.google.objects == {"shop/index.html": b"site"}
    assert [len(gcp.of(host)) for host in ("sts", "iamcredentials", "cloudresourcemanager")] == [
        1, 1, 0
    ]  # fmt: skip
    assert job.events()[-1] == "expires"
    assert "accessed" in job.events()


def test_the_federated_token_itself(job: Job, gcp: GcpWorld) -> None:
    """Without a service account there is one call, and a warning of how long it lasts."""
    done = job.run([*exec_with("direct"), *upload()])
    assert succeeded(done).split() == ["acme-direct"]
    assert gcp.of("iamcredentials") == []
    assert b"without `service_account` a token ends with the job's own" in done.stderr


def test_a_step_that_outlives_its_token(job: Job, gcp: GcpWorld) -> None:
    """Tokens of 3 seconds, renewed: no request is refused, and each renewal is on record."""
    succeeded(job.run([*exec_with("push-soon"), *upload(8, 1.0)]))
    assert len(gcp.of("iamcredentials")) >= 3
    assert {call.status for call in gcp.of("storage")} == {200}
    assert job.events().count("refreshed") >= 2


def test_a_boundary_holds_for_the_step(job: Job, gcp: GcpWorld) -> None:
    """What the account may do elsewhere, the step may not."""
    succeeded(job.run([*exec_with("push-shop"), *upload()]))
    done = job.run([*exec_with("push-shop"), *upload(name="other/index.html")])
    assert done.returncode != 0
    assert list(gcp.google.objects) == ["shop/index.html"]


def test_two_grants_have_a_file_each(job: Job, gcp: GcpWorld) -> None:
    """The first is the default; the other's file is beside it."""
    script = (
        f'cd "$(dirname "$GOOGLE_APPLICATION_CREDENTIALS")" && ls gcp-*.json &&'
        f' GOOGLE_APPLICATION_CREDENTIALS="$PWD/gcp-direct.json" {sys.executable} -c "$0" 1 0 a/b'
    )
    done = job.run([*exec_with("push", "direct"), "sh", "-c", script, STORAGE])
    assert succeeded(done).split() == ["gcp-direct.json", "gcp-push.json", "acme-shop"]
    by = {gcp.google.tokens[_bearer(call.headers)].principal for call in gcp.of("storage")}
    assert len(by) == 1
    assert ACCOUNT not in by


def test_the_token_itself_in_variables(job: Job, gcp: GcpWorld) -> None:
    """For clients that know no credential file."""
    gcp.google.objects["shop/index.html"] = b"site"
    done = job.run([*exec_with("push", options=("--delivery", "env")), sys.executable, "-c", CURL])
    assert succeeded(done).strip() == "200"


def test_the_library_for_javascript(job: Job, gcp: GcpWorld, tmp_path: Path) -> None:
    """It reads the same file, and asks the same endpoint."""
    gcp.google.objects["shop/index.html"] = b"site"
    command = npm.module(JAVASCRIPT, GOOGLE_AUTH_JS, tmp_path)
    job.environ["NODE_EXTRA_CA_CERTS"] = str(gcp.ca_file)
    assert succeeded(job.run([*exec_with("push"), *command])).split() == ["site", "acme-shop"]
    assert [len(gcp.of(host)) for host in ("sts", "iamcredentials")] == [1, 1]


def test_terraform(job: Job, gcp: GcpWorld, tmp_path: Path) -> None:
    """So does Terraform, whose backend signs in with the library for Go."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed")
    (tmp_path / "main.tf").write_text(TERRAFORM)
    job.environ["SSL_CERT_FILE"] = str(gcp.ca_file)
    command = [program, f"-chdir={tmp_path}", "init", "-input=false"]
    succeeded(job.run([*exec_with("push"), *command]))
    assert gcp.google.tokens[_bearer(gcp.of("storage")[0].headers)].principal == ACCOUNT
    assert [len(gcp.of(host)) for host in ("sts", "iamcredentials")] == [1, 1]


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed")
def test_gcloud(job: Job, gcp: GcpWorld) -> None:
    """gcloud takes the same file, and writes the lease into the audit log beside each request."""
    gcp.google.objects["shop/index.html"] = b"<html>site</html>"
    place = f"gs://{BUCKET}/shop/index.html"
    describe = [str(GCLOUD), "storage", "objects", "describe", place, "--format=value(size)"]
    done = job.run(
        [*exec_with("push"), *describe],
        extra={"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(gcp.ca_file)},
    )
    assert succeeded(done).strip() == "17"
    lease = next(entry["lease"] for entry in job.ledger())
    asked = gcp.of("storage")
    assert {call.headers["X-Goog-Request-Reason"] for call in asked} == {
        f"ci-identity lease {lease}"
    }
    assert [len(gcp.of(host)) for host in ("sts", "iamcredentials")] == [1, 1]


# ── what is not there ────────────────────────────────────────────────────────────────────────


def test_no_token_of_the_job_reaches_the_step(job: Job, gcp: GcpWorld) -> None:
    """Neither the job's own, nor what mints it, nor Google's is in a variable or a file."""
    script = (
        'env; for file in "$(dirname "$GOOGLE_APPLICATION_CREDENTIALS")"/*.json;'
        ' do stat -c %a "$file"; cat "$file"; done'
    )
    said = succeeded(job.run([*exec_with("push"), "sh", "-c", script]))
    minting = job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    subject_tokens = [call.form["subject_token"] for call in gcp.of("sts")]
    for secret in (minting, *subject_tokens, *gcp.google.tokens):
        assert secret not in said
    assert "ACTIONS_ID_TOKEN" not in said
    assert "600" in said.split()


def test_the_file_is_gone_afterwards(job: Job) -> None:
    """With the folder that it was in."""
    done = job.run([*exec_with("push"), "sh", "-c", 'echo "$GOOGLE_APPLICATION_CREDENTIALS"'])
    path = Path(succeeded(done).strip())
    assert path.name == "gcp-push.json"
    assert not path.parent.exists()


def test_another_process_is_refused(job: Job, gcp: GcpWorld, tmp_path: Path) -> None:
    """One that has read the file while the step ran gets neither a nonce nor a token."""
    copy = tmp_path / "copy.json"
    script = (
        f'cp "$GOOGLE_APPLICATION_CREDENTIALS" {copy}.part && mv {copy}.part {copy};'
        f" until [ -e {tmp_path}/done ]; do sleep 0.05; done"
    )
    step = job.start([*exec_with("push"), "sh", "-c", script])
    try:
        while not copy.exists():
            assert step.poll() is None
        thief = subprocess.run(
            upload(),
            env={
                "PATH": os.environ["PATH"],
                "GOOGLE_APPLICATION_CREDENTIALS": str(copy),
                "GOOGLE_CLOUD_PROJECT": "x",
                **gcp.environ,
                "NO_PROXY": "127.0.0.1",
            },
            capture_output=True,
            check=False,
        )
    finally:
        (tmp_path / "done").touch()
        _, said = step.communicate()
    assert thief.returncode != 0
    assert gcp.of("storage") == []
    assert re.search(rb"refused pid \d+ .*: this process is not one of the step", said)
    assert "refused" in job.events()


def _bearer(headers: object) -> str:
    found = dict(headers)  # type: ignore[call-overload]
    return str({name.lower(): value for name, value in found.items()}["authorization"]).split()[1]
