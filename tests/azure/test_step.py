"""An Azure grant under `ci-identity exec`: Microsoft's own clients, at the addresses they know."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.aws import npm
from tests.azure.conftest import KEY_VAULT, LOGIN
from tests.azure.entra import CLIENT, TENANT, VAULT, Entra, error, says
from tests.azure.storage import Storage
from tests.azure.tls import Internet
from tests.step import COMMAND, Job

AZURE_IDENTITY = ("@azure/identity@4.13.0",)

DEFAULT = """
import sys
from azure.identity import DefaultAzureCredential
credential = DefaultAzureCredential()
"""
READ = f"""
import requests
token = credential.get_token("{VAULT}/.default").token
url = "https://{KEY_VAULT}/secrets/DB-PASSWORD?api-version=7.4"
answer = requests.get(url, headers={{"Authorization": f"Bearer {{token}}"}}, timeout=10)
print(answer.status_code, answer.json())
"""
MANAGED = f"""
from azure.identity import ManagedIdentityCredential
credential = ManagedIdentityCredential(client_id="{CLIENT}")
"""
MSAL = f"""
import msal, requests
client = msal.ManagedIdentityClient(
    msal.UserAssignedManagedIdentity(client_id="{CLIENT}"), http_client=requests.Session()
)
class credential:
    @staticmethod
    def get_token(scope):
        found = client.acquire_token_for_client(resource=scope.removesuffix("/.default"))
        return type("Token", (), {{"token": found["access_token"]}})
"""
JAVASCRIPT = """
import { DefaultAzureCredential } from "@azure/identity";
const credential = new DefaultAzureCredential();
for (let i = 0; i < 5; i++) {
  const found = await credential.getToken("https://vault.azure.net/.default");
  console.log("token of", Math.round((found.expiresOnTimestamp - Date.now()) / 60000), "min");
}
"""


def exec_with(*grants: str, options: tuple[str, ...] = ()) -> list[str]:
    named = [word for grant in grants for word in ("--grant", grant)]
    return [*COMMAND, "exec", *named, *options, "--"]


def python(*code: str) -> list[str]:
    return [sys.executable, "-c", "".join(code)]


def succeeded(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines(keepends=True)
    return "".join(line for line in said if not line.startswith("::add-mask::"))


# ── real clients ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made", [DEFAULT, MANAGED, MSAL], ids=["default", "managed", "msal"])
def test_python(job: Job, entra: Entra, internet: Internet, made: str) -> None:
    """azure-identity and msal find a token, and a Key Vault takes it; one call to Entra was made.

    Everybody is asked at the public address, and no `az` is anywhere.
    """
    said = succeeded(job.run([*exec_with("rotate"), *python(made, READ)]))
    assert said == "200 {'value': 'of-the-key-vault'}\n"
    assert entra.numbers == [0]
    assert entra.reads == ["/secrets/DB-PASSWORD?api-version=7.4"]
    assert internet.asked == [LOGIN, KEY_VAULT]
    assert job.events() == ["requested", "issued", "delivered", "accessed", "expires"]


def test_javascript(job: Job, entra: Entra, tmp_path: Path) -> None:
    """So does @azure/identity, as often as it likes."""
    client = npm.module(JAVASCRIPT, AZURE_IDENTITY, tmp_path)
    said = succeeded(job.run([*exec_with("rotate"), *client]))
    assert said == "token of 60 min\n" * 5
    assert entra.numbers == [0]


STATE = """
terraform {
  backend "azurerm" {
    storage_account_name = "shopstate"
    container_name       = "state"
    key                  = "terraform.tfstate"
    use_azuread_auth     = true
  }
}

resource "terraform_data" "page" {
  input = "hello"
}
"""


def test_terraform(job: Job, entra: Entra, storage: Storage, tmp_path: Path) -> None:
    """So does Terraform, by its built-in backend for state; it is the one that sends no header."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed")
    (tmp_path / "main.tf").write_text(STATE)
    job.environ.update(CHECKPOINT_DISABLE="1", HOME=str(tmp_path))
    for words in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        succeeded(job.run([*exec_with("both"), program, f"-chdir={tmp_path}", *words]))
    assert b'"hello"' in storage.blobs["/state/terraform.tfstate"]
    assert entra.numbers == [0] * 4


