"""`ci-identity reap`: the sessions of other jobs are cut by an identity of its own."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import ci_identity
from ci_identity.grants.lint import lint
from ci_identity.grants.load import parse
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.verify import read, verify
from ci_identity.ledger.writer import Ledger
from ci_identity.model import AwsKeys
from ci_identity.sandbox.world import World
from tests.aws.policies import allow
from tests.aws.world import AwsWorld, Keys
from tests.docs.pages import blocks, page
from tests.step import COMMAND, Job

GRANTS = """\
version: 1
grants:
  deploy: {{for: {whose}, aws: {{role: '{deploy}', region: eu-west-1}}}}
  cut: {{for: {whose}, aws: {{role: '{cut}', region: eu-west-1}}}}
  gcp:
    for: {whose}
    gcp: {{provider: projects/1/locations/global/workloadIdentityPools/ci/providers/github}}
"""
Reap = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def job(world: World, aws: AwsWorld, tmp_path: Path) -> Job:
    """The job that reaps; its grants are those of the jobs that are reaped as well."""
    aws.bucket("shop-web")
    right = ["iam:ListRolePolicies", "iam:PutRolePolicy", "iam:DeleteRolePolicy"]
    roles = f"arn:aws:iam::{aws.account}:role/deploy*"
    grants = tmp_path / "grants.yml"
    grants.write_text(
        GRANTS.format(
            whose=f"{{issuer: {world.issuer.address}, repository_id: 42}}",
            deploy=aws.role("deploy"),
            cut=aws.role("cut", policy=allow(*right, on=roles)),
        )
    )
    job = Job.of(world, tmp_path / "reaper")
    job.environ.update(aws.environ, CI_IDENTITY_GRANTS=str(grants))
    return job


def step(job: Job, ledger: Path) -> Keys:
    """Open a session in a job with this ledger, end it, and return the keys that were stolen."""
    state = {"CI_IDENTITY_LEDGER": str(ledger), "CI_IDENTITY_STATE_DIR": str(ledger.parent / "s")}
    with ci_identity.session("deploy", environ=job.environ | state) as session:
        keys = session.aws_keys()
    return _keys(keys)


def _keys(keys: AwsKeys) -> Keys:
    return Keys(
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key.reveal(),
        session_token=keys.session_token.reveal(),
    )


def can_write(aws: AwsWorld, keys: Keys) -> bool:
    try:
        aws.client("s3", keys).put_object(Bucket="shop-web", Key="x", Body=b"")
    except ClientError as error:
        return error.response["Error"]["Code"] != "AccessDenied"
    return True


def reap(job: Job, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = job.run([*COMMAND, "reap", "--deny", "--grant", "cut", *map(str, words)])
    assert done.returncode == code, done.stderr.decode()
    masks = rb"(?m)^::add-mask::.*\n"  # our stdout is the step's log, which GitHub's runner reads
    done.stdout, done.stderr = (re.sub(masks, b"", text) for text in (done.stdout, done.stderr))
    return done


def reap_json(job: Job, *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    return list(json.loads(reap(job, *words, "--json", code=code).stdout))


def said(ledger: Path, event: Event, lease: str, **about: Any) -> None:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "grant": "deploy",
        "target": "arn:aws:iam::123456789012:role/deploy",
        "expires_at": now + timedelta(minutes=15),
    }
    Ledger(ledger).append(Entry(event=event, lease=lease, **(fields | about)))


def cuts(aws: AwsWorld, role: str = "deploy") -> list[str]:
    names = aws.client("iam").list_role_policies(RoleName=role)["PolicyNames"]
    return [name for name in names if name.startswith("ci-identity-cut-")]


# ── what it does ─────────────────────────────────────────────────────────────────────────────


def test_the_sessions_of_a_ledger_are_cut_and_no_other(
    job: Job, aws: AwsWorld, tmp_path: Path
) -> None:
    """Stolen keys of a step that is over stop working; those of another job go on."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    stolen, other = step(job, ledger), step(job, tmp_path / "other" / "ledger.jsonl")
    assert can_write(aws, stolen)
    done = reap(job, ledger.parent)
    assert not can_write(aws, stolen)
    assert can_write(aws, other)
    lease = str(next(read(ledger))["lease"])
    assert re.search(rf"(?m)^{lease}  deploy  deploy  \S+\+00:00  cut$", done.stdout.decode())
    assert b"a cut may take a few minutes" in done.stdout
    verify(ledger)
    assert [entry["event"] for entry in read(ledger)][-2:] == ["expires", "cut"]


