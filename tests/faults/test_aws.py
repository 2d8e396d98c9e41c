"""STS and the token endpoint fail, at the first exchange and while a step is served."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.exchangers.aws.stage import KEY, ROLE, TOKEN, Sts
from tests.faults.between import BROKEN, Between
from tests.faults.stage import IMPATIENT, IS_THOROUGH, LONGEST, Ended
from tests.step import Job

PATIENT_STEP = """
import json, os, sys, time, urllib.error, urllib.request
asked = urllib.request.Request(
    os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
    headers={"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
)
for _ in range(int(sys.argv[1])):
    try:
        with urllib.request.urlopen(asked) as answer:
            json.load(answer)["SecretAccessKey"]
            print(answer.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
    time.sleep(0.5)
"""
CASES = [fault for number, fault in enumerate(BROKEN) if IS_THOROUGH or number % 3 == 0]
WHILE_SERVED = [*BROKEN] if IS_THOROUGH else ["reset", "half a body", "page"]


class Aws:
    """A job with grants for AWS, and something between it and STS, and its token endpoint."""

    def __init__(self, world: World, folder: Path, tokens: Between, front: Between) -> None:
        self.tokens, self.front = tokens, front
        self.job = Job.of(world, folder / "state")
        url = self.job.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
        found = f"{{issuer: {json.dumps(world.issuer.address)}, repository: acme/shop}}"
        lines = ["version: 1", "grants:"]
        for name, ttl in (("deploy-web", "15m"), ("deploy-soon", "3s")):
            lines += [f"  {name}:", f"    for: {found}", f"    ttl: {ttl}"]
            lines += [f"    aws: {{role: '{ROLE}', region: eu-west-1}}"]
        grants = folder / "grants.yml"
        grants.write_text("\n".join(lines))
        self.job.environ.update(
            CI_IDENTITY_GRANTS=str(grants),
            AWS_ENDPOINT_URL_STS=front.address,
            ACTIONS_ID_TOKEN_REQUEST_URL=url.replace(world.issuer.address, tokens.address),
        )
        self.secrets = {KEY, TOKEN, self.job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}

    def exec(self, grant: str, *command: str, before: tuple[str, ...] = ()) -> Ended:
        """Run a command with a grant."""
        argv = [*before, *IMPATIENT, "exec", "--grant", grant, "--", *command]
        ended = Ended(self.job.run(argv, timeout=LONGEST))
        ended.assert_sound(self.secrets)
        left = [path.read_text() for path in self.job.state.rglob("*") if path.is_file()]
        assert not any(secret in text for secret in self.secrets for text in left)
        return ended


@pytest.fixture
def sts() -> Iterator[Sts]:
    """An STS that works."""
    with Sts() as sts:
        yield sts


@pytest.fixture
def aws(world: World, sts: Sts, tmp_path: Path) -> Iterator[Aws]:
    """A job with grants for AWS, whose servers fail as they are told."""
    with Between(world.issuer.address) as tokens, Between(sts.address) as front:
        yield Aws(world, tmp_path, tokens, front)


@pytest.mark.parametrize("fault", CASES)
def test_sts_fails_for_good(aws: Aws, fault: str) -> None:
    """One clear error, nothing is delivered; what may have been issued is named by its session."""
    aws.front.fault = BROKEN[fault]
    ended = aws.exec("deploy-web", "true")
    assert ended.code == 125
    assert aws.job.events() == ["requested", "failed"]
    if aws.front.passed:
        assert "a session that nobody has lives for 900 s; its name is acme.shop-" in ended.stderr


@pytest.mark.parametrize("where", ["tokens", "front"])
@pytest.mark.parametrize("fault", WHILE_SERVED)
def test_a_renewal_that_fails_for_good(aws: Aws, where: str, fault: str) -> None:
    """The step is served to the end of what there is and then refused; log and ledger say why."""
    between: Between = getattr(aws, where)
    between.fault, between.spared = BROKEN[fault], 1
    ended = aws.exec("deploy-soon", sys.executable, "-c", PATIENT_STEP, "9")
    said = ended.stdout.split()
    assert said[0] == "200"
    assert said[-1] == "403"
    assert said == sorted(said)
    assert ended.code == 0
    assert "deploy-soon: not renewed, ends at" in ended.stderr
    events = aws.job.events()
    assert "refreshed" in events
    assert events[-1] == "expires"


@pytest.mark.parametrize("where", ["tokens", "front"])
def test_a_renewal_that_fails_once(aws: Aws, where: str) -> None:
    """It is tried again, and the step never knows."""
    between: Between = getattr(aws, where)
    between.fault, between.spared, between.times = BROKEN["503"], 1, 1
    ended = aws.exec("deploy-soon", sys.executable, "-c", PATIENT_STEP, "9")
    assert ended.code == 0
    assert set(ended.stdout.split()) == {"200"}


@pytest.mark.parametrize("minutes", [-10, 10])
def test_sts_whose_clock_is_ten_minutes_off(aws: Aws, sts: Sts, minutes: int) -> None:
    """What is told to the step is by our clock, and that they differ is said."""
    sts.ahead = 60 * minutes
    ended = aws.exec("deploy-web", sys.executable, "-c", PATIENT_STEP, "1")
    assert ended.code == 0
    assert ended.stdout == "200\n"
    assert re.search("this machine's clock is (599|60[0-2]) s", ended.stderr)


def test_no_proc(aws: Aws) -> None:
    """Where it cannot be told who asks the bearer alone decides, and the log says so."""
    mount = 'mount -t tmpfs none /proc && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root may mount")
    ended = aws.exec("deploy-web", sys.executable, "-c", PATIENT_STEP, "1", before=before)
    assert (ended.code, ended.stdout) == (0, "200\n")
    assert "this system cannot tell which process asks" in ended.stderr


@pytest.mark.parametrize("count", range(5, 16, 2))
def test_few_descriptors(aws: Aws, count: int) -> None:
    """Wherever the last one is missing: one clear error, or a step that runs; never a secret."""
    before = ("prlimit", f"--nofile={count}", "--")
    ended = aws.exec("deploy-web", "true", before=before)
    assert ended.code in {0, 125, 126}
    assert aws.job.events()[0] == "requested"
    assert ("delivered" in aws.job.events()) == (ended.errors == [])