def test_double_is_one_that_microsofts_client_takes(job: Job, entra: Entra) -> None:
    """azure-identity does the exchange itself at the same Entra: what we are tested against is one.

    So a refusal there is one that its users know, too.
    """
    source = f"""
import os, sys
from azure.identity import ClientAssertionCredential
credential = ClientAssertionCredential(
    "{TENANT}", "{CLIENT}", lambda: os.environ["ASSERTION"], disable_instance_discovery=True
)
print(credential.get_token("{VAULT}/.default").token.count("."))
"""
    token = entra_token(job)
    job.environ["ASSERTION"] = token
    assert succeeded(job.run(python(source))) == "2\n"
    entra.subject = "repo:acme/other:ref:refs/heads/main"
    assert b"AADSTS700213" in job.run(python(source)).stderr


def entra_token(job: Job) -> str:
    url = job.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api://AzureADTokenExchange"
    bearer = job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    answer = requests.get(url, headers={"Authorization": f"Bearer {bearer}"}, timeout=10)
    return str(answer.json()["value"])


# ── what else a step sees ────────────────────────────────────────────────────────────────────


def test_token_is_masked_in_the_output(job: Job) -> None:
    """A step that prints its token prints a mask; so with the bearer, wherever it stands."""
    source = (
        DEFAULT,
        f'print("token", credential.get_token("{VAULT}/.default").token)\n',
        'import os\nprint(os.environ["IDENTITY_HEADER"], os.environ["ARM_MSI_ENDPOINT"])\n',
    )
    said = succeeded(job.run([*exec_with("rotate"), *python(*source)]))
    assert "eyJ" not in said
    assert "gltok-" not in said
    assert said.startswith("token ")


def test_resource_that_is_not_in_the_grant(job: Job) -> None:
    """One request, and the client's error and our log say what to add; no other way is tried."""
    source = (DEFAULT, 'credential.get_token("https://management.azure.com/.default")')
    done = job.run([*exec_with("rotate"), *python(*source)])
    assert done.returncode == 1
    said = done.stderr.decode()
    assert "add https://management.azure.com to `resources` of the grant rotate" in said
    (line,) = [line for line in said.splitlines() if "rotate: refused pid" in line]
    assert line.endswith("add https://management.azure.com to `resources` of the grant rotate")
    assert "AzureCliCredential" not in said
    assert job.events()[-2:] == ["refused", "expires"]


def test_several_grants(job: Job, entra: Entra) -> None:
    """The first is where the variables lead; the other is at a path of its own."""
    source = 'export IDENTITY_ENDPOINT="$CI_IDENTITY_ENDPOINT/azure/rotate"; exec "$@"'
    command = ["sh", "-c", source, "sh", *python(DEFAULT, READ)]
    assert "200" in succeeded(job.run([*exec_with("both", "rotate"), *command]))
    assert len(entra.calls) == 3
    assert job.events().count("accessed") == 1


LINGER = """
import os, sys, time
names = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "ARM_MSI_ENDPOINT")
with open(sys.argv[1], "w") as file:
    file.write("\\n".join([*(os.environ[name] for name in names), "end"]))
sys.stdin.read()
"""


def test_who_is_not_of_the_step(job: Job, tmp_path: Path) -> None:
    """With all that the step knows, another process of the user is refused, on either path."""
    shown = tmp_path / "shown"
    command = [*exec_with("rotate"), *python(LINGER), str(shown)]
    with subprocess.Popen(command, env=job.environ, stdin=subprocess.PIPE) as step:
        while not shown.exists() or not shown.read_text().endswith("end"):
            assert step.poll() is None
            time.sleep(0.05)
        url, bearer, open_url, _ = shown.read_text().split("\n")
        for asked, headers in ((url, {"X-IDENTITY-HEADER": bearer}), (open_url, {})):
            answer = requests.get(asked, {"resource": VAULT}, headers=headers, timeout=10)
            assert (answer.status_code, answer.json()["error"]) == (403, "endpoint-peer")
        step.communicate()
    assert step.returncode == 0
    assert job.events()[-2:] == ["refused", "expires"]