def test_a_second_run_leaves_it_at_that(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """IAM lists the denial: nothing more is put on the role, and nothing more recorded."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    step(job, ledger)
    reap(job, ledger)
    (policy,), before = cuts(aws), ledger.read_bytes()
    done = reap(job, ledger)
    assert done.stdout.decode().endswith("  cut   it had ended already\n")
    assert cuts(aws) == [policy]
    assert ledger.read_bytes() == before


def test_a_ledger_that_was_kept_twice_is_cut_once(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """Two copies tell of one lease: each is told, and one denial is put."""
    ledger = tmp_path / "jobs" / "ledger.jsonl"
    step(job, ledger)
    (tmp_path / "jobs" / "copy.jsonl").write_bytes(ledger.read_bytes())
    rows = reap_json(job, tmp_path / "jobs")
    assert [(row["done"], row["why"]) for row in rows] == [
        ("cut", ""),
        ("cut", "it had ended already"),
    ]
    assert len(cuts(aws)) == 1


@pytest.mark.parametrize("which", ["default", "all", "lease"])
def test_a_ledger_that_says_cut_saves_no_session(
    job: Job, aws: AwsWorld, tmp_path: Path, which: str
) -> None:
    """The job wrote that line itself, in a chain that holds; no such policy is on the role."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    stolen = step(job, ledger)
    lease = str(next(read(ledger))["lease"])
    said(ledger, Event.CUT, lease, expires_at=datetime.now(UTC) + timedelta(hours=12))
    words = {"default": [], "all": ["--all"], "lease": ["--lease", lease]}[which]
    (row,) = reap_json(job, *words, ledger)
    assert (row["done"], row["why"]) == ("cut", "")
    assert not can_write(aws, stolen)


def test_the_reaper_has_a_ledger_of_its_own(job: Job, tmp_path: Path) -> None:
    """Its own session is on record like any other."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    step(job, ledger)
    reap(job, ledger)
    assert {entry["grant"] for entry in job.ledger()} == {"cut"}
    assert job.events()[0] == "requested"
    assert job.events()[-1] == "expires"


def test_a_dry_run_asks_nobody(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """It says what would be cut, and sends nothing anywhere."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    step(job, ledger)
    before = len(aws.calls())
    (row,) = reap_json(job, "--dry-run", ledger)
    assert row["done"] == "would be cut"
    assert row["why"] == "unless it has ended already, which its provider was not asked"
    assert row["target"] == "arn:aws:iam::123456789012:role/deploy"
    assert row["handles"][0].startswith("session:AROA")
    assert len(aws.calls()) == before
    assert job.ledger() == []


def test_nothing_alive_is_no_failure_and_asks_nobody(
    job: Job, aws: AwsWorld, tmp_path: Path
) -> None:
    """An old ledger: what was in it is over."""
    ledger = tmp_path / "ledger.jsonl"
    said(ledger, Event.EXPIRES, "0" * 16, expires_at=datetime.now(UTC) - timedelta(days=1))
    before = len(aws.calls())
    assert reap(job, ledger).stdout.startswith(b"nothing is alive")
    assert reap_json(job, ledger) == []
    assert len(aws.calls()) == before


def test_old_cuts_are_removed_on_the_way(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """From the roles that the ledgers tell a cut of, though nothing is to be cut."""
    past = datetime.now(UTC) - timedelta(days=1)
    name = f"ci-identity-cut-{past:%Y%m%dT%H%M%SZ}-{'0' * 16}-{'0' * 16}"
    document = json.dumps(allow("s3:GetObject"))
    aws.client("iam").put_role_policy(RoleName="deploy", PolicyName=name, PolicyDocument=document)
    ledger = tmp_path / "ledger.jsonl"
    said(ledger, Event.CUT, "0" * 16, expires_at=past)
    assert name in reap(job, ledger).stderr.decode()
    assert cuts(aws) == []


# ── which ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "done"),
    [
        ((), {"a" * 16: "cut", "b" * 16: "left"}),
        (("--all",), {"a" * 16: "cut", "b" * 16: "cut"}),
        (("--lease", "b" * 16), {"b" * 16: "cut"}),
        (("--lease", "b" * 16, "--lease", "a" * 16), {"a" * 16: "cut", "b" * 16: "cut"}),
    ],
)
def test_which_sessions_are_cut(
    job: Job, tmp_path: Path, words: tuple[str, ...], done: dict[str, str]
) -> None:
    """Steps that are over; all; or those that are named."""
    ledger = tmp_path / "ledger.jsonl"
    said(ledger, Event.EXPIRES, "a" * 16)
    said(ledger, Event.REQUESTED, "b" * 16)
    assert {row["lease"]: row["done"] for row in reap_json(job, *words, ledger)} == done


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reap", "--grant", "cut", "x"], "say --deny"),
        (["reap", "--deny", "--grant", "cut"], "say which: LEDGER"),
        (["reap", "--deny", "x"], "say which: --grant"),
        (["reap", "--deny", "--grant", "cut", "--all", "--lease", "a", "x"], "not allowed with"),
        (
            ["reap", "--deny", "--grant", "gcp", "x"],
            "the grant gcp is for a provider where nothing can be ended",
        ),
        (["reap", "--deny", "--grant", "cuts", "x"], "cuts"),
        (["reap", "--deny", "--grant", "cut", "--lease", "a" * 16, "x"], "a" * 16),
    ],
)
def test_what_cannot_be_asked(job: Job, words: list[str], message: str) -> None:
    """Each slip is 2, and named; `x` is no ledger, and that is said as well."""
    done = job.run([*COMMAND, *words])
    assert done.returncode == 2
    assert message in done.stderr.decode()


