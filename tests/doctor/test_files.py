"""`doctor env` finds the logins that tools left in files, says where they stand, and tells none."""

import os
import stat
from pathlib import Path

import pytest

from ci_identity.doctor.files import FILES, MAX_FILE
from ci_identity.doctor.finding import Kind
from tests.doctor.planting import Machine, assert_untold, id_token, secret

S = secret()
KEY = f"-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----\n"
JSON_KEY = KEY.replace("\n", "\\n")
OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA{}\n"

LOGINS = [
    ("~/.netrc", f"machine a.test login u password {S}\ndefault password {S}", "a.test|default"),
    ("~/.aws/credentials", f"[prod]\naws_secret_access_key = {S}", "prod aws_secret_access_key"),
    ("~/.aws/config", f"[profile p]\naws_session_token={S}", "profile p aws_session_token"),
    ("~/.boto", f"[Credentials]\naws_secret_access_key = {S}", "Credentials aws_secret_access_key"),
    (
        "~/.aws/cli/cache/1.json",
        f'{{"Credentials": {{"SecretAccessKey": "{S}"}}}}',
        "Credentials SecretAccessKey",
    ),
    (
        "~/.config/gcloud/application_default_credentials.json",
        f'{{"type": "authorized_user", "refresh_token": "{S}"}}',
        "refresh_token",
    ),
    ("~/.config/gcloud/credentials.db", S, ""),
    (
        "./gha-creds-1.json",
        f'{{"credential_source": {{"headers": {{"Authorization": "Bearer {S}"}}}}}}',
        "credential_source headers Authorization",
    ),
    ("./gha-creds-2.json", f'{{"private_key": "{JSON_KEY}"}}', "private_key"),
    ("~/.azure/msal_token_cache.json", f'{{"x": "{S}"}}', ""),
    (
        "~/.kube/config",
        f"users:\n- name: dep\n  user: {{token: {S}}}\n- name: b\n  user: {{client-key-data: {S}}}",
        "users dep user token|users b user client-key-data",
    ),
    (
        "~/.docker/config.json",
        f'{{\n\t"auths": {{"a.test": {{"auth": "{S}"}}, "b.test": {{}}}}, "credsStore": "x"}}',
        "auths a.test auth",
    ),
    ("~/.npmrc", f"//npm.test/:_authToken={S}", "//npm.test/:_authToken"),
    ("./.npmrc", f"_auth = {S}", "_auth"),
    ("./.yarnrc.yml", f"npmAuthToken: {S}", "npmAuthToken"),
    ("~/.pypirc", f"[index]\nusername = __token__\npassword = {S}", "index password"),
    (
        "~/.config/pip/pip.conf",
        f"[global]\nextra-index-url = https://u:{S}@pip.test/simple",
        "global extra-index-url",
    ),
    ("~/.git-credentials", f"https://u:{S}@git.test\n", "https://git.test"),
    (
        "./.git/config",
        f'[http "https://github.test/"]\n\textraheader = AUTHORIZATION: basic {S}\n',
        'http "https://github.test/" extraheader',
    ),
    (
        "./.git/config",
        f'[remote "origin"]\n\turl = https://u:{S}@git.test/a.git\n',
        'remote "origin" url',
    ),
    (
        "~/.gitconfig",
        f'[url "https://x-access-token:{S}@git.test/"]\n\tinsteadOf = https://git.test/',
        'url "https://git.test/" insteadOf',
    ),
    (
        "~/.config/gh/hosts.yml",
        f"github.test:\n    user: a\n    oauth_token: {S}\n",
        "github.test oauth_token",
    ),
    ("~/.config/hub", f"github.test:\n- user: a\n  oauth_token: {S}\n", "github.test  oauth_token"),
    ("~/.vault-token", S, ""),
    (
        "~/.terraform.d/credentials.tfrc.json",
        f'{{"credentials": {{"tf.test": {{"token": "{S}"}}}}}}',
        "credentials tf.test token",
    ),
    ("~/.cargo/credentials.toml", f'[registries.own]\ntoken = "{S}"', "registries own token"),
    (
        "~/.m2/settings.xml",
        f"<servers><server><id>nexus</id><password>{S}</password></server></servers>",
        "nexus",
    ),
    ("~/.gem/credentials", f"---\n:rubygems_api_key: {S}\n", ":rubygems_api_key"),
    ("/var/run/secrets/kubernetes.io/serviceaccount/token", id_token(), ""),
    ("/run/secrets/db", S, ""),
]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine.made_in(tmp_path)


