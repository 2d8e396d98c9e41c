"""`ci-identity reap` at Vault: by handle, with an identity of its own, and no more than asked."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_identity.exchangers.vault.rights import policy_text
from ci_identity.ledger.entry import Event
from ci_identity.ledger.verify import read, verify
from ci_identity.reaping.vault import _LASTS, RIGHTS
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.audit import is_alive
from tests.reaping.vaults import POLICY, REAPER, leave, roles, target, tell
from tests.step import COMMAND, Job, Watch

LONG = timedelta(minutes=30)
"""For which a job that runs is never silent."""


@pytest.fixture
def reaper(world: World, tmp_path: Path) -> Iterator[Job]:
    with roles(world, tmp_path / "grants.yml") as grants:
        job = Job.of(world, tmp_path / "reaper", claims=REAPER)
        job.environ["CI_IDENTITY_GRANTS"] = str(grants)
        yield job


@pytest.fixture
def leaves(world: World, reaper: Job) -> Callable[..., tuple[str, ...]]:  # noqa: ARG001  # whose roles are used
    return lambda ledger, **about: leave(world, ledger, **about)


def words(*more: str | Path) -> list[str]:
    return [*COMMAND, "reap", "--grant", "reap", "--json", *map(str, more)]


def reap(job: Job, *more: str | Path, code: int = 0) -> list[dict[str, Any]]:
    done = job.run(words(*more))
    assert done.returncode == code, done.stderr.decode()
    return list(json.loads(done.stdout))


def alive(openbao: OpenBao, accessors: tuple[str, ...]) -> list[bool]:
    return [is_alive(openbao, accessor) for accessor in accessors]


# ── what it does ─────────────────────────────────────────────────────────────────────────────


def test_what_a_dead_job_left_is_revoked(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """Both tokens are gone, the reaper's own too; the ledger has the end, who it was, and holds."""
    ledger = tmp_path / "job.jsonl"
    watch = Watch(openbao)
    left = leaves(ledger, age=LONG)
    (row,) = reap(reaper, ledger)
    assert (row["done"], row["why"], row["target"]) == ("revoked", "", target(openbao))
    assert row["handles"] == [f"accessor:{accessor}" for accessor in left]
    assert alive(openbao, left) == [False, False]
    watch.assert_revoked(logins=2)
    verify(ledger)
    entry = list(read(ledger))[-1]
    said = ("event", "outcome", "handle", "target")
    assert [entry[name] for name in said] == [
        *("reaped", "revoked", f"accessor:{left[0]}", target(openbao))
    ]
    identity: Any = entry["identity"]
    assert identity["repository"] == "acme/ops"
    assert reaper.events()[-1] == "revoked"
    assert reap(reaper, ledger) == []


def test_the_reaper_may_do_no_more_than_the_page_says(openbao: OpenBao, reaper: Job) -> None:
    """The step's token has that policy alone; what all of these tests do needs no more."""
    assert reaper.state.name == "reaper"
    role = openbao.client().read("auth/jwt/role/crash-reaper")["data"]
    assert role["token_policies"] == ["crash-reaper", "ci"]
    assert openbao.client().read("sys/policies/acl/crash-reaper")["data"]["policy"] == POLICY
    assert POLICY.splitlines() == [policy_text(path, "update") for path in RIGHTS]