# ── what it could not do ─────────────────────────────────────────────────────────────────────


def test_what_is_not_cut_is_listed_and_is_9(job: Job, aws: AwsWorld, tmp_path: Path) -> None:
    """A role that the cutter has no right to, one of another account; the third is cut."""
    ledger = tmp_path / "ledger.jsonl"
    aws.role("admin")
    said(ledger, Event.EXPIRES, "a" * 16, target="arn:aws:iam::123456789012:role/admin")
    said(ledger, Event.EXPIRES, "b" * 16, target="arn:aws:iam::210987654321:role/deploy")
    said(ledger, Event.EXPIRES, "c" * 16)
    done = reap(job, "--json", ledger, code=9)
    rows = {row["lease"]: row["done"] for row in json.loads(done.stdout)}
    assert rows == {"a" * 16: "failed", "b" * 16: "failed", "c" * 16: "cut"}
    error = done.stderr.decode()
    assert "error[not-cut]: leases that are not ended: 2: " + "a" * 16 in error
    assert "b" * 16 in error
    assert "c" * 16 not in error.partition("error[")[2]
    assert [entry["lease"] for entry in read(ledger) if entry["event"] == "cut"] == ["c" * 16]


def test_its_own_sessions_are_left_unless_named(job: Job, tmp_path: Path) -> None:
    """A ledger of an earlier run of the reaper is nothing to fail for."""
    ledger = tmp_path / "ledger.jsonl"
    said(ledger, Event.EXPIRES, "a" * 16, target="arn:aws:iam::123456789012:role/cut")
    assert [row["done"] for row in reap_json(job, ledger)] == ["left"]
    assert b"cannot be ended" in reap(job, "--lease", "a" * 16, ledger, code=2).stderr


def test_a_broken_ledger_is_8_but_its_sessions_are_cut(
    job: Job, aws: AwsWorld, tmp_path: Path
) -> None:
    """Whoever broke it to save a session has not; the run is red, and the file is kept."""
    ledger = tmp_path / "job" / "ledger.jsonl"
    stolen = step(job, ledger)
    with ledger.open("ab") as file:
        file.write(b"gone\n")
    before = ledger.read_bytes()
    assert b"would be cut" in reap(job, "--dry-run", ledger, code=8).stdout
    done = reap(job, ledger, code=8)
    assert not can_write(aws, stolen)
    assert b"error[ledger-tampered]: " in done.stderr
    assert ledger.read_bytes() == before
    assert job.events()[-2:] == ["cut", "expires"]


