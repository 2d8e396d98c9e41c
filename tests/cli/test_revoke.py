"""`ci-identity revoke`: what a killed command left is ended in a later process of the same job."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ci_identity
from ci_identity._record import replace
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.reclaim import IDENTITY
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.audit import is_alive
from tests.killing import RECLAIM_POLICY, ROLE, kill_session, may_revoke
from tests.postgres import PostgreSQL
from tests.step import COMMAND, EXEC, Job, Watch

HANG = ("sh", "-c", "echo started; exec sleep 600")


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return Job.of(world, tmp_path / "state", "gitlab")


@pytest.fixture
def may_reclaim(openbao: OpenBao) -> Iterator[None]:
    with may_revoke(openbao):
        yield


def kill(job: Job, *command: str) -> None:
    """Run a step that is killed, with all of its processes, while its command runs."""
    step = subprocess.Popen(
        [*EXEC, *(command or HANG)],
        env=job.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert step.stdout is not None
    assert step.stdout.readline() == b"started\n"
    kill_session(step.pid)
    step.communicate()
    assert job.events()[-1] == "delivered"


def revoke(job: Job, *words: str, **extra: str) -> tuple[int, str]:
    done = job.run([*COMMAND, "revoke", *words], extra=extra)
    return done.returncode, (done.stdout + done.stderr).decode()


def handles(job: Job) -> list[str]:
    return [entry["handle"] for entry in job.ledger() if entry["event"] == "issued"]


def accessors(job: Job) -> list[str]:
    return [handle.removeprefix("accessor:") for handle in handles(job)]


@pytest.mark.usefixtures("may_reclaim")
def test_what_a_killed_command_was_given_is_revoked(job: Job, openbao: OpenBao) -> None:
    """One more login by the same grant ends the killed command's tokens, and then itself."""
    watch = Watch(openbao)
    kill(job)
    assert all(is_alive(openbao, accessor) for accessor in accessors(job))
    code, said = revoke(job)
    assert (code, said.count("migrate-db: revoked; the server confirmed it")) == (0, 1)
    assert not any(is_alive(openbao, accessor) for accessor in accessors(job))
    watch.assert_revoked(logins=2)


@pytest.mark.usefixtures("may_reclaim")
def test_the_end_is_recorded_with_the_lease_that_ended(job: Job) -> None:
    """The ledger has the end of both leases, is whole, and has nothing live any more."""
    kill(job)
    (left,) = {entry["lease"] for entry in job.ledger()}
    revoke(job)
    assert job.run([*COMMAND, "audit", "verify"]).returncode == 0
    ends = {e["lease"]: e for e in job.ledger() if e["event"] == "revoked"}
    assert len(ends) == 2
    assert ends[left]["outcome"] == "revoked"
    assert ends[left]["handle"] == handles(job)[0]
    assert revoke(job)[1].startswith("nothing to revoke: ")


@pytest.mark.usefixtures("may_reclaim")
def test_a_lease_is_revoked_before_its_token(
    world: World, job: Job, postgres: PostgreSQL, openbao: OpenBao, tmp_path: Path
) -> None:
    """A login of a database that a killed command has left is gone when revoke returns."""
    root = openbao.client()
    policy = 'path "database/creds/shop" { capabilities = ["read"] }'
    root.write_data("sys/policies/acl/revoke-db", data={"policy": policy})
    role = root.read(ROLE)["data"]
    policies = [*role["token_policies"], "revoke-db"]
    root.write_data("auth/jwt/role/revoke-db", data=role | {"token_policies": policies})
    text = world.gitlab_grants_path.read_text().partition("      secrets:")[0]
    text = text.replace("shop-migrate-gitlab", "revoke-db").replace("[shop-db]", "[revoke-db]")
    text += "      secrets:\n        DB_USER: {from: database/creds/shop#username, public: true}\n"
    text += "        DB_PASSWORD: database/creds/shop#password\n"
    grants = tmp_path / ".ci-identity.yml"
    grants.write_text(text)
    job.environ["CI_IDENTITY_GRANTS"] = str(grants)
    kept = tmp_path / "kept"
    keep = f"echo $DB_USER >{kept}; echo $DB_PASSWORD >>{kept}"
    kill(job, "sh", "-c", f"{keep}; echo started; exec sleep 600")
    username, password = kept.read_text().splitlines()
    assert postgres.admits(username, password)
    assert revoke(job)[0] == 0
    assert not postgres.admits(username, password)
    paths = [e["request"]["path"] for e in openbao.revocations()]
    assert paths[-4:] == [
        "sys/leases/revoke",
        "auth/token/revoke-accessor",
        "auth/token/revoke-accessor",
        "auth/token/revoke-self",
    ]


