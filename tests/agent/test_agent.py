"""The agent in a whole job: real clients in the steps, a real OpenBao, an AWS that decides."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.agent.conftest import BUCKET
from tests.agent.job import GitHubJob, Said, wait_for_end
from tests.aws.policies import allow
from tests.aws.world import AwsWorld
from tests.exchangers.front import Front
from tests.killing import may_revoke
from tests.step import COMMAND, Job, Watch

BOTO3 = f"""
import boto3, sys
session = boto3.Session()
print("region", session.region_name)
session.client("s3").put_object(Bucket="{BUCKET}", Key="index.html", Body=b"site")
"""
WRITE = (sys.executable, "-c", BOTO3)
ASK = """
curl -sS --max-time 10 -H "Authorization: $(cat "$CI_IDENTITY_AGENT/bearer")" \
  "$(cat "$CI_IDENTITY_AGENT/address")/grant/migrate-db"
"""
"""Shows the bearer, and asks for the variables of the grant."""


def started(said: Said) -> Said:
    assert said.code == 0, said.log
    return said


def ledger(job: GitHubJob) -> list[dict[str, str]]:
    path = Path(job.environ["CI_IDENTITY_STATE_DIR"]) / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusals(job: GitHubJob) -> list[str]:
    return [entry["peer"] for entry in ledger(job) if entry["event"] == "refused"]


# ── what a step is served ────────────────────────────────────────────────────────────────────


def test_the_named_step_works_with_aws(aws_job: GitHubJob, aws: AwsWorld) -> None:
    """boto3 in the step finds keys and region by itself, and no variable holds a secret."""
    started(aws_job.start_agent("deploy-web"))
    assert "region eu-west-1" in started(aws_job.run("deploy", *WRITE)).stdout
    assert [call.status for call in aws.calls("PutObject")] == [200]
    assert set(aws_job.told("GITHUB_ENV")) == {
        "CI_IDENTITY_AGENT",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }


def test_a_profile_for_each_grant(aws_job: GitHubJob, aws: AwsWorld) -> None:
    """`AWS_PROFILE` chooses one of several grants: the second may not do what the first may."""
    started(aws_job.start_agent("deploy-web", "read-web"))
    started(aws_job.run("deploy", *WRITE, AWS_PROFILE="deploy-web"))
    assert "AccessDenied" in aws_job.run("deploy", *WRITE, AWS_PROFILE="read-web").stderr
    assert [call.status for call in aws.calls("PutObject")] == [200, 403]


def test_exec_takes_the_grant_from_the_agent(job: GitHubJob, world: World) -> None:
    """`exec` has one login less to make: the agent's variables are the child's, and redacted."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    job.environ["CI_IDENTITY_GRANTS"] = "/nowhere"  # it is not even looked for
    script = "test $DB_USER = shop && echo $DB_PASSWORD && ! env | grep CI_IDENTITY_AGENT="
    said = started(
        job.sh("deploy", f"{' '.join(COMMAND)} exec --grant migrate-db -- sh -c '{script}'")
    )
    assert said.stdout.strip() == "[MASKED]"
    assert "migrate-db: steered by CI_IDENTITY_AGENT" in said.stderr
    assert (
        "held by the job's agent until the job ends: DB_USER (public), DB_PASSWORD" in said.stderr
    )
    assert watch.logins == 1


def test_exec_as_the_shell_of_the_step(job: GitHubJob, world: World) -> None:
    """As the step's top process `exec` hides its memory; its step is known all the same."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    argv = (*COMMAND, "exec", "--grant", "migrate-db", "--", "sh", "-c", 'test -n "$LICENCE"')
    started(job.run("deploy", *argv))
    assert watch.logins == 1


def test_exec_of_another_step_has_a_session_of_its_own(job: GitHubJob, world: World) -> None:
    """The grants file is for that step too; what the agent holds is not."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    said = started(job.run("build", *COMMAND, "exec", "--grant", "migrate-db", "--", "true"))
    assert "revoked; the server confirmed it" in said.stderr
    assert watch.logins == 2