def test_nothing_of_a_session_is_shown(job: Job, tmp_path: Path) -> None:
    """No key of the job's, none of the reaper's; and nothing a stranger wrote moves the cursor."""
    ledger = tmp_path / "ledger.jsonl"
    stolen = step(job, ledger)
    said(ledger, Event.EXPIRES, "a" * 16, grant="x\x1b[2J\n::add-mask::y")
    done = reap(job, ledger)
    shown = done.stdout + done.stderr
    assert stolen.secret_access_key.encode() not in shown
    assert (stolen.session_token or "").encode() not in shown
    assert b"\x1b" not in shown
    assert not re.search(rb"(?m)^\s*::", shown)


DUMPABLE = """
import ctypes, sys
from ci_identity.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.parametrize("command", ["reap", "revoke"])
def test_other_processes_cannot_read_its_memory(job: Job, command: str) -> None:
    """It holds a credential that is stronger than a step's, or the token to get one."""
    done = job.run([sys.executable, "-I", "-c", DUMPABLE, command, "--help"])
    assert done.stdout.endswith(b"\ndumpable 0\n")


# ── what the page says ───────────────────────────────────────────────────────────────────────

PAGE = page("how-to/reap.md")
GITHUB = "token.actions.githubusercontent.com"
TRUST, RIGHTS = blocks(PAGE, "json")


def reaper_of_the_page(aws: AwsWorld, world: World) -> str:
    """Make the role of the page; the simulator knows no boundary, so that condition goes."""
    host = world.issuer.address.partition("://")[2]
    rights = json.loads(RIGHTS)
    assert "iam:PermissionsBoundary" in rights["Statement"][1].pop("Condition")["StringEquals"]
    trust = json.loads(TRUST.replace(GITHUB, host))
    return aws.role("session-cutter", trust=trust, policy=rights)


@pytest.mark.parametrize(
    ("claims", "is_let_in"),
    [
        ({}, True),
        ({"job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main"}, False),
        ({"job_workflow_ref": "acme/shop/.github/workflows/reap.yml@refs/heads/mine"}, False),
        ({"sub": "repo:acme/shop:ref:refs/heads/mine"}, False),
    ],
)
def test_the_trust_policy_of_the_page_lets_one_workflow_in(
    aws: AwsWorld, world: World, *, claims: dict[str, str], is_let_in: bool
) -> None:
    """On one branch; no other job of the repository."""
    right: dict[str, Any] = {
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "job_workflow_ref": "acme/shop/.github/workflows/reap.yml@refs/heads/main",
    }
    role = reaper_of_the_page(aws, world)
    token = world.issuer.github_token("sts.amazonaws.com", **(right | claims))
    if is_let_in:
        aws.assume(role, token)
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            aws.assume(role, token)


def test_the_rights_of_the_page_are_enough_and_no_more(
    aws: AwsWorld, world: World, job: Job, tmp_path: Path
) -> None:
    """A cut is put and an old one removed on `ci-` roles; no other role, and no other call."""
    role = reaper_of_the_page(aws, world)
    aws.client("iam").update_assume_role_policy(
        RoleName="session-cutter", PolicyDocument=json.dumps(aws.trust())
    )
    aws.role("ci-deploy")
    past = datetime.now(UTC) - timedelta(days=1)
    old = f"ci-identity-cut-{past:%Y%m%dT%H%M%SZ}-{'0' * 16}-{'0' * 16}"
    aws.client("iam").put_role_policy(
        RoleName="ci-deploy", PolicyName=old, PolicyDocument=json.dumps(allow("s3:GetObject"))
    )
    grants = Path(job.environ["CI_IDENTITY_GRANTS"])
    grants.write_text(grants.read_text().replace("role/cut", "role/session-cutter"))
    ledger = tmp_path / "ledger.jsonl"
    said(ledger, Event.EXPIRES, "a" * 16, target="arn:aws:iam::123456789012:role/ci-deploy")
    said(ledger, Event.EXPIRES, "b" * 16)
    rows = {row["lease"]: row["done"] for row in reap_json(job, ledger, code=9)}
    assert rows == {"a" * 16: "cut", "b" * 16: "failed"}
    assert [name.split("-")[-2] for name in cuts(aws, "ci-deploy")] == ["a" * 16]
    token = world.issuer.github_token("sts.amazonaws.com")
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("iam", aws.assume(role, token)).get_role(RoleName="ci-deploy")


def test_the_grant_of_the_page_has_no_findings() -> None:
    """It is pinned by its workflow, and shares its role with no other."""
    (grants,) = (block for block in blocks(PAGE, "yaml") if block.startswith("version: 1"))
    assert lint(parse(grants, "grants.yml")) == ()
