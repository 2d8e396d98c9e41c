"""`doctor env` finds what is usable in variables, says what exec removes, and tells no value."""

import base64
from pathlib import Path

import pytest

from ci_identity.doctor.finding import Finding, Kind
from ci_identity.doctor.injection import find_code_injection
from tests.doctor.planting import Machine, assert_untold, id_token, jwt, secret


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine.made_in(tmp_path)


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, [(finding.kind, finding.place) for finding in findings]
    return findings[0]


def test_a_clean_environment_gives_nothing(machine: Machine) -> None:
    """A finding must be worth reading: ordinary variables and files are none."""
    machine.plant("~/.npmrc", "registry=https://registry.test/\n")
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(machine.home),
        "LANG": "C.UTF-8",
        "CI": "true",
        "AWS_REGION": "eu-west-1",
        "AWS_PROFILE": "default",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/deploy",
        "VAULT_ADDR": "https://vault.test",
        "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
        "GITHUB_REPOSITORY": "acme/shop",
        "ACTIONS_CACHE_URL": "https://cache.test/",
        "CI_REPOSITORY_URL": "https://gitlab.test/acme/shop.git",
        "NODE_OPTIONS": "--max-old-space-size=4096",
        "JAVA_TOOL_OPTIONS": "-Xmx2g",
        "ENV": "production",
        "USE_TOKEN": "true",
        "API_TOKEN": "${{ secrets.API_TOKEN }}",
        "DATABASE_URL": "postgres://app@db.test/app",
        "PROXY": "http://user:$PASSWORD@proxy.test",
    }
    assert machine.find(environ) == ()


def test_an_empty_environment_gives_nothing(machine: Machine) -> None:
    """No variable at all is fine, also no PATH."""
    assert machine.find({}) == ()


@pytest.mark.parametrize(
    ("name", "kind", "is_removed"),
    [
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", Kind.MINTING, True),
        ("SYSTEM_ACCESSTOKEN", Kind.MINTING, True),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", Kind.MINTING, True),
        ("SPIFFE_ENDPOINT_SOCKET", Kind.MINTING, True),
        ("AWS_SECRET_ACCESS_KEY", Kind.CREDENTIAL, True),
        ("AWS_ACCESS_KEY_ID", Kind.CREDENTIAL, True),
        ("GOOGLE_CREDENTIALS", Kind.CREDENTIAL, True),
        ("AZURE_CLIENT_SECRET", Kind.CREDENTIAL, True),
        ("VAULT_TOKEN", Kind.CREDENTIAL, True),
        ("GITHUB_TOKEN", Kind.JOB_TOKEN, False),
        ("CI_JOB_TOKEN", Kind.JOB_TOKEN, False),
        ("SSH_AUTH_SOCK", Kind.CREDENTIAL, False),
        ("DOCKER_AUTH_CONFIG", Kind.CREDENTIAL, False),
        ("PGPASSWORD", Kind.CREDENTIAL, False),
        ("TF_TOKEN_app_terraform_io", Kind.CREDENTIAL, False),
        ("NPM_TOKEN", Kind.CREDENTIAL, False),
        ("npm_config_//registry.test/:_authToken", Kind.CREDENTIAL, False),
        ("MY_DB_PASSWORD", Kind.CREDENTIAL, False),
        ("STRIPE_API_KEY", Kind.CREDENTIAL, False),
    ],
)
def test_variables_are_found_by_name(
    machine: Machine, name: str, kind: Kind, *, is_removed: bool
) -> None:
    """Whatever its value looks like, a variable of that name is what its tool takes it for."""
    finding = only(machine.find({name: secret()}))
    assert (finding.kind, finding.place, finding.is_removed_by_exec) == (kind, name, is_removed)
    assert_untold([finding], secret())


