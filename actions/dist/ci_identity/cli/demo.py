"""`ci-identity demo`: the whole path once, on a real server, in a local world of its own."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from ci_identity._http import HttpSession
from ci_identity._network import Network
from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import has_colour, paint, print_table
from ci_identity.errors import CiIdentityError
from ci_identity.sandbox.world import GRANT, World
from ci_identity.sources import detect

_EXAMPLE = "  ci-identity demo"

_STEP = """\
echo "connecting as $DB_USER with the password $DB_PASSWORD"
echo "and in base64, as logs often have it: $(printf %s "$DB_PASSWORD" | base64)"
echo "can this step ask for more tokens? ${ACTIONS_ID_TOKEN_REQUEST_URL:-no}"
"""

_MALLORY = {"repository": "mallory/shop", "repository_id": "666", "repository_owner": "mallory"}


def main(words: Sequence[str]) -> int:
    """Play two acts; 0 if everything went as it should."""
    parser = Parser(
        "demo",
        "Start a local OIDC issuer and a real OpenBao, and run one job's step through the whole\n"
        "path there: identity, decision, lease, redacted output, revocation. Then a job that\n"
        "the grant is not for. Nothing leaves this machine, and nothing is left behind.",
        example=_EXAMPLE,
    )
    parser.parse_args(words)
    with World() as world:
        is_revoked = _first_act(world)
        is_denied = _second_act(world)
    _say("Everything this demo started has been stopped, and its files are gone.")
    if not (is_revoked and is_denied):
        message = "the demo did not go as it should: see above"
        raise CiIdentityError(message)
    return 0


def _first_act(world: World) -> bool:
    _title("1. A job of acme/shop runs one step with one grant")
    environ = world.environ()
    job = detect(environ)
    if job is not None:
        _say("Who is the job? Its OIDC token says (nothing is stored anywhere):")
        print_table(
            (name, getattr(job, name) or "-")
            for name in ("issuer", "subject", "repository", "repository_id", "ref", "run", "job")
        )
    _say("Is the grant for this job? Decided here, before any server is asked:")
    _run(["explain", GRANT], environ)
    _say("The step runs. It has the secret; its log does not:")
    code = _run(["exec", "--grant", GRANT, "--", "sh", "-c", _STEP], environ)
    _say("What does the server say to those tokens now? Its own audit log has them:")
    return code == 0 and _show_dead_tokens(world)


def _show_dead_tokens(world: World) -> bool:
    """Read the secret with each token that the server issued; True if each of them is refused."""
    client, url = HttpSession(Network()), f"{world.openbao.address}/v1/secret/data/shop"
    rows = [("token", "policies", "reads secret/data/shop now")]
    statuses: list[int] = []
    for entry in world.openbao.audit():
        path: str = entry["request"]["path"]
        if entry["type"] != "response" or not path.endswith(("/login", "/create")):
            continue
        made: Any = entry.get("auth") if path.endswith("/login") else entry["response"]["auth"]
        answer = client.get(url, headers={"X-Vault-Token": made["client_token"]})
        statuses.append(answer.status)
        what = "the login's" if path.endswith("/login") else "the step's"
        said = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        rows.append((what, ", ".join(made["policies"]), said))
    print_table(rows)
    return len(statuses) == 2 and set(statuses) == {403}  # noqa: PLR2004  # both refused


def _second_act(world: World) -> bool:
    _title("2. A job of mallory/shop wants the same grant")
    environ = world.environ(claims=_MALLORY)
    before = len(world.openbao.audit())
    _run(["explain", GRANT], environ)
    code = _run(["exec", "--grant", GRANT, "--", "sh", "-c", _STEP], environ)
    asked = len(world.openbao.audit()) - before
    _say(f"exec exits with {code}; the step never started.")
    _say(f"Requests that the server has seen meanwhile: {asked}. It was never asked.")
    return code == 125 and asked == 0  # noqa: PLR2004  # what exec has for failures of its own


def _run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command of ours as a job would, and play the runner: show its log, keep its masks."""
    shown = " ".join(words) if "\n" not in words[-1] else " ".join([*words[:-1], "'...'"])
    print(paint(f"  $ ci-identity {shown}", "bold"))
    colour = {"FORCE_COLOR": "1"} if has_colour(sys.stdout) else {"NO_COLOR": "1"}
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-I", "-m", "ci_identity", *words],
        env={"PATH": "/usr/bin:/bin"} | dict(environ) | colour,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    masks = 0
    with process:
        for line in process.stdout or ():
            if line.startswith("::add-mask::"):
                masks += 1
            else:
                print(f"  {paint('|', 'dim')} {line}", end="")
    if masks:
        print(paint(f"  ({masks} lines were for GitHub's runner: what to mask)", "dim"))
    return process.returncode


def _title(text: str) -> None:
    print(f"\n{paint(text, 'blue', 'bold')}")


def _say(text: str) -> None:
    print(f"\n{text}")
    sys.stdout.flush()
