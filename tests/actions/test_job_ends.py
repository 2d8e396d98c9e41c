"""actions/credentials, run by act and a real node: however a job ends, what it had ends."""

import json
import signal
import time
from collections.abc import Callable

import pytest

from tests.actions.shop import Shop, VaultUse, step
from tests.step import Watch

LONG = step("long", "echo it runs; sleep 60")


def test_a_step_that_fails(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """The job fails for it, and what was issued is revoked all the same."""
    ran = shop.run_job(vault_use("migrate"), step("migrate", "exit 3"))
    assert ran.code != 0
    assert "vault: revoked; the server confirmed it" in ran.output
    watch.assert_revoked()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"vault_role": "none-such"}, "error[vault-role]"),
        ({"vault_secrets": "DB_PASSWORD"}, "the input `vault-secrets`, line 1,"),
        ({"steps": ""}, "the input `steps` is missing"),
        ({"grants": "migrate-db"}, "the inputs name `grants` and `vault-...`"),
    ],
    ids=["refused by the server", "a malformed input", "no steps", "two kinds"],
)
def test_main_that_fails(
    shop: Shop,
    watch: Watch,
    vault_use: VaultUse,
    inputs: dict[str, str],
    said: str,
) -> None:
    """The step fails and says why, no later step runs, and `post` has nothing to end."""
    inputs = {"steps": "migrate"} | inputs
    ran = shop.run_job(vault_use(inputs.pop("steps"), **inputs), step("migrate", "echo it runs"))
    assert ran.code != 0
    assert said in ran.output, ran.output
    assert "it runs" not in ran.lines
    assert "Success - Post" in ran.output
    assert "error[" not in ran.output.partition("Run Post")[2]
    assert watch.logins == 0


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM], ids=lambda it: it.name)
def test_a_job_that_is_cancelled(shop: Shop, watch: Watch, vault_use: VaultUse, signo: int) -> None:
    """`post` revokes after a step that was cancelled."""
    output = shop.cancel_job(vault_use("all"), LONG, when=[("| it runs", signo)])
    assert "vault: revoked; the server confirmed it" in output
    watch.assert_revoked()


def test_a_job_that_is_cancelled_twice(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """A second signal kills `post`; the agent, once told, revokes by itself."""
    when = [("| it runs", signal.SIGINT), ("Run Post", signal.SIGINT)]
    shop.cancel_job(vault_use("all"), LONG, when=when)
    eventually(watch.assert_revoked)


def eventually(check: Callable[[], None], seconds: float = 20.0) -> None:
    """Wait until a check holds, which nobody tells us of."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def test_a_pull_request_of_a_fork(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """GitHub gives it no id token: one clear error, and nobody is asked."""
    sides = {"base": {"repo": {"id": 42}}, "head": {"repo": {"id": 666}}}
    (shop.folder / "event.json").write_text(json.dumps({"pull_request": sides}))
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        shop.variables.pop(name)
    ran = shop.run_job(vault_use("all"), step("any", "echo it runs"), on="pull_request")
    assert ran.code != 0
    assert "error[identity-fork]" in ran.output
    assert "it runs" not in ran.lines
    assert watch.logins == 0