VALUES = {
    "aws lasting": ("AKIA" + secret(16), Kind.CREDENTIAL),
    "aws session": ("ASIA" + secret(16), Kind.CREDENTIAL),
    "github classic": ("ghp_" + secret(36), Kind.CREDENTIAL),
    "github oauth": ("gho_" + secret(36), Kind.CREDENTIAL),
    "github fine-grained": ("github_pat_" + secret(82), Kind.CREDENTIAL),
    "github installation": ("ghs_" + secret(36), Kind.JOB_TOKEN),
    "github installation as jwt": ("ghs_1_" + jwt(iss="x", aud="y", exp=1), Kind.JOB_TOKEN),
    "gitlab person": ("glpat-" + secret(20), Kind.CREDENTIAL),
    "gitlab job": ("glcbt-" + secret(24), Kind.JOB_TOKEN),
    "vault": ("hvs." + secret(90), Kind.CREDENTIAL),
    "slack bot": ("xoxb-" + secret(40), Kind.CREDENTIAL),
    "slack webhook": ("https://hooks.slack.com/services/" + secret(40), Kind.CREDENTIAL),
    "npm": ("npm_" + secret(36), Kind.CREDENTIAL),
    "pypi": ("pypi-" + secret(120), Kind.CREDENTIAL),
    "docker": ("dckr_pat_" + secret(27), Kind.CREDENTIAL),
    "google api": ("AIza" + secret(35), Kind.CREDENTIAL),
    "google access": ("ya29." + secret(80), Kind.CREDENTIAL),
    "azure storage": ("AccountName=x;AccountKey=" + secret(88), Kind.CREDENTIAL),
    "stripe": ("sk_live_" + secret(24), Kind.CREDENTIAL),
    "url": (f"postgres://app:{secret()}@db.test/app", Kind.CREDENTIAL),
    "proxy": (f"http://user:{secret()}@proxy.test:3128", Kind.CREDENTIAL),
    "id token": (id_token(), Kind.ID_TOKEN),
    "other jwt": (jwt(iss="https://issuer.test"), Kind.CREDENTIAL),
    "key": (f"-----BEGIN PRIVATE KEY-----\n{secret()}\n-----END", Kind.PRIVATE_KEY),
    "key in json": (
        f'{{"private_key": "-----BEGIN RSA PRIVATE KEY-----\\n{secret()}\\n-----END"}}',
        Kind.PRIVATE_KEY,
    ),
}


@pytest.mark.parametrize("which", VALUES)
def test_variables_are_found_by_value(machine: Machine, which: str) -> None:
    """A known token is known under any name, alone or within other text, and never told."""
    value, kind = VALUES[which]
    for text in (value, f"--flag '{value}'"):
        finding = only(machine.find({"SOMETHING": text}))
        assert (finding.kind, finding.place) == (kind, "SOMETHING")
        assert_untold([finding], secret(128), id_token())


@pytest.mark.parametrize(
    "value",
    [
        "AKIA" + secret(16) + "MORE",
        "x" + "AKIA" + secret(16),
        "ghp_short",
        "my_npm_" + secret(36),
        "s." + secret(24),
        "-----BEGIN PUBLIC KEY-----\n" + secret(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + secret(),
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n" + secret(),
        "https://user:<password>@host.test",
        "https://host.test/a:b@c",
    ],
    ids=[
        "too-long",
        "inside-a-word",
        "too-short",
        "inside-a-name",
        "dot-without-vault",
        "public",
        "encrypted",
        "encrypted-rsa",
        "placeholder",
        "at-in-path",
    ],
)
def test_other_values_are_none(machine: Machine, value: str) -> None:
    """What only resembles a secret is not reported."""
    assert machine.find({"SOMETHING": value}) == ()


def test_old_vault_tokens_count_under_a_name_of_vault(machine: Machine) -> None:
    """`s.` and 24 characters alone would be too little to go by."""
    value = "s." + secret(24)
    assert only(machine.find({"PROD_VAULT_LOGIN": value})).kind is Kind.CREDENTIAL


def test_id_token_is_told_by_its_claims(machine: Machine) -> None:
    """Whose it is, for whom, and until when; and that exec takes it away."""
    finding = only(machine.find({"SOMETHING": f"Bearer {id_token()}"}))
    assert finding.detail == (
        "a JSON Web Token of https://issuer.test for vault, aws until 2100-01-01 00:00:00 UTC"
    )
    assert finding.is_removed_by_exec


@pytest.mark.parametrize("exp", [float("inf"), float("nan"), 1e300, "soon", None, [1]])
def test_odd_claims_do_no_harm(machine: Machine, exp: object) -> None:
    """Claims are written by others: odd times are left out, control characters never printed."""
    token = jwt(iss="https://issuer.test/\x1b[31m\n::add-mask::", aud={"a": secret()}, exp=exp)
    finding = only(machine.find({"SOMETHING": token}))
    assert finding.detail.isprintable()
    assert "until" not in finding.detail
    assert_untold([finding], secret())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI_JOB_TOKEN", id_token()),
        ("CI_REPOSITORY_URL", f"https://gitlab-ci-token:{secret()}@gitlab.test/acme/shop.git"),
    ],
    ids=["as-jwt", "in-address"],
)
def test_job_token_is_called_one_in_any_form(machine: Machine, name: str, value: str) -> None:
    """It is the CI's own, stays under exec, and is told apart from an id token or a password."""
    finding = only(machine.find({name: value}))
    assert (finding.kind, finding.is_removed_by_exec) == (Kind.JOB_TOKEN, False)
    assert_untold([finding], secret(), id_token())