@pytest.mark.parametrize(
    ("place", "text", "where"), LOGINS, ids=[f"{i}-{login[0]}" for i, login in enumerate(LOGINS)]
)
def test_logins_are_found(machine: Machine, place: str, text: str, where: str) -> None:
    """Each tool's login is found, with the host or key it belongs to, and nothing else is said."""
    path = machine.plant(place, text)
    findings = machine.find()
    wanted = [f"{path} {each}".strip() for each in where.split("|")]
    assert [finding.place for finding in findings] == wanted
    assert {finding.kind for finding in findings} == {Kind.CREDENTIAL}
    assert not any(finding.is_removed_by_exec for finding in findings)
    assert_untold(findings, S, id_token())


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("~/.netrc", "machine a.test login u"),
        ("~/.aws/config", "[default]\nregion = eu-west-1"),
        ("~/.docker/config.json", '{"auths": {"a.test": {}}, "credsStore": "desktop"}'),
        ("~/.npmrc", "//npm.test/:_authToken=${NODE_AUTH_TOKEN}"),
        ("~/.yarnrc.yml", 'npmAuthToken: "${NPM_TOKEN}"'),
        ("./.npmrc", "# //npm.test/:_authToken=" + S),
        ("~/.pypirc", "[pypi]\nusername = __token__"),
        ("~/.config/pip/pip.conf", "[global]\nindex-url = https://pip.test/simple"),
        ("./.git/config", '[remote "origin"]\n\turl = https://git.test/a.git\n'),
        ("~/.kube/config", "users:\n- name: a\n  user: {exec: {command: aws}}\n"),
        ("~/.m2/settings.xml", "<server><id>a</id><password>${env.P}</password></server>"),
        ("~/.ssh/id_ed25519.pub", "ssh-ed25519 AAAA"),
        ("~/.ssh/id_ed25519", OPENSSH.format("CmFlczI1Ni1jdHI" + S)),
        ("~/.vault-token", "\n"),
    ],
)
def test_files_without_a_login_give_nothing(machine: Machine, place: str, text: str) -> None:
    """A settings file is no finding because of its name; a reference is no secret."""
    machine.plant(place, text)
    assert machine.find() == ()


@pytest.mark.parametrize("text", [KEY, OPENSSH.format("BG5vbmU" + S)], ids=["pkcs8", "openssh"])
def test_ssh_keys_without_passphrase_are_found(machine: Machine, text: str) -> None:
    """Whatever the file's name; the format itself says whether a passphrase is needed."""
    path = machine.plant("~/.ssh/deploy", text)
    findings = machine.find()
    assert [(finding.kind, finding.place) for finding in findings] == [
        (Kind.PRIVATE_KEY, str(path))
    ]
    assert_untold(findings, S)


def test_files_are_found_where_variables_point(machine: Machine) -> None:
    """Tools let their files be moved; each is reported once, by its path."""
    config = f"users:\n- name: a\n  user: {{token: {S}}}\n"
    paths = [machine.plant(f"./{name}", config) for name in ("one", "two")]
    docker = machine.plant("./d/config.json", f'{{"auths": {{"a.test": {{"auth": "{S}"}}}}}}')
    environ = {
        "KUBECONFIG": f"{paths[0]}{os.pathsep}two{os.pathsep}{paths[0]}",
        "DOCKER_CONFIG": str(docker.parent),
    }
    findings = machine.find(environ)
    assert [finding.place for finding in findings] == [
        *(f"{path} users a user token" for path in paths),
        f"{docker} auths a.test auth",
    ]
    assert_untold(findings, S)