def test_exec_with_a_ttl_has_a_session_of_its_own(job: GitHubJob, world: World) -> None:
    """The agent's credential has the life that it has."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    started(
        job.run("deploy", *COMMAND, "exec", "--grant", "migrate-db", "--ttl", "1m", "--", "true")
    )
    assert watch.logins == 2


def test_exec_uses_an_aws_grant_of_the_agent(aws_job: GitHubJob, aws: AwsWorld) -> None:
    """The child is led to the agent, with a bearer of its own to show."""
    started(aws_job.start_agent("deploy-web"))
    started(aws_job.run("deploy", *COMMAND, "exec", "--grant", "deploy-web", "--", *WRITE))
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1
    assert len(aws.calls("PutObject")) == 1


def test_what_is_served_is_renewed(aws_job: GitHubJob, aws: AwsWorld) -> None:
    """A step that comes when the first credential is over is served another one."""
    started(aws_job.start_agent("deploy-soon"))
    while len(aws.calls("AssumeRoleWithWebIdentity")) < 4:
        time.sleep(0.1)
    started(aws_job.run("deploy", *WRITE))
    assert [call.status for call in aws.calls("PutObject")] == [200]


def test_an_inline_grant(job: GitHubJob, world: World) -> None:
    """The action's inputs are enough: the grant is for this very job, by one token of it."""
    watch = Watch(world.openbao)
    started(job.run("creds", *job.acting, **inline(world)))
    said = job.sh("deploy", ASK.replace("migrate-db", "vault")).stdout
    assert json.loads(said)["variables"]["PASSWORD"] == {
        "value": world.secrets["password"].reveal(),
        "public": False,
    }
    assert "endpoint-peer" in job.sh("build", ASK.replace("migrate-db", "vault")).stdout
    started(job.stop_agent())
    watch.assert_revoked()


def inline(world: World) -> dict[str, str]:
    return {
        "INPUT_STEPS": "deploy",
        "INPUT_GRANTS": "",
        "INPUT_VAULT-ADDRESS": world.openbao.address,
        "INPUT_VAULT-ROLE": "shop-migrate",
        "INPUT_VAULT-SECRETS": "PASSWORD: secret/data/shop#password",
        "INPUT_TTL": "10m",
    }


def test_an_inline_aws_grant(aws_job: GitHubJob, aws: AwsWorld) -> None:
    """Role and region are enough for the first five minutes."""
    role = aws.role("inline", policy=allow("s3:*"))
    inputs = {"INPUT_AWS-ROLE": role, "INPUT_AWS-REGION": aws.region, "INPUT_STEPS": "all"}
    started(aws_job.run("creds", *aws_job.acting, **inputs))
    started(aws_job.run("deploy", *WRITE))
    assert [call.status for call in aws.calls("PutObject")] == [200]


def test_two_agents_in_one_job(job: GitHubJob, world: World) -> None:
    """Each has its own folder, grants and end; a step finds both."""
    watch = Watch(world.openbao)
    first = job.instance
    started(job.start_agent("migrate-db"))
    job.instance = job.folder / "second"
    started(job.run("creds", *job.acting, **inline(world)))
    assert job.environ["CI_IDENTITY_AGENT"] == f"{job.folder / 'second'}:{first}"
    command = (*COMMAND, "exec", "--grant", "migrate-db", "--grant", "vault", "--")
    script = 'test -n "$PASSWORD" && test -n "$DB_PASSWORD"'
    started(job.run("deploy", *command, "sh", "-c", script))
    started(job.stop_agent())
    job.instance = first
    started(job.stop_agent())
    watch.assert_revoked(logins=2)


# ── who is refused ───────────────────────────────────────────────────────────────────────────