def test_addresses_of_minting_are_not_secrets(machine: Machine) -> None:
    """The bearer is what mints; its neighbour only says where."""
    assert machine.find({"ACTIONS_ID_TOKEN_REQUEST_URL": "https://mint.test/?a=b"}) == ()


def test_token_in_a_named_file_is_found(machine: Machine) -> None:
    """CIs hand files over by a variable that names them."""
    token = machine.plant("./token", id_token())
    machine.plant("./key", f"-----BEGIN PRIVATE KEY-----\n{secret()}\n")
    findings = machine.find({"A": str(token), "B": "key", "DEPLOY_TOKEN": str(machine.cwd)})
    assert [(finding.kind, finding.place) for finding in findings] == [
        (Kind.ID_TOKEN, "A"),
        (Kind.PRIVATE_KEY, "B"),
    ]
    assert all(finding.detail.startswith("the file it names holds: ") for finding in findings)
    assert not any(finding.is_removed_by_exec for finding in findings)  # the files stay
    assert_untold(findings, secret(), id_token())


def test_bytes_that_are_no_text_do_no_harm(machine: Machine) -> None:
    """Names and values may hold anything but a null byte, and even that is survived."""
    odd = {"A\udcff_TOKEN": "\udcfe" + secret(), "B": "\ud800", "C": "a\0b", "KUBECONFIG": "\ud800"}
    findings = machine.find(odd)
    assert all(finding.place.isprintable() for finding in findings)
    assert Kind.CREDENTIAL in {finding.kind for finding in findings}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BASH_ENV", "/opt/x"),
        ("ENV", "/opt/x"),
        ("LD_PRELOAD", "/opt/x.so"),
        ("PYTHONSTARTUP", "/opt/x.py"),
        ("NODE_OPTIONS", "--require=/opt/x.js"),
        ("NODE_OPTIONS", "-r ./x.js"),
        ("PROMPT_COMMAND", "curl x.test"),
        ("JAVA_TOOL_OPTIONS", "-javaagent:/opt/x.jar"),
        ("BASH_FUNC_ls%%", "() { id; }"),
    ],
)
def test_hooks_of_interpreters_are_found(machine: Machine, name: str, value: str) -> None:
    """What makes later programs run another's code is told by name, and exec does not remove it."""
    finding = only(machine.find({name: value}))
    assert (finding.kind, finding.place) == (Kind.CODE_INJECTION, name)
    assert not finding.is_removed_by_exec
    assert value not in repr(finding)


def test_entries_of_path_that_others_can_write_to_are_found(machine: Machine) -> None:
    """A command in such a folder runs inside any step that calls it by name."""
    shared, own = machine.home / "shared", machine.home / "own"
    shared.mkdir()
    shared.chmod(0o777)
    own.mkdir(mode=0o755)
    path = f"/usr/bin:{own}:{shared}:{shared}:/missing"
    finding = only(machine.find({"PATH": path}))
    assert (finding.kind, finding.place) == (Kind.CODE_INJECTION, f"PATH {shared}")


@pytest.mark.parametrize("entry", ["", ".", "bin"])
def test_relative_entries_of_path_are_found(machine: Machine, entry: str) -> None:
    """They depend on where a step happens to be."""
    assert only(machine.find({"PATH": f"/usr/bin:{entry}"})).kind is Kind.CODE_INJECTION


def test_folders_of_steps_before_the_system_s_are_found(machine: Machine) -> None:
    """An earlier step's GITHUB_PATH line stands there; behind the system's it is harmless."""
    temp = machine.home / "temp"
    environ = {"RUNNER_TEMP": str(temp), "PATH": f"{temp}/bin:/usr/bin:{machine.cwd}/bin"}
    finding = only(tuple(find_code_injection(environ, machine.cwd)))
    assert finding.place == f"PATH {temp}/bin"


def test_values_in_base64_are_not_decoded(machine: Machine) -> None:
    """Precision before recall: what is wrapped once more is not guessed at."""
    wrapped = base64.b64encode(("ghp_" + secret(36)).encode()).decode()
    assert machine.find({"SOMETHING": wrapped}) == ()
