"""actions/credentials, run by act and a real node: what the steps of a job have of it."""

import re
import sys

from ci_identity.sandbox.world import World
from tests.actions.shop import CHECKOUT, SHELL, Shop, VaultUse, aws_use, step, uses
from tests.aws.world import AwsWorld
from tests.docs.pages import page
from tests.step import Watch

ASK = """
import os, urllib.error, urllib.request
url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
with open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) as file:
    request = urllib.request.Request(url, headers={"Authorization": file.read()})
try:
    with urllib.request.urlopen(request) as answer:
        said = answer.status
except urllib.error.HTTPError as error:
    said = error.code
"""
"""What an SDK does, and says the status instead of hiding it."""

LEFT_BEHIND = f"""
import os, time
if os.fork():
    os._exit(0)
os.setsid()
while not os.path.exists("the-end"):
    exec({ASK!r})
    with open("said", "a") as file:
        file.write(f"{{said}}\\n")
    time.sleep(0.1)
"""


def without_figures(line: str) -> str:
    return re.sub(r"\d+", "0", line)


def write_scripts(shop: Shop) -> None:
    """Add to the repository what asks once, and what asks for ever in a session of its own."""
    (shop.folder / "ask.py").write_text(f"{ASK}\nprint('asked:', said)")
    (shop.folder / "leave.py").write_text(LEFT_BEHIND)


def test_the_example(aws_shop: Shop, aws: AwsWorld) -> None:
    """One workflow and no grants file: the step that is named uploads, by one exchange."""
    ran = aws_shop.run("deploy.yml")
    assert ran.code == 0, ran.output
    assert [call.action for call in aws.calls()] == ["AssumeRoleWithWebIdentity", "PutObject"]
    assert "aws: expires at" in ran.output
    assert "| aws | " in ran.output.partition("Summary - ### ci-identity")[2]
    assert not [secret for secret in aws.issued() if secret in ran.output]
    shown = re.findall(r"(?m)^    (ci-identity: aws: .*)", page("how-to/github.md"))
    assert len(shown) == 6
    assert not {without_figures(line) for line in shown} - set(map(without_figures, ran.lines))


def test_steps_that_are_not_named(aws_shop: Shop, aws: AwsWorld) -> None:
    """Another step is refused, which is on record; the named one is served before and after."""
    write_scripts(aws_shop)
    ask = f"{sys.executable} ask.py"
    steps = (step("upload", ask), step("other", ask), step("again", ask))
    ran = aws_shop.run_job(CHECKOUT, aws_use("upload\nagain"), *steps)
    assert ran.code == 0, ran.output
    asked = [line for line in ran.lines if line.startswith("asked:")]
    assert asked == ["asked: 200", "asked: 403", "asked: 200"]
    assert "refused" in ran.output.partition("Run Post")[2]
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1


def test_what_an_earlier_step_left_behind(aws_shop: Shop) -> None:
    """A background process is refused all the while, also as the step runs that is served."""
    write_scripts(aws_shop)
    python = sys.executable
    wait = "until [ $(wc -l < said) -gt $1 ]; do sleep 0.05; done"
    served = f"{python} ask.py; set -- $(($(wc -l < said) + 3)); {wait}; touch the-end"
    steps = (step("build", f"{python} leave.py; set -- 0; {wait}"), step("upload", served))
    ran = aws_shop.run_job(CHECKOUT, aws_use("upload"), *steps, step("show", "sort -u said"))
    assert ran.code == 0, ran.output
    assert [line for line in ran.lines if re.fullmatch(r"asked: \d+|\d+", line)] == [
        "asked: 200",
        "403",
    ]


def test_a_secret_of_vault(shop: Shop, world: World, watch: Watch, vault_use: VaultUse) -> None:
    """The named step gets it from the agent; no log, file or other step of the job does."""
    show = 'echo "the password is $DB_PASSWORD"'
    files = "cat $GITHUB_ENV $GITHUB_OUTPUT $GITHUB_STATE; env"
    ran = shop.run_job(
        uses("setup"),
        vault_use("migrate"),
        step("migrate", show, SHELL),
        step("look", files),
        step("other", show, SHELL) | {"continue-on-error": True},
    )
    assert ran.code == 0, ran.output
    assert ran.lines.count("the password is [MASKED]") == 1
    assert "held by the job's agent until the job ends" in ran.output
    assert world.secrets["password"].reveal() not in "\n".join(ran.lines)
    assert not [token for token in watch.tokens if token in ran.output]
    watch.assert_revoked()


def test_delivery_by_variables(shop: Shop, world: World, watch: Watch, vault_use: VaultUse) -> None:
    """`env` is said to be what it is; every later step has the value, which the CI masks."""
    show = 'test -n "$DB_PASSWORD" && echo "the password is $DB_PASSWORD"'
    ran = shop.run_job(vault_use("all", delivery="env"), step("any", show))
    assert ran.code == 0, ran.output
    assert "delivery is env: every later step of the job can read DB_PASSWORD" in ran.output
    assert "the password is ***" in ran.lines
    assert world.secrets["password"].reveal() not in "\n".join(ran.lines)
    watch.assert_revoked()


def test_two_uses_in_one_job(shop: Shop, watch: Watch, vault_use: VaultUse) -> None:
    """Each has what is its own, and ends it, the later one first."""
    show = 'echo "have ${#DB_PASSWORD} ${#DB_USER}"'
    both = SHELL.replace("--grant vault", "--grant vault --grant migrate-db")
    ran = shop.run_job(
        CHECKOUT,
        uses("setup"),
        vault_use("one", vault_secrets="LICENCE: secret/data/shop#licence"),
        uses("credentials", grants="migrate-db", steps="migrate"),
        step("one", "echo have ${#LICENCE} ${#DB_PASSWORD}", SHELL),
        step("migrate", show, SHELL.replace("vault", "migrate-db")),
        step("neither", show, both) | {"continue-on-error": True},
    )
    assert ran.code == 0, ran.output
    assert "have 98 0" in ran.lines
    assert "have 32 4" in ran.lines
    ended = re.findall(r"(vault|migrate-db): revoked; the server confirmed it", ran.output)
    assert list(dict.fromkeys(ended)) == ["migrate-db", "vault"]
    watch.assert_revoked(watch.logins)