def test_another_step_is_refused_and_named(job: GitHubJob) -> None:
    """With the bearer in hand it gets a 403; ledger and summary have its step and program."""
    started(job.start_agent("migrate-db"))
    assert "DB_PASSWORD" in job.sh("deploy", ASK).stdout
    said = job.sh("build", ASK)
    assert "endpoint-peer" in said.stdout
    assert "DB_PASSWORD" not in said.stdout
    stopped = started(job.stop_agent())
    (who,) = refusals(job)
    assert who.endswith("curl of the step build")
    assert f"refused {who}" in stopped.log
    assert "curl of the step build" in job.summary
    assert "the step deploy&#58; curl" in job.summary


@pytest.mark.parametrize(
    "forge",
    ["GITHUB_ACTION=deploy {ask}", "env -i GITHUB_ACTION=deploy PATH=$PATH {agent} {ask}"],
    ids=["variable", "environment"],
)
def test_a_child_that_calls_itself_another_step_is_refused(job: GitHubJob, forge: str) -> None:
    """What a process below the step's top says of itself counts for nothing."""
    started(job.start_agent("migrate-db"))
    script = job.folder / "ask"
    script.write_text(f"#!/bin/sh\n{ASK}")
    script.chmod(0o700)
    agent = f"CI_IDENTITY_AGENT={job.instance}"
    said = job.sh("build", forge.format(ask=script, agent=agent) + "; true")
    assert "endpoint-peer" in said.stdout
    started(job.stop_agent())
    assert refusals(job)[0].endswith("of the step build")


@pytest.mark.parametrize(
    "leave", ["(setsid ./ask >{to} 2>&1 &)", "(./ask >{to} 2>&1 &) &"], ids=["setsid", "orphan"]
)
def test_what_an_earlier_step_left_behind_is_refused(job: GitHubJob, leave: str) -> None:
    """A double fork has no way up to the runner, whatever step it says it is of."""
    started(job.start_agent("migrate-db"))
    script, answer, go = job.folder / "ask", job.folder / "answer", job.folder / "go"
    os.mkfifo(go)
    script.write_text(f"#!/bin/sh\ncat {go}\n{ASK}\n")
    script.chmod(0o700)
    started(job.sh("build", f"export GITHUB_ACTION=deploy; {leave.format(to=answer)}"))
    go.write_text("")
    while "endpoint-peer" not in answer.read_text():
        assert "DB_PASSWORD" not in answer.read_text()
        time.sleep(0.02)
    started(job.stop_agent())
    (who,) = refusals(job)
    assert who.endswith(" curl")  # of no step


def test_steps_that_run_at_the_same_time(job: GitHubJob) -> None:
    """Of two background steps the one that is named is served, and the other is not."""
    started(job.start_agent("migrate-db"))
    script = f"for i in 1 2 3 4 5; do {ASK}\ndone"
    steps = {name: job.start(name, "sh", "-c", script) for name in ("deploy", "build")}
    said = {name: job.wait(step).stdout for name, step in steps.items()}
    assert said["deploy"].count("DB_PASSWORD") == 5
    assert said["build"].count('"code": "endpoint-peer"') == 5
    assert "DB_PASSWORD" not in said["build"]


def test_all_steps(job: GitHubJob) -> None:
    """`all` is any step of the job, and no process beside it."""
    started(job.start_agent("migrate-db", steps=("all",)))
    assert "DB_PASSWORD" in job.sh("whatever", ASK).stdout
    assert "DB_PASSWORD" in job.sh("4", ASK).stdout


def test_the_steps_of_the_grant_narrow(job: GitHubJob) -> None:
    """What the grant's own `steps:` leaves out is refused, though the agent was told all."""
    own = job.folder / "grants.yml"
    text = Path(job.environ["CI_IDENTITY_GRANTS"]).read_text()
    own.write_text(text.replace("    ttl: 5m", "    ttl: 5m\n    steps: [deploy]"))
    job.environ["CI_IDENTITY_GRANTS"] = str(own)
    assert "no step could use it" in job.start_agent("migrate-db", steps=("build",)).stderr
    started(job.stop_agent())
    started(job.start_agent("migrate-db", steps=("all",)))
    assert "endpoint-peer" in job.sh("build", ASK).stdout
    assert "DB_PASSWORD" in job.sh("deploy", ASK).stdout