def test_live_jobs_are_left_alone(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """A sign of life in the ledger keeps it, until somebody says that the job does not run."""
    ledger = tmp_path / "job.jsonl"
    left = leaves(ledger, age=LONG)
    lease = str(next(read(ledger))["lease"])
    tell(ledger, Event.ALIVE, lease, target=target(openbao), expires_at=None)
    watch = Watch(openbao)
    (row,) = reap(reaper, ledger)
    assert row["done"] == "left"
    assert row["why"].startswith("its job runs, or was killed lately")
    assert (watch.logins, alive(openbao, left)) == (0, [True, True])
    (row,) = reap(reaper, "--lease", lease, ledger)
    assert (row["done"], alive(openbao, left)) == ("revoked", [False, False])


def test_whoever_trusts_the_clocks_finds_a_dead_job_sooner(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """Five minutes of silence are no death by default; less than two beats never are."""
    ledger = tmp_path / "job.jsonl"
    left = leaves(ledger, age=timedelta(minutes=5))
    assert [row["done"] for row in reap(reaper, ledger)] == ["left"]
    assert reaper.run(words("--dead-after", "3m", ledger)).returncode == 2
    assert [row["done"] for row in reap(reaper, "--dead-after", "4m", ledger)] == ["revoked"]
    assert alive(openbao, left) == [False, False]


def test_what_its_job_could_not_end_is_ended_at_once(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """It is done with it, however short ago that was."""
    left = leaves(tmp_path / "job.jsonl", end=Event.FAILED)
    assert [row["done"] for row in reap(reaper, tmp_path / "job.jsonl")] == ["revoked"]
    assert alive(openbao, left) == [False, False]


def test_what_has_ended_is_told_as_that(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """A job that was killed between the server's yes and its record."""
    left = leaves(tmp_path / "job.jsonl", age=LONG)
    openbao.client().auth.token.revoke_accessor(left[0])
    (row,) = reap(reaper, tmp_path / "job.jsonl")
    assert (row["done"], row["why"]) == ("revoked", "it had ended already")


def test_two_reapers_at_once_do_not_disturb_each_other(
    world: World,
    reaper: Job,
    openbao: OpenBao,
    tmp_path: Path,
    leaves: Callable[..., tuple[str, ...]],
) -> None:
    """Both tell the truth of every lease, all has ended, and every ledger holds."""
    ledgers = tmp_path / "ledgers"
    left = [one for n in range(8) for one in leaves(ledgers / f"{n}.jsonl", age=LONG)]
    other = Job.of(world, tmp_path / "other", claims=REAPER)
    other.environ["CI_IDENTITY_GRANTS"] = reaper.environ["CI_IDENTITY_GRANTS"]
    both = [job.start(words(ledgers)) for job in (reaper, other)]
    for one in both:
        out, error = one.communicate()
        assert one.returncode == 0, error.decode()
        assert {row["done"] for row in json.loads(out)} <= {"revoked"}
    assert not any(alive(openbao, tuple(left)))
    for ledger in ledgers.glob("*.jsonl"):
        verify(ledger)
        assert {"reaped"} <= {str(entry["event"]) for entry in read(ledger)}


def test_a_folder_of_many_ledgers_forged_and_foreign_ones_among_them(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """What is wrong with one keeps no other from being reaped; the run is red for it."""
    folder = tmp_path / "ledgers"
    left = [*leaves(folder / "a" / "1.jsonl", age=LONG), *leaves(folder / "2.jsonl", age=LONG)]
    forged = folder / "2.jsonl"
    forged.write_bytes(forged.read_bytes().replace(b'"grant":"crash"', b'"grant":"other"', 1))
    (folder / "3.jsonl").write_bytes(os.urandom(4096))
    (folder / "4.jsonl").write_text('{"level":"info","msg":"not a ledger"}\n')
    (folder / "5.jsonl").touch()
    (folder / "6.jsonl").symlink_to(forged)
    before = forged.read_bytes()
    done = reaper.run(words(folder))
    assert done.returncode == 8
    assert {row["done"] for row in json.loads(done.stdout)} == {"revoked"}
    assert not any(alive(openbao, tuple(left)))
    assert forged.read_bytes() == before
    assert reaper.events().count("reaped") == 1
    for name in ("2.jsonl", "3.jsonl", "4.jsonl", "6.jsonl"):
        assert f"{name}" in done.stderr.decode()


def test_its_log_tells_of_no_child(
    reaper: Job, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """The reaper's login is for itself: nothing is given to anybody."""
    leaves(tmp_path / "job.jsonl", age=LONG)
    done = reaper.run(words(tmp_path / "job.jsonl"))
    assert b"ci-identity: reap: from " in done.stderr
    assert b"one process tree" not in done.stderr


def test_a_ledger_that_is_not_there(reaper: Job, tmp_path: Path) -> None:
    """Is said to be that, and neither changed nor without anything alive."""
    done = reaper.run([word for word in words(tmp_path / "nosuch") if word != "--json"])
    assert (done.returncode, done.stdout) == (8, b"")
    first, *_ = done.stderr.decode().splitlines()
    name = tmp_path / "nosuch"
    assert first.endswith(f"cannot read the ledger {name}: No such file or directory")


# ── what it does not ─────────────────────────────────────────────────────────────────────────


def test_a_ledger_cannot_have_the_token_of_somebody_else_ended(
    reaper: Job, openbao: OpenBao, tmp_path: Path
) -> None:
    """An administrator's accessor in a job's ledger: it is looked up, and left alone."""
    root, ledger = openbao.client(), tmp_path / "job.jsonl"
    theirs = root.auth.token.create(ttl="5m", meta={"lease": "f" * 16})["auth"]["accessor"]
    assert_spared(reaper, openbao, ledger, theirs)


def test_a_ledger_cannot_have_the_login_to_another_role_ended(
    world: World, reaper: Job, openbao: OpenBao, tmp_path: Path
) -> None:
    """Of a job of the same CI, by the same auth method."""
    jwt = world.issuer.github_token(openbao.address).reveal()
    login = openbao.client().auth.jwt.jwt_login("shop-migrate", jwt, use_token=False, path="jwt")
    assert_spared(reaper, openbao, tmp_path / "job.jsonl", login["auth"]["accessor"])


def assert_spared(reaper: Job, openbao: OpenBao, ledger: Path, theirs: str) -> None:
    where = target(openbao)
    tell(ledger, Event.ISSUED, "a" * 16, handle=f"accessor:{theirs}", target=where, age=LONG)
    (row,) = reap(reaper, ledger, code=9)
    assert row["done"] == "failed"
    assert row["why"] == "a token: it is not of a login to this role"
    assert is_alive(openbao, theirs)
    assert "reaped" not in [entry["event"] for entry in read(ledger)]
    openbao.client().auth.token.revoke_accessor(theirs)


@pytest.mark.parametrize(
    ("where", "done", "why"),
    [
        ("https://vault.example/v1/auth/jwt/role/a", "failed", "from another server or namespace"),
        ("{}/v1/team/auth/jwt/role/a", "failed", "from another server or namespace"),
        ("arn:aws:iam::123456789012:role/deploy", "left", "no aws grant was given"),
        ("deployer@acme.iam.gserviceaccount.com", "left", "its provider cannot end it before"),
    ],
)
def test_what_it_does_not_reach_is_told(
    reaper: Job, openbao: OpenBao, tmp_path: Path, where: str, done: str, why: str
) -> None:
    """With the time at which it ends by itself; what is of its own kind is a failure."""
    ledger, place = tmp_path / "job.jsonl", where.format(openbao.address)
    tell(ledger, Event.ISSUED, "a" * 16, handle="accessor:x", target=place, age=LONG)
    (row,) = reap(reaper, ledger, code=9 if done == "failed" else 0)
    assert row["done"] == done
    assert why in row["why"]
    assert row["until"].endswith("+00:00")


def test_what_a_job_left_to_expire_is_no_failure(
    reaper: Job, openbao: OpenBao, tmp_path: Path
) -> None:
    """A certificate whose step ended well is listed until its time, and the run succeeds."""
    ledger, place, left = tmp_path / "job.jsonl", target(openbao), "expiring:ssh/issue/ci#7"
    for event in (Event.ISSUED, Event.EXPIRES):
        tell(ledger, event, "a" * 16, handle=left, target=place, age=LONG)
    (row,) = reap(reaper, ledger)
    assert (row["done"], row["why"]) == ("left", _LASTS)


@pytest.mark.parametrize(
    ("handle", "done", "why"),
    [
        (None, "left", "lives until the role's token_ttl"),
        ("accessor:none", "left", "a batch token cannot be revoked"),
        ("serial:1234", "failed", "this version knows no handle of the kind serial"),
        (
            "expiring:ssh/issue/ci#7",
            "failed",
            "ssh/issue/ci#7: nobody can end it before it ends by itself",
        ),
        ("certificate:pki/cert/1:2", "failed", "is not revoked from outside; by hand"),
    ],
)
def test_what_has_no_handle_to_end_it_by_is_told(
    reaper: Job, openbao: OpenBao, tmp_path: Path, handle: str | None, done: str, why: str
) -> None:
    """Nothing is said to be over that was not ended."""
    ledger = tmp_path / "job.jsonl"
    tell(ledger, Event.REQUESTED, "a" * 16, handle=handle, target=target(openbao), age=LONG)
    (row,) = reap(reaper, ledger, code=9 if done == "failed" else 0)
    assert (row["done"], why in row["why"]) == (done, True)


def test_what_can_only_be_waited_for_is_told(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """The tokens are ended; what lives beside them is named with its end, and once over is none."""
    ledger = tmp_path / "job.jsonl"
    left = leaves(ledger, age=LONG)
    about: dict[str, Any] = {
        "lease": str(next(read(ledger))["lease"]),
        "target": target(openbao),
        "age": LONG,
    }
    for name, life in (("gcp/token/ended", timedelta()), ("gcp/token/x", timedelta(hours=1))):
        about |= {"handle": f"expiring:{name}", "expires_at": datetime.now(UTC) + life}
        tell(ledger, Event.ISSUED, **about)
    (row,) = reap(reaper, ledger, code=9)
    assert row["why"].startswith("gcp/token/x: nobody can end it before it ends by itself at ")
    assert "gcp/token/ended" not in row["why"]
    assert alive(openbao, left) == [False, False]


def test_without_the_right_the_policy_is_said(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """Nothing is recorded as ended; the line to add to the policy is in the message."""
    left = leaves(tmp_path / "job.jsonl", age=LONG)
    openbao.client().write_data("sys/policies/acl/crash-reaper", data={"policy": "# nothing\n"})
    (row,) = reap(reaper, tmp_path / "job.jsonl", code=9)
    assert 'path "auth/token/lookup-accessor" { capabilities = ["update"] }' in row["why"]
    assert alive(openbao, left) == [True, True]
    openbao.client().auth.token.revoke_accessor(left[0])


def test_a_reaper_that_cannot_log_in_ends_nothing_and_says_so(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """The rows say why; the exit code is that of the login's error."""
    left = leaves(tmp_path / "job.jsonl", age=LONG)
    openbao.client().delete("auth/jwt/role/crash-reaper")
    (row,) = reap(reaper, tmp_path / "job.jsonl", code=5)
    assert row["done"] == "failed"
    assert row["why"].startswith("the grant reap could not be used: ")
    openbao.client().auth.token.revoke_accessor(left[0])


def test_a_reaper_that_is_cancelled_leaves_no_login_of_its_own(
    reaper: Job, openbao: OpenBao, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """SIGTERM in the middle; what it had not ended stays on record for the next one."""
    left = leaves(tmp_path / "job.jsonl", age=LONG)
    watch = Watch(openbao)
    assert reaper.run(CANCELLED + words(tmp_path / "job.jsonl")[len(COMMAND) :]).returncode == 130
    watch.assert_revoked(logins=1)
    assert [row["done"] for row in reap(reaper, tmp_path / "job.jsonl")] == ["revoked"]
    assert alive(openbao, left) == [False, False]


CANCELLED = [
    *(COMMAND[0], "-I", "-c"),
    """
import os, signal, sys
from ci_identity.reaping import vault
vault._Ending.result = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
from ci_identity.cli import main
sys.exit(main(sys.argv[1:]))
""",
]


def test_a_grant_with_another_namespace_for_logins_is_no_reapers(
    reaper: Job, tmp_path: Path, leaves: Callable[..., tuple[str, ...]]
) -> None:
    """The calls go where the logins are: that is the one namespace to write."""
    leaves(tmp_path / "job.jsonl", age=LONG)
    grants = Path(reaper.environ["CI_IDENTITY_GRANTS"])
    text = grants.read_text().replace(
        "role: crash-reaper,", "role: crash-reaper, namespace: a, auth_namespace: b,"
    )
    grants.write_text(text)
    done = subprocess.run(
        words(tmp_path / "job.jsonl"), env=reaper.environ, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"has an auth_namespace of its own" in done.stderr
