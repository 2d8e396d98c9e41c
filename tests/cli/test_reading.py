"""The commands that only read: for people and as JSON, with the exit code that tells."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ci_identity.sandbox.world import World
from tests.step import COMMAND, EXEC, Job, Watch


def read(job: Job, *words: str, code: int = 0) -> str:
    done = job.run([*COMMAND, *words])
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


def read_json(job: Job, *words: str, code: int = 0) -> Any:  # whatever JSON it is
    return json.loads(read(job, *words, "--json", code=code))


# ── whoami ───────────────────────────────────────────────────────────────────────────────────


def test_whoami(job: Job) -> None:
    """whoami shows the identity and every claim."""
    shown = read(job, "whoami")
    assert re.search(r"(?m)^  repository +acme/shop$", shown)
    assert re.search(r"(?m)^  job_workflow_ref +acme/shop/.github/workflows/deploy.yml@", shown)
    assert re.search(r"(?m)^  fork +no$", shown)
    assert re.search(r"(?m)^  debug +no$", shown)


def test_whoami_writes_a_time_in_one_way(job: Job) -> None:
    """The time is ISO 8601 with its offset, for people and in JSON."""
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    assert re.search(rf"(?m)^  expires_at +{time}$", read(job, "whoami"))
    assert re.fullmatch(time, read_json(job, "whoami")["expires_at"])


def test_whoami_as_json(job: Job) -> None:
    """The JSON has the fields of a job's identity and the claims as they are."""
    shown = read_json(job, "whoami", "--audience", "https://elsewhere.test")
    assert shown["repository"] == shown["claims"]["repository"] == "acme/shop"
    assert shown["audience"] == ["https://elsewhere.test"]
    assert shown["claims"]["aud"] == "https://elsewhere.test"


def test_whoami_outside_of_ci(job: Job) -> None:
    """Outside of a CI job whoami says so, with 3."""
    done = job.run(["env", "-i", *COMMAND, "whoami"])
    assert done.returncode == 3
    assert done.stderr.startswith(b"error[identity-none]: ")


# ── explain ──────────────────────────────────────────────────────────────────────────────────


def test_explain_a_grant_that_is_given(job: Job, world: World) -> None:
    """Each claim is shown with what was wanted and what is there; the server is not asked."""
    watch = Watch(world.openbao)
    shown = read(job, "explain", "migrate-db")
    assert "migrate-db: given to this job" in shown
    assert re.search(r"(?m)^  yes +repository_id +42 +42$", shown)
    assert re.search(r"(?m)^  yes +ref +refs/heads/main +refs/heads/main$", shown)
    assert shown.splitlines()[-1].endswith(f"is for the audience {world.openbao.address}")
    said = read_json(job, "explain", "migrate-db")
    assert said["audience"] == world.openbao.address
    assert (said["grant"], said["mismatches"], said["allowed"]) == ("migrate-db", [], True)
    assert {"claim": "repository_id", "wanted": "42", "got": "42", "is_match": True} in said[
        "claims"
    ]
    assert [claim["claim"] for claim in said["claims"]] == [
        "issuer",
        "repository",
        "repository_id",
        "ref",
    ]
    assert watch.entries == []


def test_explain_shows_every_mismatch(world: World, tmp_path: Path) -> None:
    """A denial names all the claims that do not fit, not only the first, and is 4."""
    claims = {"repository": "mallory/shop", "repository_id": None, "ref": "refs/heads/evil"}
    job = Job.of(world, tmp_path, claims=claims)
    shown = read(job, "explain", "migrate-db", code=4)
    assert "migrate-db: denied to this job" in shown
    assert re.search(r"(?m)^  NO +repository +acme/shop +mallory/shop$", shown)
    assert re.search(r"(?m)^  NO +repository_id +42 +\(absent\)$", shown)
    assert re.search(r"(?m)^  NO +ref +refs/heads/main +refs/heads/evil$", shown)
    said = read_json(job, "explain", "migrate-db", code=4)
    assert said["allowed"] is False
    wrong = {mismatch["claim"]: mismatch["got"] for mismatch in said["mismatches"]}
    assert wrong == claims
    given = [claim["claim"] for claim in said["claims"] if claim["is_match"]]
    assert given == ["issuer"]
    assert {
        claim["claim"]: claim["got"] for claim in said["claims"] if not claim["is_match"]
    } == claims


def test_explain_of_a_grant_for_some_steps(job: Job, tmp_path: Path) -> None:
    """That the step is one of them is shown as well."""
    grants = tmp_path / "grants.yml"
    given = Path(job.environ["CI_IDENTITY_GRANTS"]).read_text()
    grants.write_text(given.replace("    for:", "    steps: [test, migrate]\n    for:", 1))
    shown = read(job, "explain", "migrate-db", "--grants", str(grants))
    assert re.search(r"(?m)^  yes +step +test or migrate +migrate$", shown)


