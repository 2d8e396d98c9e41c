"""What holds under load: many jobs at once, many sessions in one process, many leases to reap.

    make reliability                         # writes benchmarks/reliability.json
    python benchmarks/reliability.py --jobs 20 --sessions 50 --leases 999

    jobs       `ci-identity exec` in a process of its own for each job, all started at once, against
               one OpenBao, with one ledger for all: what is left alive, and whether the chain holds
    sessions   `ci_identity.session(...)` entered and left, one after the other in one process: file
               descriptors, threads and memory, after a tenth of them and after the last
    leases     `reap` without anybody to ask: ledgers of 200 leases each, read and verified, and a
               plan made of them; the second figure is that of the plan alone

Nothing is retried by the benchmark: a job that failed is counted.
"""
# ruff: noqa: INP001, S603, T201
# a script that prints what it measures, and runs nothing but ourselves

import argparse
import json
import os
import platform
import resource
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hvac.exceptions

import ci_identity
from ci_identity.ledger.entry import FIRST_PREV, Entry, Event
from ci_identity.ledger.verify import read, verify
from ci_identity.model import AwsTarget, Grant
from ci_identity.reaping.aws import AwsReaper
from ci_identity.reaping.kinds import unreached
from ci_identity.reaping.ledgers import find, listen
from ci_identity.reaping.plan import Asked, Verdict, plan
from ci_identity.sandbox.world import GRANT, World

Figures = Mapping[str, Any]

EXEC = (sys.executable, "-I", "-m", "ci_identity", "exec", "--grant", GRANT, "--", "true")
LEASES_A_LEDGER = 200
ROLE = "arn:aws:iam::123456789012:role/deploy-web"


# ── many jobs at once ────────────────────────────────────────────────────────────────────────


def measure_jobs(world: World, state: Path, count: int) -> Figures:
    """Run `count` jobs at once, and say what they left at the server and in their ledger."""
    before = _tokens(world)
    environs = [_job(world, state) for _ in range(count)]
    start = time.monotonic()
    jobs = [
        subprocess.Popen(
            EXEC,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for environ in environs
    ]
    said = [job.communicate()[1] for job in jobs]
    seconds = time.monotonic() - start
    failed = [text.decode() for job, text in zip(jobs, said, strict=True) if job.returncode]
    for text in failed:
        print(text, file=sys.stderr)
    ledger = state / "ledger.jsonl"
    events = [entry["event"] for entry in read(ledger)]
    return {
        "jobs": count,
        "failed": len(failed),
        "seconds": round(seconds, 1),
        "tokens_left_alive": len(_tokens(world) - before),
        "leases_revoked": events.count("revoked"),
        "ledger_entries": verify(ledger).entries,
        "ledger_intact": True,  # else `verify` had raised
    }


def _job(world: World, state: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    own = {"PATH": os.environ["PATH"], "CI_IDENTITY_STATE_DIR": str(state)}
    # GitLab's: it has its token in a variable, so that nobody waits for the sandbox to make one.
    return kept | world.environ("gitlab") | own


def _tokens(world: World) -> set[str]:
    """Return the accessors of the tokens that live at the server."""
    root = world.openbao.client()
    found: set[str] = set()
    for accessor in root.list("auth/token/accessors")["data"]["keys"]:
        try:
            root.auth.token.lookup_accessor(accessor)
        except hvac.exceptions.VaultError:
            continue  # listed, and ended
        found.add(accessor)
    return found


# ── many sessions in one process ─────────────────────────────────────────────────────────────


def measure_sessions(world: World, state: Path, count: int) -> Figures:
    """Open and close `count` sessions in this process, and say what grew meanwhile."""
    environ = _job(world, state)
    start = time.monotonic()
    early = {}
    for number in range(1, count + 1):
        with ci_identity.session(GRANT, environ=environ) as session:
            pass
        if session.outcome is not ci_identity.Outcome.REVOKED:
            message = f"session {number} ended as {session.outcome}"
            raise RuntimeError(message)
        if number == max(count // 10, 1):
            early = _held()
    seconds = time.monotonic() - start
    return {
        "sessions": count,
        "seconds": round(seconds, 1),
        "after_a_tenth": early,
        "after_the_last": _held(),
    }


def _held() -> dict[str, int]:
    """Return how much of what can leak this process holds."""
    deadline = time.monotonic() + 5
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread that was told to end takes a moment
    return {
        "file_descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  # as text
        "threads": threading.active_count(),
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


# ── many leases to reap ──────────────────────────────────────────────────────────────────────


def measure_leases(folder: Path, count: int) -> Figures:
    """Plan what is to be done about `count` leases, each with four entries in a ledger."""
    for number in range(0, count, LEASES_A_LEDGER):
        _write_ledger(folder / f"{number:07}.jsonl", min(LEASES_A_LEDGER, count - number))
    cutter = Grant(name="cut", conditions={}, target=AwsTarget(role=f"{ROLE}-reaper", region=""))
    start, started = time.monotonic(), time.process_time()
    told = listen(find([folder]))
    read_at = time.monotonic()
    planned = plan(
        told.leases, [AwsReaper(cutter)], Asked(), datetime.now(UTC), otherwise=unreached
    )
    end = time.monotonic()
    return {
        "leases": count,
        "to_end": sum(one.verdict is Verdict.END for one in planned),
        "mebibytes": round(sum(path.stat().st_size for path in find([folder])) / 2**20),
        "seconds_to_read_and_verify": round(read_at - start, 2),
        "seconds_to_plan": round(end - read_at, 2),
        "seconds_of_cpu": round(time.process_time() - started, 2),
    }


def _write_ledger(path: Path, count: int) -> None:
    identity = {
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:acme/shop:environment:production",
        "repository": "acme/shop",
        "run": "9001/1",
        "job": "deploy",
    }
    now, prev, lines = datetime.now(UTC), FIRST_PREV, list[bytes]()
    for _ in range(count):
        lease = secrets.token_hex(8)
        user = f"session:AROAEXAMPLE000000000:acme.shop-9001.1-deploy-web-{lease}"
        for event in (Event.REQUESTED, Event.ISSUED, Event.DELIVERED, Event.EXPIRES):
            entry = Entry(
                event=event,
                lease=lease,
                grant="deploy-web",
                target=ROLE,
                identity=identity,
                at=now,
                expires_at=now + timedelta(minutes=15),
                handle=None if event is Event.REQUESTED else user,
            ).chained(prev)
            prev = entry.hash
            lines.append(entry.to_line())
    path.write_bytes(b"".join(lines))


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description="What holds under load.")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--leases", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1),
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-reliability-") as folder, World() as world:
        for name in ("jobs", "sessions", "leases"):
            Path(folder, name).mkdir(mode=0o700)
        figures["jobs"] = measure_jobs(world, Path(folder, "jobs"), args.jobs)
        print(json.dumps(figures["jobs"]))
        figures["sessions"] = measure_sessions(world, Path(folder, "sessions"), args.sessions)
        print(json.dumps(figures["sessions"]))
        figures["leases"] = measure_leases(Path(folder, "leases"), args.leases)
        print(json.dumps(figures["leases"]))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