# ── how it ends ──────────────────────────────────────────────────────────────────────────────


def test_stop_revokes_reports_and_cleans_up(job: GitHubJob, world: World) -> None:
    """OpenBao's own record shows it; the folder is gone, and a second stop finds nothing to do."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    agent = os.pidfd_open(job.agent)
    said = started(job.stop_agent())
    wait_for_end(agent)
    watch.assert_revoked()
    assert said.log.count("migrate-db: revoked; the server confirmed it") == 1
    assert not job.instance.exists()
    assert "| migrate-db |" in job.summary
    assert "revoked" in job.summary
    summary = job.summary
    assert "no agent to stop" in started(job.stop_agent()).stdout
    assert job.summary == summary


def test_stops_at_the_same_time(job: GitHubJob, world: World) -> None:
    """Two at once do no harm."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    steps = [job.start("creds", *job.stopping) for _ in range(2)]
    assert [job.wait(step).code for step in steps] == [0, 0]
    watch.assert_revoked()


def test_signals_during_stop(job: GitHubJob, world: World) -> None:
    """Whoever cancels the job meanwhile does not keep it from being finished."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    status = Path(f"/proc/{job.agent}/stat")
    os.kill(job.agent, signal.SIGSTOP)
    while status.read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    step = job.start("creds", *job.stopping)
    ignored = f"{(1 << signal.SIGINT - 1) | (1 << signal.SIGTERM - 1):x}"
    while not _ignores(step.pid, int(ignored, 16)):
        time.sleep(0.01)
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(step.pid, signo)
    os.kill(job.agent, signal.SIGCONT)
    assert job.wait(step).code == 0
    watch.assert_revoked()


def _ignores(pid: int, signals: int) -> bool:
    found = dict(
        line.split(":\t")
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    return int(found["SigIgn"], 16) & signals == signals


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_agent(job: GitHubJob, world: World, signo: signal.Signals) -> None:
    """It revokes by itself, and stop reports what it found."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    job.kill_agent(signo)
    watch.assert_revoked()
    assert "revoked; the server confirmed it" in started(job.stop_agent()).log


def test_the_agent_follows_the_runner(job: GitHubJob, world: World) -> None:
    """A runner that is killed leaves nothing alive."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    agent = os.pidfd_open(job.agent)
    job.kill_runner()
    wait_for_end(agent)
    watch.assert_revoked()
    assert not (job.instance / "bearer").exists()


def test_stop_ends_what_a_killed_agent_left(job: GitHubJob, world: World, openbao: OpenBao) -> None:
    """It logs in once more, and ends by its accessor what the ledger shows as live."""
    watch = Watch(world.openbao)
    started(job.start_agent("migrate-db"))
    job.kill_agent(signal.SIGKILL)
    with may_revoke(openbao, "auth/jwt/role/shop-migrate"):
        said = started(job.stop_agent())
    watch.assert_revoked(logins=2)
    assert "the agent is gone without a word" in said.stderr
    assert "revoked" in job.summary
    assert not job.instance.exists()


def test_stop_ends_what_a_killed_inline_agent_left(
    job: GitHubJob, world: World, openbao: OpenBao
) -> None:
    """The grant that was in no file is in the agent's folder."""
    watch = Watch(world.openbao)
    started(job.run("creds", *job.acting, **inline(world)))
    job.kill_agent(signal.SIGKILL)
    with may_revoke(openbao, "auth/jwt/role/shop-migrate"):
        started(job.stop_agent())
    watch.assert_revoked(logins=2)


