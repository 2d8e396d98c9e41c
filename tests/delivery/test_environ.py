"""What a step inherits: everything it works with, and no way to a credential it was not granted."""

import base64
import copy
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ci_identity.delivery.ambient import AMBIENT, Ambient, find_ambient
from ci_identity.delivery.environ import (
    Environment,
    clean,
    find_id_tokens,
    kept_redirects,
    private_files,
    removed,
)
from ci_identity.errors import DeliveryError

PRIVATE = Path("/private")
ID_TOKEN_CLAIMS = {"iss": "https://issuer.test", "aud": "somewhere", "exp": 4102444800}


def jwt(claims: object = ID_TOKEN_CLAIMS, *, indent: int | None = None) -> str:
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    pieces = (json.dumps(part, indent=indent).encode() for part in parts)
    encoded = (base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces)
    return ".".join((*encoded, "c2lnbmF0dXJl"))


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in clean(environ, private=PRIVATE).items() if n in environ}


@pytest.mark.parametrize("row", AMBIENT, ids=lambda row: row.name)
def test_every_row_is_removed(row: Ambient) -> None:
    """No variable of the table reaches the step with the value it had."""
    name = row.name.replace("*", "ANYTHING")
    environ = {name: "ambient", "OTHER": "kept"}
    assert removed(environ) == (name,)
    assert inherited(environ).get(name) != "ambient"
    assert inherited(environ)["OTHER"] == "kept"