def test_without_the_right_it_says_what_stays_alive(job: Job, openbao: OpenBao) -> None:
    """A role without revoke-accessor: `NOT revoked`, until when, the handles, the policy; and 9."""
    watch = Watch(openbao)
    kill(job)
    login, child = accessors(job)
    code, said = revoke(job)
    assert code == 9
    assert "migrate-db: NOT revoked (token: refused; a policy of the role must have: " in said
    assert RECLAIM_POLICY in said
    assert f"from outside, revoke accessor:{login}, accessor:{child}\n" in said
    assert "it may live until 2" in said
    assert "error[revocation]: " in said
    assert [e["reason"] for e in job.ledger() if e["event"] == "failed"] == ["revocation"]
    openbao.client().auth.token.revoke_accessor(login)
    watch.assert_revoked(logins=2)


@pytest.mark.usefixtures("may_reclaim")
def test_what_failed_once_can_be_tried_again(job: Job) -> None:
    """`failed` is no end: the next try may have more luck."""
    kill(job)
    code, said = revoke(job, CI_IDENTITY_GRANTS="/nowhere.yml")
    assert (code, job.events()[-1]) == (9, "failed")
    assert "NOT revoked (/nowhere.yml, named by CI_IDENTITY_GRANTS, is not a file); " in said
    assert revoke(job, CI_IDENTITY_GRANTS="/nowhere.yml")[1].splitlines()[0] == said.splitlines()[0]
    assert revoke(job)[0] == 0


def test_nothing_live_is_said_and_asks_nobody(job: Job, openbao: OpenBao) -> None:
    """Where nothing was left there is no login, no token is needed, and the code is 0."""
    ledger = job.state / "ledger.jsonl"
    assert revoke(job) == (0, f"nothing to revoke: nothing was recorded in {ledger}\n")
    assert revoke(job, "--ledger", str(ledger))[0] == 8  # a slip, perhaps: it was to be there
    job.run([*EXEC, "true"])
    watch = Watch(openbao)
    none = f"nothing to revoke: {ledger} has no live lease of this job\n"
    assert revoke(job, CI_IDENTITY_TOKEN="") == (0, none)
    assert watch.logins == 0


@pytest.mark.usefixtures("may_reclaim")
def test_leases_of_other_jobs_are_left_alone(world: World, job: Job, openbao: OpenBao) -> None:
    """Two jobs with one ledger: each ends its own; `--all` ends the other's too."""
    kill(job)
    other = Job.of(world, job.state, "gitlab", {"job_id": "1"})
    code, said = revoke(other)
    assert (code, is_alive(openbao, accessors(job)[0])) == (0, True)
    assert said.endswith("live ones of other jobs, left alone: 1\n")
    assert revoke(other, "--all")[0] == 0
    assert not is_alive(openbao, accessors(job)[0])


@pytest.mark.usefixtures("may_reclaim")
def test_one_lease_by_name(job: Job, openbao: OpenBao) -> None:
    """A lease that is named is ended, and no other."""
    kill(job)
    kill(job)
    first = job.ledger()[0]["lease"]
    assert revoke(job, first)[0] == 0
    assert [is_alive(openbao, accessor) for accessor in accessors(job)[:4]] == [0, 0, 1, 1]
    code, said = revoke(job, first)
    assert (code, said.splitlines()[0]) == (
        2,
        f"error[usage]: {job.state / 'ledger.jsonl'} has no live lease {first}",
    )
    assert revoke(job)[0] == 0


CANCELLED = """
import os, signal, sys
import ci_identity.exchangers.vault.reclaim as reclaim
reclaim._end = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
from ci_identity.cli import main
sys.exit(main(["revoke"]))
"""


def test_a_revoke_that_is_cancelled_leaves_no_login_of_its_own(job: Job, openbao: OpenBao) -> None:
    """SIGTERM while it works ends the login that it made; what it was to end stays on record."""
    kill(job)
    watch = Watch(openbao)
    assert job.run([sys.executable, "-I", "-c", CANCELLED]).returncode == 130
    watch.assert_revoked(logins=1)
    left = [e["lease"] for e in job.ledger() if e["event"] == "delivered"]
    assert left[0] in revoke(job)[1]
    openbao.client().auth.token.revoke_accessor(accessors(job)[0])


def test_without_a_token_the_handles_are_said(job: Job, openbao: OpenBao) -> None:
    """Where the job's token is gone, what may live is named, and nothing is said to be over."""
    kill(job)
    code, said = revoke(job, CI_IDENTITY_TOKEN="")
    assert code == 3
    assert said.startswith("error[identity-id-tokens]: ")
    assert f"migrate-db, accessor:{accessors(job)[0]}, accessor:{accessors(job)[1]}" in said
    openbao.client().auth.token.revoke_accessor(accessors(job)[0])