def test_stop_after_a_killed_agent_with_aws(aws_job: GitHubJob) -> None:
    """AWS ends a session by time alone: that is said, and is no failure."""
    started(aws_job.start_agent("deploy-web"))
    aws_job.kill_agent(signal.SIGKILL)
    assert "deploy-web: expires at" in started(aws_job.stop_agent()).log
    assert "expires" in aws_job.summary


def test_a_server_that_is_down_at_the_end(job: GitHubJob, world: World) -> None:
    """What the agent could not revoke fails the step that stops it, and is on the job's page."""
    with Front(world.openbao.address) as front:
        own = job.folder / "grants.yml"
        text = world.grants_path.read_text()
        audience = f"    audience: {world.openbao.address}\n    vault:"
        text = text.replace(world.openbao.address, front.address).replace("    vault:", audience)
        own.write_text(text)
        job.environ["CI_IDENTITY_GRANTS"] = str(own)
        started(job.start_agent("migrate-db"))
        front.is_down = True
        job.kill_agent(signal.SIGINT)  # which is pressing: it tries for 5 s
        said = job.stop_agent()
    assert said.code == 9
    assert "error[revocation]: migrate-db: NOT revoked" in said.stderr
    assert "may still be alive" in job.summary
    for accessor in (e["handle"] for e in ledger(job) if e["event"] == "issued"):
        world.openbao.client().auth.token.revoke_accessor(accessor.partition(":")[2])


def test_stop_fails_where_a_lease_may_be_alive(job: GitHubJob, openbao: OpenBao) -> None:
    """The killed agent's lease cannot be ended: exit code 9, its handle in the log."""
    started(job.start_agent("migrate-db"))
    accessors = [e["handle"] for e in ledger(job) if e["event"] == "issued"]
    job.kill_agent(signal.SIGKILL)
    said = job.stop_agent()
    assert said.code == 9
    assert "NOT revoked" in said.log
    assert accessors[0] in said.log
    assert "may still be alive" in job.summary
    for accessor in accessors:
        openbao.client().auth.token.revoke_accessor(accessor.partition(":")[2])


# ── a start that fails ───────────────────────────────────────────────────────────────────────


def test_a_grant_that_is_not_for_this_job(world: World, tmp_path: Path) -> None:
    """The step fails as any command of ours does, and there is nothing left to stop."""
    claims = {"repository": "mallory/shop", "repository_id": "666"}
    environ = Job.of(world, tmp_path / "state", claims=claims).environ
    with GitHubJob(environ, tmp_path) as job:
        said = job.start_agent("migrate-db")
        assert said.code == 4
        assert "error[denied]" in said.stderr
        assert job.told("GITHUB_ENV") == {}
        assert started(job.stop_agent()).log.strip() == "there was nothing left to end"


def test_a_start_that_is_cancelled(job: GitHubJob, world: World) -> None:
    """The signal goes on to what is to be the agent; what it had been given is revoked."""
    watch = Watch(world.openbao)
    step = job.start("creds", *job.starting("--grant", "migrate-db", "--steps", "deploy"))
    while not (job.instance / "agent.json").exists():
        time.sleep(0.005)
    os.kill(step.pid, signal.SIGTERM)
    said = job.wait(step)
    if said.code == 0:  # it was ready by then, and is told to end
        started(job.stop_agent())
    else:
        assert said.code == 1
        assert "error[interrupted]" in said.stderr
    watch.assert_revoked(logins=watch.logins)