def test_every_login_of_the_job_is_hidden(job: Job) -> None:
    """What the runner has set up for Azure reaches no client of the step."""
    job.environ.update(
        AZURE_CLIENT_SECRET="ambient-secret-of-the-job",
        AZURE_FEDERATED_TOKEN_FILE="/var/run/secrets/token",
        IDENTITY_SERVER_THUMBPRINT="ambient",
        MSI_ENDPOINT="http://169.254.169.254",
        AZURE_CONFIG_DIR="/home/runner/.azure",
    )
    assert "200" in succeeded(job.run([*exec_with("rotate"), *python(DEFAULT, READ)]))


def test_bare_token(job: Job) -> None:
    """`--delivery env` gives the token of the first resource, and says that it is not renewed."""
    source = "\nclass credential:\n    get_token = lambda _: type('T', (), {'token': "
    source = f"import os{source}os.environ['AZURE_ACCESS_TOKEN']}})\n"
    done = job.run([*exec_with("rotate", options=("--delivery", "env")), *python(source, READ)])
    assert "200" in succeeded(done)
    assert "not renewed" in done.stderr.decode()


def test_refusal_by_entra(job: Job, entra: Entra) -> None:
    """The command is not started; the line has the code, and the text to write into Entra."""
    entra.subject = "repo:acme/shop:environment:ops"
    done = job.run([*exec_with("rotate"), "true"])
    said = done.stderr.decode()
    assert done.returncode == 125
    assert f"error[azure-federation]: Entra refused {CLIENT}: it has no federated" in said
    assert "subject = repo:acme" in said
    assert job.events()[-1] == "failed"


def test_authority_that_a_variable_chose_is_said(job: Job, entra: Entra) -> None:
    """Before anything is sent there; and it is on record."""
    job.environ["AZURE_AUTHORITY_HOST"] = entra.address
    done = job.run([*exec_with("rotate"), "true"])
    assert "rotate: steered by AZURE_AUTHORITY_HOST" in done.stderr.decode()
    assert "AZURE_AUTHORITY_HOST" in job.ledger()[0]["steered_by"]


# ── time ─────────────────────────────────────────────────────────────────────────────────────


def test_step_that_outlives_its_assertion(job: Job, entra: Entra) -> None:
    """Each renewal mints a new token of the job: AADSTS700024 is nothing that a step sees.

    Entra's tokens live for 6 s here, and are renewed after 4.
    """
    entra.life = 6
    entra.faults = [says(401, error(700024, "Client assertion is not within its time range"))]
    source = f"""
import time
from azure.identity import ManagedIdentityCredential
for _ in range(3):
    credential = ManagedIdentityCredential()
    {READ.replace(chr(10), chr(10) + "    ")}
    time.sleep(2.5)
"""
    said = succeeded(job.run([*exec_with("rotate"), *python(source)]))
    assert said.count("200") == 3
    assert [number for number in entra.numbers if number == 0][:2] == [0, 0]
    assert len({call.form["client_assertion"] for call in entra.calls}) == len(entra.calls)
    assert "refreshed" in job.events()


# ── what is left behind ──────────────────────────────────────────────────────────────────────


def test_step_that_was_killed(job: Job, entra: Entra) -> None:
    """`revoke` in its job can end nothing there; it says until when, and asks nobody."""
    done = job.run([*exec_with("rotate"), "sh", "-c", "kill -KILL $PPID"])
    assert done.returncode == -9
    revoked = job.run([*COMMAND, "revoke"])
    assert revoked.returncode == 0, revoked.stderr.decode()
    assert "(its provider cannot end it before)" in revoked.stderr.decode()
    assert job.events()[-1] == "expires"
    assert entra.numbers == [0]
