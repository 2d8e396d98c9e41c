"""An earlier step that sets variables and PATH: what it can change, and who says so."""

import json
import re
import signal
import sys

from tests.actions.shop import ACTIONS, SHELL, Shop, VaultUse, WorkflowStep, aws_use, step, uses
from tests.aws.world import AwsWorld
from tests.step import Watch


def poison(shop: Shop, *, path: bool = False, **variables: str) -> WorkflowStep:
    """Return a step that sets variables, and a folder of PATH, for all later steps of its job."""
    planted = shop.folder.parent / "planted"
    planted.mkdir()
    for name in ("sitecustomize", "usercustomize", "json", "requests"):
        (planted / f"{name}.py").write_text(f"open({str(planted / 'ran')!r}, 'w')")
    (planted / "python3").write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 "$@"\n')
    (planted / "python3").chmod(0o700)
    given = {"PYTHONPATH": str(planted), "PYTHONSTARTUP": str(planted / "sitecustomize.py")}
    lines = [f"echo {name}={value} >> $GITHUB_ENV" for name, value in (given | variables).items()]
    lines += [f"echo {planted} >> $GITHUB_PATH"] if path else []
    return step("poison", "\n".join(lines))


NOWHERE = "http://127.0.0.1:9"
LEDGER = step("ledger", "cat $RUNNER_TEMP/ci-identity/ledger.jsonl")


def steering(lines: list[str]) -> set[str]:
    """Return what steered us by the ledger's entries, among these lines."""
    entries = [json.loads(line) for line in lines if line.startswith('{"')]
    assert entries
    return {name for entry in entries for name in entry.get("steered_by") or ()}


def test_a_step_that_was_poisoned_before_us(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """What the grant fixes stays so, whatever an earlier step has set: nobody else is asked."""
    planted = {"VAULT_ADDR": NOWHERE, "VAULT_TOKEN": "planted", "HTTP_PROXY": NOWHERE}
    planted |= {"AWS_PROFILE": "planted", "INPUT_GRANTS": "migrate-db", "INPUT_TTL": "1s"}
    poisoned = poison(shop, path=False, **planted)
    show = step("migrate", 'echo "the password is $DB_PASSWORD"', SHELL)
    ran = shop.run_job(uses("setup"), poisoned, vault_use("migrate"), show, LEDGER)
    assert ran.code == 0, ran.output
    assert ran.lines.count("the password is [MASKED]") == 1
    assert steering(ran.lines) == set()
    assert not (shop.folder.parent / "planted" / "ran").exists()
    watch.assert_revoked()


def test_a_planted_proxy_and_ca(shop: Shop) -> None:
    """They are how the world is reached: taken, but named before anything is sent, and recorded."""
    ledger = shop.folder.parent / "ledger.jsonl"
    ca = shop.folder.parent / "planted.pem"
    ca.write_text((ACTIONS / "dist" / "certifi" / "cacert.pem").read_text())
    poisoned = poison(
        shop, HTTPS_PROXY=NOWHERE, AWS_CA_BUNDLE=str(ca), CI_IDENTITY_LEDGER=str(ledger)
    )
    when = [("aws: steered by", signal.SIGINT)]  # nobody answers there, and it would try again
    output = shop.cancel_job(poisoned, aws_use("all"), when=when)
    (said,) = [line for line in output.splitlines() if "steered by" in line]
    assert {"HTTPS_PROXY", "AWS_CA_BUNDLE"} <= set(re.findall(r"\w+", said))
    assert {"HTTPS_PROXY", "AWS_CA_BUNDLE"} <= steering(ledger.read_text().splitlines())


def test_a_planted_address_of_aws(aws_shop: Shop, aws: AwsWorld) -> None:
    """The grant names none for STS: the environment's is taken, which is said and recorded."""
    for name in aws.environ:
        aws_shop.variables.pop(name)
    poisoned = poison(aws_shop, AWS_ENDPOINT_URL_STS=aws.address)
    ran = aws_shop.run_job(poisoned, aws_use("all"), LEDGER)
    assert ran.code == 0, ran.output
    assert "aws: steered by AWS_ENDPOINT_URL_STS" in ran.output
    assert steering(ran.lines) == {"AWS_ENDPOINT_URL_STS"}
    assert [call.action for call in aws.calls()] == ["AssumeRoleWithWebIdentity"]


def test_planted_grants(shop: Shop, watch: Watch) -> None:
    """A grants file that the environment names is named; the server has the last word."""
    grants = (shop.folder / ".ci-identity.yml").read_text()
    planted = shop.folder.parent / "planted.yml"
    planted.write_text(grants.replace("[shop-db]", "[root]"))
    use = uses("credentials", grants="migrate-db", steps="migrate")
    ran = shop.run_job(
        poison(shop, CI_IDENTITY_GRANTS=str(planted)), use, LEDGER | {"if": "always()"}
    )
    assert ran.code != 0
    assert "steered by CI_IDENTITY_GRANTS" in ran.output
    assert steering(ran.lines) == {"CI_IDENTITY_GRANTS"}
    watch.assert_revoked(watch.logins)


def test_a_planted_python_is_named(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """A script is passed over while there is a program; whichever it is, the log says so."""
    ran = shop.run_job(poison(shop, path=True), vault_use("all"))
    assert ran.code == 0, ran.output
    (line,) = [line for line in ran.lines if "run by" in line]
    assert line.startswith("ci-identity: run by /")
    assert "planted" not in line
    watch.assert_revoked()