def test_a_grant_that_leads_elsewhere_now_is_not_used(
    world: World, job: Job, openbao: OpenBao, tmp_path: Path
) -> None:
    """The handles of one server or role are not taken to another."""
    kill(job)
    grants = tmp_path / ".ci-identity.yml"
    text = world.gitlab_grants_path.read_text()
    grants.write_text(text.replace("shop-migrate-gitlab", "shop-migrate"))
    watch = Watch(openbao)
    code, said = revoke(job, "--grants", str(grants))
    assert (code, watch.logins) == (9, 0)
    assert "but the grant now leads to " in said
    openbao.client().auth.token.revoke_accessor(accessors(job)[0])


def test_a_job_that_the_grant_is_not_for_may_not_even_end_things(
    world: World, job: Job, openbao: OpenBao
) -> None:
    """Nothing is sent for a job that the grant denies."""
    kill(job)
    other = Job.of(world, job.state, "gitlab", {"ref_protected": "false"})
    watch = Watch(openbao)
    assert revoke(other, "--all")[0] == 9
    assert (watch.logins, job.ledger()[-1]["reason"]) == (0, "denied")
    openbao.client().auth.token.revoke_accessor(accessors(job)[0])


def asked(job: Job, until: datetime) -> Entry:
    """Return what the ledger has of a lease whose asker was killed before the answer."""
    identity = ci_identity.detect(job.environ)
    said = {name: getattr(identity, name) for name in IDENTITY}
    entry = Entry(event=Event.REQUESTED, lease="1", grant="migrate-db", identity=said)
    return replace(entry, expires_at=until)


def test_killed_before_the_answer(job: Job) -> None:
    """Of a lease without a handle nobody knows whether it lives: that is no success."""
    entry = asked(job, datetime.now(UTC) + timedelta(minutes=5))
    Ledger(job.state / "ledger.jsonl").append(entry)
    code, said = revoke(job)
    assert (code, job.events()) == (9, ["requested", "failed"])
    assert "whether it was given is not on record" in said
    assert said.splitlines()[0].endswith("a login to Vault for its role's token_ttl")
    code, said = revoke(job)  # nobody can do more; it is told again, until its time is over
    assert (code, said.partition("; ")[2]) == (
        0,
        "asked for, and whether it was given is not on record: 1\n",
    )


def test_time_is_up(job: Job, openbao: OpenBao) -> None:
    """A lease whose time is over has expired: nobody is asked, and it is no failure."""
    ledger = Ledger(job.state / "ledger.jsonl")
    entry = asked(job, datetime(2020, 1, 1, tzinfo=UTC))
    ledger.append(entry)
    ledger.append(replace(entry, event=Event.ISSUED, handle="accessor:x"))
    watch = Watch(openbao)
    code, said = revoke(job)
    assert (code, job.events()) == (0, ["requested", "issued", "expires"])
    assert "migrate-db: ended by itself at 2020-01-01 00:00:00 UTC" in said
    assert watch.entries == []


def test_a_batch_token_is_not_called_revoked(job: Job) -> None:
    """A token without an accessor ends at its time, and that is what is said."""
    ledger = Ledger(job.state / "ledger.jsonl")
    entry = asked(job, datetime.now(UTC) + timedelta(minutes=5))
    target = ci_identity.session("migrate-db", environ=job.environ).lease.target
    entry = replace(entry, target=target)
    ledger.append(entry)
    ledger.append(replace(entry, event=Event.ISSUED, handle="accessor:none"))
    code, said = revoke(job)
    assert (code, job.events()) == (0, ["requested", "issued", "requested", "failed", "expires"])
    assert "(a batch token cannot be revoked)" in said


def test_what_only_time_can_end_expires(job: Job, world: World, tmp_path: Path) -> None:
    """A session of AWS cannot be ended from the job: it expires, as after any step; no failure."""
    grants = tmp_path / ".ci-identity.yml"
    aws = "    aws: {role: 'arn:aws:iam::123456789012:role/deploy', region: eu-west-1}\n"
    grants.write_text(world.gitlab_grants_path.read_text().partition("    vault:")[0] + aws)
    ledger = Ledger(job.state / "ledger.jsonl")
    entry = asked(job, datetime.now(UTC) + timedelta(minutes=15))
    ledger.append(replace(entry, event=Event.ISSUED, handle="session:x"))
    code, said = revoke(job, "--grants", str(grants))
    assert (code, job.events()) == (0, ["issued", "expires"])
    assert job.ledger()[-1]["reason"] == "not-revocable"
    assert "(its provider cannot end it before; from outside: ci-identity reap)" in said


def test_a_ledger_that_was_changed_is_not_believed(job: Job, openbao: OpenBao) -> None:
    """Who changes an entry cannot have us revoke something else by it."""
    kill(job)
    path = job.state / "ledger.jsonl"
    (login, _) = accessors(job)
    path.write_text(path.read_text().replace(login, "x" * len(login)))
    code, said = revoke(job)
    assert code == 8
    assert said.startswith("error[ledger-tampered]: ")
    openbao.client().auth.token.revoke_accessor(login)


def test_slips(job: Job) -> None:
    """`--all` and names exclude each other."""
    assert revoke(job, "--all", "3f1c")[0] == 2
