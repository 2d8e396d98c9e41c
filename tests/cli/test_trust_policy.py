"""--trust-policy: which condition of a role's trust policy is not true of this job."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ci_identity.sandbox.world import World
from tests.aws.world import AwsWorld
from tests.step import COMMAND, Job

ACCOUNT = "123456789012"
GRANTS = """\
version: 1
grants:
  deploy-web:
    for: {{issuer: {issuer}, repository_id: 42}}
    aws: {{role: {role}, region: eu-west-1}}
"""
SUBJECT = "repo:acme@7/shop@42:ref:refs/heads/main"
LEGACY = "repo:acme/shop:ref:refs/heads/main"


@pytest.fixture
def provider(world: World) -> str:
    """The issuer's name in ARNs and condition keys."""
    return world.issuer.address.partition("://")[2]


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    job = Job.of(world, tmp_path / "state", claims={"sub": SUBJECT})
    grants = tmp_path / "grants.yml"
    role = f"arn:aws:iam::{ACCOUNT}:role/deploy-web"
    grants.write_text(GRANTS.format(issuer=world.issuer.address, role=role))
    job.environ["CI_IDENTITY_GRANTS"] = str(grants)
    return job


def trust(provider: str, subject: str, **condition: Any) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "GitHub",
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{provider}:sub": subject}} | condition,
        },
    }


def explain(job: Job, document: object, *words: str) -> tuple[int, str]:
    done = job.run(
        [*COMMAND, "explain", "deploy-web", "--trust-policy", "-", *words],
        stdin=json.dumps(document).encode(),
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


# ── explain ──────────────────────────────────────────────────────────────────────────────────


def test_explain_of_a_policy_that_lets_the_job_in(job: Job, provider: str) -> None:
    """The grant's own answer comes first, then each condition of the policy; the code is 0."""
    code, shown = explain(job, trust(provider, SUBJECT))
    assert code == 0
    assert shown.startswith("deploy-web: given to this job")
    assert "role/deploy-web: its trust policy lets this job in\n" in shown
    assert "  statement 1 (GitHub), Allow: applies\n" in shown
    assert re.search(rf"(?m)^ +yes +StringEquals {provider}:sub\n +value +{SUBJECT}$", shown)
    assert "\x1b" not in shown


def test_explain_of_a_policy_that_refuses(job: Job, provider: str) -> None:
    """The condition that fails has what was wanted and got, why, and what to write; 5."""
    code, shown = explain(job, trust(provider, LEGACY))
    assert code == 5
    assert "its trust policy refuses this job\n" in shown
    assert re.search(rf"(?m)^ +NO +StringEquals {provider}:sub$", shown)
    assert re.search(rf"(?m)^ +wanted +{LEGACY}$", shown)
    assert re.search(rf"(?m)^ +got +{SUBJECT}$", shown)
    assert re.search(r"(?m)^ +likely +.*immutable", shown)
    line = f'"StringEquals": {json.dumps({f"{provider}:sub": SUBJECT})}'
    assert re.search(rf"(?m)^ +write +{re.escape(line)}$", shown)


def test_what_cannot_be_told_is_no_pass(job: Job, provider: str) -> None:
    """What only AWS can know is marked as such, and is 5 as well."""
    condition = {"aws:SourceIp": "192.0.2.0/24"}
    code, shown = explain(job, trust(provider, SUBJECT, IpAddress=condition))
    assert code == 5
    assert "may refuse this job, it cannot be told here" in shown
    assert re.search(r"(?m)^ +\? +IpAddress aws:SourceIp$", shown)


def test_explain_in_colour(job: Job, provider: str) -> None:
    """On a terminal that takes it, the marks have colours."""
    job.environ["FORCE_COLOR"] = "1"
    shown = explain(job, trust(provider, LEGACY))[1]
    assert "\x1b[31mNO \x1b[0m" in shown
    assert "\x1b[32myes\x1b[0m" in shown


def test_explain_as_json(job: Job, provider: str) -> None:
    """The JSON has the verdict as `trust`, beside what explain says of the grant."""
    code, shown = explain(
        job, {"Role": {"AssumeRolePolicyDocument": trust(provider, LEGACY)}}, "--json"
    )
    said = json.loads(shown)
    assert (code, said["allowed"]) == (5, True)
    assert said["trust"]["result"] == "fail"
    (statement,) = said["trust"]["statements"]
    assert [one["result"] for one in statement["checks"]] == ["pass", "pass", "fail"]


def test_nobody_is_commanded(world: World, job: Job, provider: str) -> None:
    """Neither a token nor a policy can move the cursor or speak to the runner."""
    evil = "::warning::x\x1b[2J\n::set-env::y ##[error]"
    job.environ.update(world.issuer.github_environ(sub="::warning::x ##[error]"))
    document = trust(provider, evil, StringLike={f"{evil}:sub": evil})
    document["Statement"] |= {"Sid": evil, "Principal": {evil: evil}}
    shown = explain(job, document)[1]
    assert "##\\u005berror]" in shown
    assert "\x1b" not in shown
    assert "##[" not in shown
    assert not re.search(r"(?m)^\s*::", shown)


def test_a_grant_that_is_denied_is_4(world: World, job: Job, provider: str) -> None:
    """A grant that is not for the job is 4, whatever the trust policy says."""
    job.environ.update(world.issuer.github_environ(repository_id="666", sub=SUBJECT))
    code, shown = explain(job, trust(provider, SUBJECT))
    assert code == 4
    assert "lets this job in" in shown


def test_a_file_that_is_no_trust_policy(job: Job, tmp_path: Path) -> None:
    """It is 2, and the message says what is wrong with it; the job is not asked for a token."""
    for content, words in ((b"{}", b"it has no Statement"), (b"\xff", b"it is not text")):
        file = tmp_path / "trust.json"
        file.write_bytes(content)
        done = job.run([*COMMAND, "explain", "deploy-web", "--trust-policy", str(file)])
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"error[trust-policy]: ")
        assert words in done.stderr
    done = job.run([*COMMAND, "explain", "deploy-web", "--trust-policy", str(tmp_path / "none")])
    assert b"No such file" in done.stderr