def test_secrets_in_the_names_of_things_are_not_told(machine: Machine) -> None:
    """Addresses serve as keys and section names, sometimes with the password in them."""
    token = "ghp_" + secret(36)
    machine.plant("~/.docker/config.json", f'{{"https://u:{S}@a.test/": {{"auth": "{S}"}}}}')
    machine.plant("~/.git-credentials", f"https://git.test/?token={token}\n")
    machine.plant("~/.gitconfig", f'[url "https://{token}@git.test/{token}"]\n\tinsteadOf = x')
    findings = machine.find()
    assert len(findings) == 3
    assert_untold(findings, S, secret(36))


def test_exec_is_said_to_hide_not_to_remove(machine: Machine) -> None:
    """A cloud's own file stays readable: saying that it is removed would be false."""
    machine.plant("~/.aws/credentials", f"[default]\naws_secret_access_key = {S}")
    (finding,) = machine.find()
    assert "code can still read it" in finding.detail
    assert not finding.is_removed_by_exec


def test_mounted_identity_is_told_by_its_claims(machine: Machine) -> None:
    """Kubernetes mounts tokens through links; issuer, audience and end are known from within."""
    token = machine.plant("/var/run/secrets/kubernetes.io/serviceaccount/..data/token", id_token())
    link = token.parent.parent / "token"
    link.symlink_to("..data/token")
    (finding,) = machine.find()
    assert finding.place == str(link)
    assert "of https://issuer.test for vault, aws until 2100-01-01" in finding.detail
    assert_untold([finding], id_token())


def test_links_in_the_working_directory_are_not_followed(machine: Machine) -> None:
    """What is checked out may be an outsider's; it does not choose what we read."""
    target = machine.plant("~/elsewhere", f"//npm.test/:_authToken={S}")
    (machine.cwd / ".npmrc").symlink_to(target)
    (finding,) = machine.find()
    assert (finding.kind, finding.place) == (Kind.UNREADABLE, str(machine.cwd / ".npmrc"))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("~/.npmrc", f"//npm.test/:_authToken={S}\n" + " " * MAX_FILE),
        ("~/.docker/config.json", f'{{"auths": "{S}'),
        ("~/.docker/config.json", '{"a":' * 100_000),
        ("~/.cargo/credentials.toml", f"token = {S}"),
        ("~/.kube/config", f"a: [{S}"),
    ],
    ids=["large", "json", "deep", "toml", "yaml"],
)
def test_what_cannot_be_read_is_said(machine: Machine, place: str, text: str) -> None:
    """A large, broken or endless file is neither passed over in silence nor quoted."""
    path = machine.plant(place, text)
    findings = machine.find()
    assert [(finding.kind, finding.place) for finding in findings] == [(Kind.UNREADABLE, str(path))]
    assert_untold(findings, S)


def test_aliases_of_yaml_do_not_multiply(machine: Machine) -> None:
    """A few lines of aliases can stand for billions of leaves; each is looked at once."""
    lines = ["a0: &a0 {npmAuthToken: x}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    machine.plant("./.yarnrc.yml", "\n".join(lines))
    assert len(machine.find()) == 1


def test_folders_and_pipes_are_passed_over(machine: Machine) -> None:
    """Nothing waits for a writer that never comes."""
    (machine.home / ".vault-token").mkdir()
    os.mkfifo(machine.home / ".netrc")
    machine.plant("~/.config", "a file where a folder is looked for")
    assert machine.find() == ()


def test_writable_socket_of_an_engine_is_found(machine: Machine) -> None:
    """Whoever can talk to it can start a container that is the host's root."""
    path = machine.root / "var/run/docker.sock"
    path.parent.mkdir(parents=True)
    os.mknod(path, stat.S_IFSOCK | 0o666)
    assert [(finding.kind, finding.place) for finding in machine.find()] == [(Kind.ROOT, str(path))]


def test_every_file_of_the_table_is_planted_here() -> None:
    """A row without a test of its reader would rot unseen."""
    planted = {place for place, _, _ in LOGINS} | {"~/.ssh/deploy"}
    untested = [
        known.what
        for known in FILES
        if not any(Path(path).match(place) for place in known.places.split() for path in planted)
    ]
    assert untested == []