def test_a_start_that_is_cancelled_while_the_ci_is_silent(job: GitHubJob, world: World) -> None:
    """Nobody waits for a token that comes too late: GitHub kills 10 s after its signal."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/?api-version=2.0"
        asking = inline(world) | {"ACTIONS_ID_TOKEN_REQUEST_URL": url}
        step = job.start("creds", *job.acting, **asking)
        silent.accept()[0].close()  # asked again, as what may pass is
        with silent.accept()[0]:
            os.kill(step.pid, signal.SIGINT)
            said = job.wait(step)
    assert said.code == 1
    assert "error[interrupted]" in said.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--grant", "migrate-db"), 2, "--steps is missing"),
        (("--grant", "nobody", "--steps", "x"), 2, "has no grant 'nobody'"),
        (("--grant", "migrate-db", "--steps", "all", "x"), 2, "`all` stands for every step"),
    ],
)
def test_what_cannot_be_started(
    job: GitHubJob, options: tuple[str, ...], code: int, message: str
) -> None:
    """A slip is named, and nothing is left."""
    argv = [*COMMAND, "agent", "start", "--instance", str(job.instance), *options]
    said = job.run("creds", *argv)
    assert said.code == code, said.log
    assert message in said.stderr


def test_a_process_beside_us_is_no_runner(job: GitHubJob) -> None:
    """Only an ancestor can be the one that starts the steps."""
    argv = [*COMMAND, "agent", "start", "--instance", str(job.instance), "--runner"]
    sleeping = job.start("x", "sleep", "60")
    said = job.run("creds", *argv, str(sleeping.pid), "--grant", "migrate-db", "--steps", "x")
    os.kill(sleeping.pid, signal.SIGKILL)
    assert said.code == 2
    assert "is not this job's runner" in said.stderr


def test_the_runner_is_found(job: GitHubJob) -> None:
    """Without --runner it is the first process above us that is of no step."""
    argv = [*COMMAND, "agent", "start", "--instance", str(job.instance), "--grant", "migrate-db"]
    started(job.run("creds", *argv, "--steps", "deploy"))
    assert "DB_PASSWORD" in job.sh("deploy", ASK).stdout
    assert "endpoint-peer" in job.sh("build", ASK).stdout


# ── what it leaves to be seen ────────────────────────────────────────────────────────────────


def test_a_process_of_its_own(job: GitHubJob) -> None:
    """It leads a session, is not dumpable, keeps no folder and no stream of the step."""
    started(job.start_agent("migrate-db"))
    proc = Path(f"/proc/{job.agent}")
    assert os.getsid(job.agent) == job.agent
    assert "Max core file size        0                    0" in (proc / "limits").read_text()
    assert (proc / "cwd").readlink() == Path("/")
    assert (proc / "fd/0").readlink() == Path("/dev/null")
    assert [(proc / f"fd/{fd}").readlink() for fd in (1, 2)] == [job.instance / "log"] * 2
    assert stat.S_IMODE((job.instance / "log").stat().st_mode) == 0o600


def test_no_secret_is_left_anywhere(aws_job: GitHubJob, world: World) -> None:
    """Not in files of the runner or of the agent, nor in what its process was started with."""
    start = started(aws_job.start_agent("deploy-web", "migrate-db"))
    started(aws_job.run("deploy", *WRITE))
    answer = json.loads(
        aws_job.sh("deploy", ASK.replace("/grant/migrate-db", "/aws/deploy-web")).stdout
    )
    values = [
        secret.reveal().encode() for name, secret in world.secrets.items() if name != "username"
    ]
    values += [answer["SecretAccessKey"].encode(), answer["Token"].encode()]
    seen = [path.read_bytes() for path in aws_job.folder.rglob("*") if path.is_file()]
    seen += [Path(f"/proc/{aws_job.agent}/{name}").read_bytes() for name in ("environ", "cmdline")]
    seen += [start.log.encode()]
    stop = started(aws_job.stop_agent())
    seen += [stop.log.encode(), aws_job.summary.encode()]
    assert not [value for value in values if any(value in text for text in seen)]
    assert {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in aws_job.instance.rglob("*")} <= {0}


def test_delivery_env(job: GitHubJob, world: World) -> None:
    """Every later step has the values then; the log says so, after the runner was told to mask."""
    said = started(job.start_agent("migrate-db", options=("--delivery", "env")))
    told = job.told("GITHUB_ENV")
    assert told["DB_PASSWORD"] == world.secrets["password"].reveal()
    assert told["LICENCE"] == world.secrets["licence"].reveal()
    assert "every later step of the job can read DB_USER, DB_PASSWORD, LICENCE" in said.stderr
    assert f"::add-mask::{world.secrets['password'].reveal()}" in said.stdout
    assert started(job.sh("any", 'test -n "$DB_PASSWORD"')).code == 0


def test_memory(aws_job: GitHubJob) -> None:
    """With an AWS and a Vault grant, and a client served, it is under 40 MiB resident."""
    started(aws_job.start_agent("deploy-web", "migrate-db"))
    started(aws_job.run("deploy", *WRITE))
    status = Path(f"/proc/{aws_job.agent}/status").read_text()
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    assert int(resident) < 40 << 10


def test_outputs(job: GitHubJob) -> None:
    """The step's outputs are the leases and the time of the first end."""
    started(job.start_agent("migrate-db"))
    outputs = job.told("GITHUB_OUTPUT")
    assert set(outputs) == {"leases", "expires-at"}
    assert outputs["leases"] == ledger(job)[0]["lease"]