def test_explain_of_another_step(job: Job) -> None:
    """A --step that is not the CI's own is a mismatch."""
    assert "NO" in read(job, "explain", "migrate-db", "--step", "other", code=4)
    assert "given" in read(job, "explain", "migrate-db", "--step", "migrate")


def test_explain_an_unknown_grant(job: Job) -> None:
    """A grant that is not in the file is 2."""
    done = job.run([*COMMAND, "explain", "migrate-bd"])
    assert done.returncode == 2
    assert done.stderr.startswith(b"error[grant-unknown]: ")


# ── check ────────────────────────────────────────────────────────────────────────────────────

UNWISE = """\
version: 1
grants:
  web:
    for:
      issuer: https://token.actions.githubusercontent.com
      repository: acme/shop
    vault: {address: https://vault.acme.example, role: web, secrets: {A: kv/data/a#b}}
"""
WRONG = UNWISE.replace("secrets: {A: kv/data/a#b}", "secrets: {A: nothing}")
STEPS_WITHOUT_IDS = """\
version: 1
grants:
  web:
    for: {issuer: https://gitlab.example.com, project_id: 1234, ref: main, ref_protected: true}
    steps: [deploy]
    vault: {address: https://vault.acme.example, role: web, secrets: {A: kv/data/a#b}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.yml"


def test_check_a_good_file(job: Job) -> None:
    """A file with nothing wrong is 0, and its grants are counted and named."""
    shown = read(job, "check")
    assert "1 grant (migrate-db), 0 errors, 0 warnings" in shown
    assert read_json(job, "check")["file"] == job.environ["CI_IDENTITY_GRANTS"]


def test_check_names_the_line(job: Job, file: Path) -> None:
    """What is valid but unwise is a warning with file, line, grant and a fix; the code stays 0."""
    file.write_text(UNWISE)
    shown = read(job, "check", "--grants", str(file))
    assert re.search(rf"(?m)^{file}:[3-7]: web: warning\[[a-z-]+\]: .+\n  fix: .+$", shown)
    findings = read_json(job, "check", "--grants", str(file))["findings"]
    assert findings
    assert all(finding["line"] in range(3, 8) for finding in findings)


def test_check_an_invalid_file(job: Job, file: Path) -> None:
    """An invalid file is 2; the message names the line."""
    file.write_text(WRONG)
    done = job.run([*COMMAND, "check", "--grants", str(file)])
    assert done.returncode == 2
    assert re.match(rb"error\[grants-invalid\]: .*(:|line )7\b", done.stderr)


def test_check_finds_an_error(job: Job, file: Path) -> None:
    """A lint finding that is an error is 2, also in JSON: `steps` where the CI has no step ids."""
    file.write_text(STEPS_WITHOUT_IDS)
    assert "error[" in read(job, "check", "--grants", str(file), code=2)
    findings = read_json(job, "check", "--grants", str(file), code=2)["findings"]
    assert any(finding["is_error"] for finding in findings)


# ── audit ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def head(job: Job) -> str:
    """The head that a run printed in its log."""
    done = job.run([*EXEC, "true"])
    found = re.search(r"ledger head: ([0-9a-f]{64})", done.stderr.decode())
    assert found
    return found[1]


@pytest.mark.usefixtures("head")
def test_audit_show(job: Job) -> None:
    """The ledger is shown as a table for people and as its own entries in JSON."""
    shown = read(job, "audit", "show")
    events = [line.split()[1] for line in shown.splitlines()]
    assert events == ["event", *job.events()]
    assert read_json(job, "audit", "show") == job.ledger()
    path = str(job.state / "ledger.jsonl")
    assert read(job, "audit", "show", "--ledger", path) == shown


@pytest.mark.usefixtures("head")
def test_audit_show_tells_when_a_lease_expires(job: Job) -> None:
    """The time at which it ends by itself has a column of its own."""
    header, *rows = (line.split() for line in read(job, "audit", "show").splitlines())
    shown = {row[header.index("expires")] for row in rows}
    assert shown == {entry["expires_at"] for entry in job.ledger()}


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize(
    ("cut_off", "last"),
    [(0, None), (1, "delivered"), (2, "issued"), (3, "issued"), (4, "requested"), (5, None)],
)
def test_audit_show_open(job: Job, cut_off: int, last: str | None) -> None:
    """A lease is open from its intent on, until its end is recorded; all handles are named.

    It is what a run that was killed leaves in the ledger: the first entries of a whole one.
    """
    path = job.state / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) - cut_off]))
    issued = [entry for entry in job.ledger() if entry["event"] == "issued"]
    found = read_json(job, "audit", "show", "--open")
    shown = read(job, "audit", "show", "--open")
    if last is None:
        assert found == []
        assert shown.split() == ["lease", "grant", "last", "expires", "handles", "target"]
        return
    (lease,), first = found, job.ledger()[0]
    assert lease["handles"] == [entry["handle"] for entry in issued]
    assert (lease["lease"], lease["grant"]) == (first["lease"], "migrate-db")
    assert (lease["last"], lease["target"]) == (last, first["target"])
    assert lease["expires_at"] == max(entry["expires_at"] for entry in job.ledger())
    assert " ".join(lease["handles"]) in shown


@pytest.mark.usefixtures("head")
def test_audit_show_keeps_a_lease_open_whose_revocation_failed(job: Job) -> None:
    """`failed` is no end: what was not revoked may be alive."""
    path = job.state / "ledger.jsonl"
    path.write_text(path.read_text().replace('"event":"revoked"', '"event":"failed"'))
    (lease,) = read_json(job, "audit", "show", "--open")
    assert lease["last"] == "failed"


@pytest.mark.usefixtures("head")
def test_audit_show_keeps_a_lease_open_until_it_expires(job: Job) -> None:
    """What the provider cannot revoke lives until its time is over, whatever the ledger ended."""
    path = job.state / "ledger.jsonl"
    whole = path.read_text().replace('"event":"revoked"', '"event":"expires"')
    path.write_text(
        re.sub(r'"expires_at":"[^"]*"', '"expires_at":"2999-01-01T00:00:00+00:00"', whole)
    )
    (lease,) = read_json(job, "audit", "show", "--open")
    assert lease["last"] == "expires"
    path.write_text(
        re.sub(r'"expires_at":"[^"]*"', '"expires_at":"2001-01-01T00:00:00+00:00"', whole)
    )
    assert read_json(job, "audit", "show", "--open") == []


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize("options", [[], ["--json"], ["--open"]])
def test_audit_show_warns_of_a_broken_chain(job: Job, options: list[str]) -> None:
    """A changed ledger is shown all the same, with one line on stderr that says so."""
    path = job.state / "ledger.jsonl"
    assert job.run([*COMMAND, "audit", "show", *options]).stderr == b""
    path.write_text(path.read_text().replace("acme/shop", "acme/shed", 1))
    done = job.run([*COMMAND, "audit", "show", *options])
    assert (done.returncode, bool(done.stdout)) == (0, True)
    (warning,) = done.stderr.decode().splitlines()
    assert warning.startswith("ci-identity: warning: ")
    assert "line 1: the chain is broken here" in warning


def test_audit_verify(job: Job, head: str) -> None:
    """An untouched ledger is intact, by itself and against the head from the log."""
    assert f"intact: 5 entries, head {head}" in read(job, "audit", "verify")
    assert "without --head" not in read(job, "audit", "verify", "--head", head)
    said = read_json(job, "audit", "verify", "--head", head)
    assert said == {"entries": 5, "head": head, "is_torn": False}


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_audit_verify_finds_tampering(job: Job, head: str, as_json: list[str]) -> None:
    """A changed entry is found, and so is one that was cut off, if the head is known: 8."""
    path = job.state / "ledger.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace("acme/shop", "acme/shed", 1))
    done = job.run([*COMMAND, "audit", "verify", *as_json])
    assert (done.returncode, done.stdout) == (8, b"")
    assert re.match(rb"error\[ledger-tampered\]: .*line 1", done.stderr)
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert job.run([*COMMAND, "audit", "verify", *as_json]).returncode == 0
    assert job.run([*COMMAND, "audit", "verify", "--head", head, *as_json]).returncode == 8


def test_audit_without_a_ledger(job: Job) -> None:
    """A ledger that is not there is 8, and says which file."""
    done = job.run([*COMMAND, "audit", "show"])
    assert done.returncode == 8
    assert done.stderr.startswith(b"error[ledger]: nothing was recorded here yet: ")
    assert str(job.state / "ledger.jsonl").encode() in done.stderr
    assert b"fix: name the ledger that the run wrote: --ledger FILE" in done.stderr


# ── doctor ───────────────────────────────────────────────────────────────────────────────────


def test_doctor(job: Job, tmp_path: Path) -> None:
    """doctor lists what is a usable secret by kind and place, never the value, with 0."""
    job.environ["AWS_SECRET_ACCESS_KEY"] = "wJalrXUtnFEMI-bPxRfiCYEXAMPLEKEY"
    job.environ["HOME"] = str(tmp_path)
    shown = read(job, "doctor", "env")
    assert "AWS_SECRET_ACCESS_KEY" in shown
    assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN" in shown
    assert "wJalrXUtn" not in shown
    places = " ".join(finding["place"] for finding in read_json(job, "doctor", "env"))
    assert "AWS_SECRET_ACCESS_KEY" in places


def test_doctor_with_nothing_to_find(job: Job, tmp_path: Path) -> None:
    """In an empty environment there is nothing, and doctor says so."""
    done = job.run(["env", "-i", f"HOME={tmp_path}", *COMMAND, "doctor", "env"], cwd=tmp_path)
    assert done.returncode == 0
    assert b"nothing found" in done.stdout