def test_names_are_listed_once() -> None:
    """Each name has one row, so there is one place to change."""
    names = [row.name for row in AMBIENT]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name",
    [
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "SYSTEM_OIDCREQUESTURI",
        "SYSTEM_ACCESSTOKEN",
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "CIRCLE_OIDC_TOKEN_V2",
        "BITBUCKET_STEP_OIDC_TOKEN",
        "SEMAPHORE_OIDC_TOKEN",
        "SPIFFE_ENDPOINT_SOCKET",
        "CI_IDENTITY_TOKEN",
        "VAULT_TOKEN",
        "BAO_TOKEN",
        "VAULT_AGENT_ADDR",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CREDENTIAL_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "IDENTITY_SERVER_THUMBPRINT",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "ARM_CLIENT_SECRET",
        "KUBE_CONFIG_PATH",
        "KUBE_INSECURE",
        "KUBE_PROXY_URL",
        "KUBE_TLS_SERVER_NAME",
        "KUBE_CLUSTER_CA_CERT_DATA",
    ],
)
def test_what_the_design_names_is_removed(name: str) -> None:
    """What the measurements found to beat an endpoint, or to mint, is gone: written out twice."""
    assert removed({name: "x"}) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CA_BUNDLE",
        "GOOGLE_CLOUD_PROJECT",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "ARM_SUBSCRIPTION_ID",
        "VAULT_ADDR",
        "VAULT_CACERT",
        "VAULT_NAMESPACE",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "HTTPS_PROXY",
        "https_proxy",
        "GITHUB_TOKEN",
        "CI_JOB_TOKEN",
        "GITHUB_ENV",
        "RUNNER_TEMP",
        "CI_IDENTITY_STATE_DIR",
        "aws_profile",
    ],
)
def test_what_a_step_works_with_stays(name: str) -> None:
    """Region, endpoint, CA, proxy and the job's own token are the step's to use."""
    assert inherited({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "value",
    [jwt(), f"Bearer {jwt()}", f'{{"value":"{jwt()}"}}', f"x={jwt()}&y=1", jwt(indent=2)],
    ids=["bare", "bearer", "json", "form", "pretty-printed"],
)
def test_id_token_under_any_name_is_removed(value: str) -> None:
    """A token can be exchanged by whoever reads it, whatever its variable is called."""
    assert removed({"MY_OWN_NAME": value}) == ("MY_OWN_NAME",)


@pytest.mark.parametrize(
    "value",
    [
        "eyJhbGciOiJub25lIn0.not-base64!.x",
        "eyJ.eyJ.x",
        jwt({"iss": "https://issuer.test", "exp": 1}),
        jwt({"aud": "somewhere", "exp": 1}),
        jwt({"iss": "https://issuer.test", "aud": "somewhere"}),
        jwt(["iss", "aud", "exp"]),
        "eyJhbGciOiJub25lIn0." + base64.urlsafe_b64encode(b'{"a":' * 30000).decode() + ".x",
        "ghs_1234_" + jwt(),
        "\udcff\x00",
        "a\0b",
        "",
    ],
    ids=[
        "no-base64", "short", "no-aud", "no-iss", "no-exp", "list", "deep", "job-token",
        "surrogate", "null", "empty",
    ],
)  # fmt: skip
def test_other_values_stay(value: str) -> None:
    """Only what a provider could take for an id token counts, and nothing odd breaks the check."""
    assert inherited({"MY_OWN_NAME": value}) == {"MY_OWN_NAME": value}


def test_job_token_stays_even_as_jwt() -> None:
    """Some CIs make their job token a JWT; steps still work with the repository."""
    environ = {"CI_JOB_TOKEN": jwt(), "GITHUB_TOKEN": jwt(), "COPY": jwt()}
    assert removed(environ) == ("COPY",)


def test_variable_naming_a_token_file_is_removed(tmp_path: Path) -> None:
    """A path to a token is as good as the token to an SDK, also through links as Kubernetes has."""
    (tmp_path / "data").write_text(jwt() + "\n")
    (tmp_path / "token").symlink_to("data")
    assert removed({"WHERE": str(tmp_path / "token")}) == ("WHERE",)


def test_variables_naming_other_things_stay(tmp_path: Path) -> None:
    """Large files, folders, pipes and devices are not read: nothing waits, nothing is missed."""
    (tmp_path / "large").write_text(jwt() + "\n" * (1 << 16))
    (tmp_path / "other").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    paths = [*tmp_path.iterdir(), tmp_path, Path("/dev/zero"), tmp_path / "missing"]
    assert removed({f"V{i}": str(path) for i, path in enumerate(paths)}) == ()


def test_command_file_of_the_ci_stays(tmp_path: Path) -> None:
    """A token that somebody wrote into GITHUB_ENV does not cut the step off from the runner."""
    (tmp_path / "env").write_text(f"TOKEN={jwt()}\n")
    assert removed({"GITHUB_ENV": str(tmp_path / "env")}) == ()


def test_claims_are_yielded_for_every_token() -> None:
    """Two tokens in one text are two; the claims are the token's own."""
    other = ID_TOKEN_CLAIMS | {"aud": ["elsewhere"]}
    assert list(find_id_tokens(f"{jwt()} {jwt(other)}")) == [ID_TOKEN_CLAIMS, other]


def test_whole_name_counts_before_prefix() -> None:
    """A bearer is a credential although its neighbours only lead to one."""
    row = find_ambient("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    neighbour = find_ambient("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    assert row is not None
    assert neighbour is not None
    assert (row.power.name, neighbour.power.name) == ("HOLD", "REDIRECT")


def test_ambient_files_are_hidden_whatever_the_job_says() -> None:
    """Every cloud's tools are pointed to our folder, and told to leave the machine's role alone."""
    environ = {"KUBECONFIG": "/home/someone/.kube/config", "AWS_EC2_METADATA_DISABLED": "false"}
    child = clean(environ, private=PRIVATE)
    folders = {name for name, value in child.items() if value.startswith("/private/")}
    assert folders == {
        "AWS_CONFIG_FILE",
        "KUBECONFIG",
        "CLOUDSDK_CONFIG",
        "AZURE_CONFIG_DIR",
        "AZD_CONFIG_DIR",
    }
    assert child["AWS_SHARED_CREDENTIALS_FILE"] == child["BOTO_CONFIG"] == os.devnull
    assert child["AWS_EC2_METADATA_DISABLED"] == "true"
    assert child["KUBERC"] == "off"
    assert child["NO_GCE_CHECK"] == "true"
    assert child["METADATA_SERVER_DETECTION"] == "none"


@pytest.mark.parametrize(
    ("environ", "upper", "lower"),
    [
        ({}, "127.0.0.1,localhost", "127.0.0.1,localhost"),
        ({"NO_PROXY": "a.test"}, "a.test,127.0.0.1,localhost", "a.test,127.0.0.1,localhost"),
        (
            {"NO_PROXY": "a.test", "no_proxy": "b.test, localhost"},
            "a.test,127.0.0.1,localhost",
            "b.test, localhost,127.0.0.1",
        ),
        ({"no_proxy": "*"}, "*", "*"),
    ],
    ids=["none", "upper-only", "both", "everything"],
)
def test_loopback_is_never_proxied(environ: dict[str, str], upper: str, lower: str) -> None:
    """Both spellings hold loopback, and adding it never drops or shadows what was there."""
    child = clean(environ, private=PRIVATE)
    assert (child["NO_PROXY"], child["no_proxy"]) == (upper, lower)


def test_bytes_that_are_no_text_survive() -> None:
    """Names and values that are not UTF-8 reach the child unchanged."""
    name, value = os.fsdecode(b"N\xff"), os.fsdecode(b"\xfe\x80")
    child = Environment(clean({name: value}, private=PRIVATE))
    code = "import os; print(os.environb[b'N\\xff'].hex())"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=child, capture_output=True, check=True
    )
    assert answer.stdout.strip() == b"fe80"


def test_the_job_s_own_mapping_is_left_alone() -> None:
    """`clean` gives a new mapping."""
    environ = {"VAULT_TOKEN": "x"}
    clean(environ, private=PRIVATE)
    assert environ == {"VAULT_TOKEN": "x"}


def test_private_files_are_what_clean_points_to(tmp_path: Path) -> None:
    """Each pointer has an empty thing behind it that only this user can open."""
    private = tmp_path / "private"
    private_files(private)
    pointers = [Path(v) for v in clean({}, private=private).values() if v.startswith(str(private))]
    assert sorted(pointers) == sorted(private.iterdir())
    for path in pointers:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or path.read_bytes() == b""
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_private_folder_is_made_fresh(tmp_path: Path) -> None:
    """A folder or link that somebody put there first is refused, not filled."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("there", "link", "missing/below"):
        with pytest.raises(DeliveryError, match="cannot make the private folder"):
            private_files(tmp_path / name)
    assert list((tmp_path / "there").iterdir()) == []


def test_environment_shows_names_only() -> None:
    """A session's variables can stand in a traceback or a log without harm."""
    environment = Environment({"B": "planted-secret", "A": "x"})
    shown = f"{environment!r} {environment} {environment.items()!r} {environment.values()!r}"
    assert "Environment(['A', 'B'])" in shown
    assert "planted" not in shown
    with pytest.raises(KeyError, match="C"):
        environment["C"]


def test_environment_is_a_read_only_mapping() -> None:
    """It reads like a dict, holds its own copy, and cannot be changed."""
    source = {"A": "x"}
    environment = Environment(source)
    source["A"] = "changed"
    assert dict(environment) == {"A": "x"}
    assert len(environment) == 1
    with pytest.raises(TypeError):
        environment["A"] = "y"  # type: ignore[index]  # that it cannot be is what is tested


def test_environment_is_never_copied_or_pickled() -> None:
    """What would leave a second copy of the values lying about raises instead."""
    environment = Environment({"A": "x"})
    attempts: tuple[Callable[[Environment], object], ...] = (
        copy.copy,
        copy.deepcopy,
        lambda value: value.__reduce_ex__(4),
    )
    for attempt in attempts:
        with pytest.raises(TypeError, match="never copied"):
            attempt(environment)


def test_environment_goes_into_posix_spawn() -> None:
    """The child gets exactly these variables."""
    read, write = os.pipe()
    pid = os.posix_spawn(
        "/usr/bin/env",
        ["env"],
        Environment({"ONLY": "this"}),
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    os.close(write)
    with os.fdopen(read, "rb") as output:
        assert output.read() == b"ONLY=this\n"
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("name", ["MY_COPY", "WRAPPED"])
def test_copies_of_what_is_removed_are_removed(name: str) -> None:
    """An earlier step may have put the minting bearer under another name."""
    bearer = "opaque-bearer-of-the-runner"
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer,
        name: bearer if name == "MY_COPY" else f"Authorization: bearer {bearer}",
        "KEPT": "opaque",
    }
    assert removed(environ) == ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", name)


def test_what_sends_a_step_elsewhere_is_known() -> None:
    """Endpoints, proxies and CAs that a step keeps, by name; never their values."""
    environ = {
        "AWS_ENDPOINT_URL_S3": "https://elsewhere.example",
        "HTTPS_PROXY": "http://user:password@proxy.example",
        "https_proxy": "",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "AWS_REGION": "eu-west-1",
        "MY_HTTPS_PROXY": "x",
    }
    assert kept_redirects(environ) == ("AWS_ENDPOINT_URL_S3", "HTTPS_PROXY", "NODE_EXTRA_CA_CERTS")