def test_status(job: GitHubJob) -> None:
    """It tells who was served and who was refused, to the steps of the job alone."""
    started(job.start_agent("migrate-db"))
    job.sh("deploy", ASK)
    job.sh("build", ASK)
    status = (*COMMAND, "agent", "status")
    (found,) = json.loads(started(job.run("any", *status, "--json")).stdout)
    assert found["alive"]
    assert found["grants"][0]["served"] == [{"step": "deploy", "programs": ["curl"]}]
    assert found["grants"][0]["refused"][0]["who"].endswith("curl of the step build")
    assert "migrate-db: served the step deploy: curl" in started(job.run("any", *status)).stdout
    outside = subprocess.run([*status, "--instance", job.instance], capture_output=True, check=True)
    assert b"alive\n  the job's agent refused: ci-identity: this process is not" in outside.stdout


# ── a variable that an earlier step planted ──────────────────────────────────────────────────


def test_a_planted_agent_gives_no_variable_that_steers(job: GitHubJob) -> None:
    """A false agent can give false values, and says so in the log; it cannot give LD_PRELOAD."""
    false = job.folder / "false"
    false.mkdir(mode=0o700)
    (false / "bearer").write_text("x")
    server = f"""
import http.server, json
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        variables = {{"LD_PRELOAD": {{"value": "/tmp/evil.so", "public": True}}}}
        said = {{"step": "deploy", "grants": ["migrate-db"], "lease": "x", "variables": variables}}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
open({str(false / "address")!r}, "w").write(f"http://127.0.0.1:{{server.server_port}}")
server.serve_forever()
"""
    thief = job.start("build", sys.executable, "-c", server)
    while not (false / "address").exists() or not (false / "address").read_text():
        time.sleep(0.01)
    argv = (*COMMAND, "exec", "--grant", "migrate-db", "--", "true")
    said = job.run("deploy", *argv, CI_IDENTITY_AGENT=str(false))
    os.kill(thief.pid, signal.SIGKILL)
    assert said.code == 125
    assert "error[delivery]: migrate-db: what the job's agent gives" in said.stderr


@pytest.mark.parametrize(
    "address", ["http://203.0.113.1:80", "https://127.0.0.1:1", "nonsense", "http://127.0.0.1:1"]
)
def test_what_is_no_agent_is_passed_over(job: GitHubJob, address: str) -> None:
    """Only loopback is asked; where nobody answers `exec` has a session of its own."""
    false = job.folder / "false"
    false.mkdir(mode=0o700)
    (false / "address").write_text(address)
    (false / "bearer").write_text("a bearer\nwith: a header")
    argv = (*COMMAND, "exec", "--grant", "migrate-db", "--", "true")
    said = started(job.run("deploy", *argv, CI_IDENTITY_AGENT=f"{false}:/nowhere"))
    assert "revoked; the server confirmed it" in said.stderr