def test_only_a_grant_of_aws_has_one(world: World, tmp_path: Path) -> None:
    """For a grant of Vault the option is a slip."""
    job = Job.of(world, tmp_path)
    done = job.run([*COMMAND, "explain", "migrate-db", "--trust-policy", "-"])
    assert done.returncode == 2
    assert b"--trust-policy is for grants of AWS; migrate-db is none" in done.stderr


# ── exec ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def refused(aws: AwsWorld, job: Job, provider: str) -> Job:
    """A job that AWS refuses, since the role is for the legacy subject."""
    aws.role("deploy-web", trust=trust(provider, LEGACY))
    job.environ.update(aws.environ)
    return job


def execute(job: Job, *words: str) -> str:
    done = job.run([*COMMAND, "exec", "--grant", "deploy-web", *words, "--", "true"])
    assert done.returncode == 125
    return done.stderr.decode()


def test_exec_says_which_condition_fails(refused: Job, provider: str, tmp_path: Path) -> None:
    """After AWS's refusal comes what the file says of it."""
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(trust(provider, LEGACY)))
    shown = execute(refused, "--trust-policy", str(file))
    error, _, note = shown.partition("  note: ")
    assert "error[aws-denied]: " in error
    assert "its trust policy refuses this job\n" in note
    assert re.search(rf"(?m)^ +NO +StringEquals {provider}:sub$", note)
    assert f'write   "StringEquals": {json.dumps({f"{provider}:sub": SUBJECT})}' in note


def test_exec_asks_aws_where_the_job_has_keys(aws: AwsWorld, refused: Job, provider: str) -> None:
    """Without a file, the policy is read with keys that the job has, if it has any."""
    assert "--trust-policy FILE" in execute(refused)
    keys = aws.client("iam").create_access_key(UserName=_reader(aws))["AccessKey"]
    refused.environ["AWS_ACCESS_KEY_ID"] = keys["AccessKeyId"]
    refused.environ["AWS_SECRET_ACCESS_KEY"] = keys["SecretAccessKey"]
    assert re.search(rf"(?m)^ +NO +StringEquals {provider}:sub$", execute(refused))


def _reader(aws: AwsWorld) -> str:
    iam = aws.client("iam")
    iam.create_user(UserName="reader")
    allow = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
    return "reader"


def test_exec_reads_the_file_before_it_asks_anybody(
    aws: AwsWorld, refused: Job, tmp_path: Path
) -> None:
    """A file that is no policy is an error at once; stdin is the command's."""
    file = tmp_path / "trust.json"
    file.write_text("{}")
    assert execute(refused, "--trust-policy", str(file)).startswith("error[trust-policy]: ")
    assert execute(refused, "--trust-policy", "-").startswith("error[usage]: ")
    assert aws.calls() == []
    assert refused.ledger() == []
