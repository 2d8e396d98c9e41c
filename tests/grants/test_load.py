"""The grants file is found where the design says, and read into values that cannot change."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.errors import (
    ConfigurationError,
    GrantsFileError,
    GrantsFileMissingError,
    UnknownGrantError,
)
from ci_identity.grants import format as tables
from ci_identity.grants import targets
from ci_identity.grants.kinds import Keys
from ci_identity.grants.load import GrantsFile, find, load, parse
from ci_identity.grants.token_exchange import TOKEN_EXCHANGE
from ci_identity.model import (
    Accept,
    AwsTarget,
    AzureTarget,
    GcpTarget,
    KubernetesTarget,
    PolicyStatement,
    SecretReference,
    TokenExchangeTarget,
    VaultTarget,
    Wanted,
)

SAMPLE = Path(__file__).parents[2] / "examples" / ".ci-identity.yml"
LEAST = "version: 1\ngrants: {a: {for: {issuer: i, sub: s}, vault: {role: r}}}\n"


@pytest.fixture(scope="module")
def sample() -> GrantsFile:
    return load(SAMPLE)


# ── find ─────────────────────────────────────────────────────────────────────────────────────


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    """--grants goes before the setting, that before .ci-identity.yml, that before .github/."""
    flag, setting = tmp_path / "flag.yml", tmp_path / "setting.yml"
    first, second = tmp_path / ".ci-identity.yml", tmp_path / ".github" / "ci-identity.yml"
    second.parent.mkdir()
    for path in (flag, setting, first, second):
        path.write_text(LEAST)
    assert find(flag, setting, tmp_path) == flag
    assert find(None, setting, tmp_path) == setting
    assert find(None, None, tmp_path) == first
    first.unlink()
    assert find(None, None, tmp_path) == second


def test_relative_name_is_relative_to_the_folder(tmp_path: Path) -> None:
    """A path that is named is taken from the current folder."""
    (tmp_path / "a.yml").write_text(LEAST)
    assert find(Path("a.yml"), None, tmp_path) == tmp_path / "a.yml"


@pytest.mark.parametrize("named", ["missing.yml", "."])
def test_named_file_is_never_replaced_by_another(tmp_path: Path, named: str) -> None:
    """If the file that was named is not there, the default one is not used in its place."""
    (tmp_path / ".ci-identity.yml").write_text(LEAST)
    with pytest.raises(GrantsFileMissingError, match=r"--grants"):
        find(Path(named), None, tmp_path)
    with pytest.raises(GrantsFileMissingError, match=r"CI_IDENTITY_GRANTS"):
        find(None, Path(named), tmp_path)


def test_missing_file_error_says_where_it_looked(tmp_path: Path) -> None:
    """Without any file the error names both places."""
    with pytest.raises(GrantsFileMissingError) as caught:
        find(None, None, tmp_path)
    assert str(tmp_path / ".ci-identity.yml") in str(caught.value)
    assert str(tmp_path / ".github" / "ci-identity.yml") in str(caught.value)


# ── load ─────────────────────────────────────────────────────────────────────────────────────


def test_unreadable_file_is_a_configuration_error(tmp_path: Path) -> None:
    """A folder, or a file that went away, is an error with the system's reason."""
    with pytest.raises(GrantsFileMissingError, match="Is a directory"):
        load(tmp_path)
    with pytest.raises(GrantsFileMissingError, match="No such file"):
        load(tmp_path / "missing.yml")


def test_other_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    """Latin-1 and UTF-16 are not guessed at."""
    path = tmp_path / "grants.yml"
    path.write_bytes(LEAST.encode() + b"# caf\xe9\n")
    with pytest.raises(GrantsFileError, match=r"grants\.yml:3: is not UTF-8"):
        load(path)
    path.write_bytes(LEAST.encode("utf-16"))
    with pytest.raises(GrantsFileError, match=r"grants\.yml:1: is not UTF-8"):
        load(path)


def test_large_file_is_refused_before_it_is_read_in_full(tmp_path: Path) -> None:
    """More than a mebibyte is not a grants file."""
    path = tmp_path / "grants.yml"
    path.write_bytes(LEAST.encode() + b"#" * (1 << 20))
    with pytest.raises(GrantsFileError, match="larger than"):
        load(path)


def test_byte_order_mark_at_the_start_is_taken(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "grants.yml"
    path.write_text(LEAST, encoding="utf-8-sig")
    assert list(load(path).grants) == ["a"]


# ── what is read ─────────────────────────────────────────────────────────────────────────────


def test_sample_of_the_design_loads(sample: GrantsFile) -> None:
    """The six targets of the example, in the order of the file."""
    assert {name: type(grant.target) for name, grant in sample.grants.items()} == {
        "deploy-web": AwsTarget,
        "migrate-db": VaultTarget,
        "publish-image": GcpTarget,
        "rotate": AzureTarget,
        "rollout": KubernetesTarget,
        "partner": TokenExchangeTarget,
    }


def test_values_are_text_as_written(sample: GrantsFile) -> None:
    """Numbers and booleans in `for` are the text that stands there, to the letter."""
    assert sample.grants["migrate-db"].conditions == {
        "issuer": (Wanted(text="https://gitlab.example.com"),),
        "project_id": (Wanted(text="1234"),),
        "ref": (Wanted(text="main"),),
        "ref_protected": (Wanted(text="true"),),
    }
    odd = "{issuer: i, a: 0x1F, b: 010, c: 1_000, d: yes, e: ~, f: 2026-01-01, g: 1e3, h: null}"
    read = parse(LEAST.replace("{issuer: i, sub: s}", odd), "x").grants["a"].conditions
    assert [wanted[0].text for wanted in read.values()][1:] == [
        "0x1F", "010", "1_000", "yes", "~", "2026-01-01", "1e3", "null",
    ]  # fmt: skip


def test_vault_target_is_read_in_full(sample: GrantsFile) -> None:
    """Paths and fields are split at the `#`, and what is public is marked."""
    assert sample.grants["migrate-db"].target == VaultTarget(
        address="https://vault.acme.example",
        mount="jwt",
        role="shop-migrate",
        namespace="team-shop",
        policies=("shop-db",),
        secrets={
            "DB_USER": SecretReference(
                path="database/creds/shop", field="username", is_public=True, line=28
            ),
            "DB_PASSWORD": SecretReference(path="database/creds/shop", field="password"),
            "LICENCE": SecretReference(path="secret/data/shop", field="licence"),
        },
    )


def test_aws_target_is_read_in_full(sample: GrantsFile) -> None:
    """A friendly policy becomes statements."""
    grant = sample.grants["deploy-web"]
    assert grant.target == AwsTarget(
        role="arn:aws:iam::123456789012:role/deploy-web",
        region="eu-west-1",
        policy=(PolicyStatement(allow=("s3:PutObject",), on=("arn:aws:s3:::shop-web/*",)),),
    )
    assert (grant.steps, grant.ttl, grant.line) == (("deploy",), timedelta(minutes=15), 3)


def test_defaults_are_those_of_the_design() -> None:
    """No steps, nothing accepted, a quarter of an hour, mount jwt."""
    grant = parse(LEAST, "x").grants["a"]
    assert (grant.steps, grant.accept, grant.audience) == ((), frozenset(), None)
    assert grant.ttl == timedelta(minutes=15)
    assert grant.target == VaultTarget(role="r", mount="jwt")


@pytest.mark.parametrize(
    ("text", "ttl"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("2h", timedelta(hours=2))],
)
def test_ttl_has_one_unit(text: str, ttl: timedelta) -> None:
    """Seconds, minutes or hours."""
    parsed = parse(LEAST.replace("vault:", f"ttl: {text}, vault:"), "x")
    assert parsed.grants["a"].ttl == ttl


def test_accept_and_globs_are_read() -> None:
    """Accepted refusals become a set; a glob says that it is one; a list is any of."""
    text = "ref: [main, {glob: release/*}]}, accept: [fork, debug], vault:"
    grant = parse(LEAST.replace("sub: s}, vault:", text), "x").grants["a"]
    assert grant.accept == {Accept.FORK, Accept.DEBUG}
    assert grant.conditions["ref"] == (
        Wanted(text="main"),
        Wanted(text="release/*", is_glob=True),
    )


def test_registered_claims_have_one_name_inside() -> None:
    """`iss`, `sub` and `aud` may be written; a grant has them as issuer, subject and audience."""
    text = LEAST.replace("{issuer: i, sub: s}", "{iss: i, sub: s, aud: a}")
    assert set(parse(text, "x").grants["a"].conditions) == {"issuer", "subject", "audience"}


def test_grants_cannot_be_changed(sample: GrantsFile) -> None:
    """What was decided on is what is exchanged: no mapping or field can be set afterwards."""
    grant = sample.grants["migrate-db"]
    assert isinstance(grant.target, VaultTarget)
    for mapping in (sample.grants, grant.conditions, grant.target.secrets):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]  # that it cannot be set is the point
    with pytest.raises(AttributeError):
        grant.ttl = timedelta(1)  # type: ignore[misc]  # the same


def test_unknown_grant_error_has_the_nearest_name(sample: GrantsFile) -> None:
    """A misspelt grant is a configuration error, not a denial."""
    assert sample.grant("rotate").name == "rotate"
    with pytest.raises(UnknownGrantError, match="did you mean `deploy-web`"):
        sample.grant("deploy-wed")


@pytest.mark.parametrize(
    ("table", "target"),
    [
        (targets.VAULT, VaultTarget),
        (targets.AWS, AwsTarget),
        (targets.GCP, GcpTarget),
        (targets.AZURE, AzureTarget),
        (targets.KUBERNETES, KubernetesTarget),
        (TOKEN_EXCHANGE, TokenExchangeTarget),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_keys_of_a_target_are_the_fields_of_its_class(
    table: Keys[object], target: type[VaultTarget]
) -> None:
    """No field is out of reach of the file, and no key without a field."""
    assert set(table.keys) == set(target.fields_)


def test_every_target_has_a_table() -> None:
    """The six of the design."""
    assert list(tables.TARGETS) == [
        "vault", "aws", "gcp", "azure", "kubernetes", "token_exchange",
    ]  # fmt: skip


# ── whatever is in the file ──────────────────────────────────────────────────────────────────

PIECES = st.sampled_from(
    [*SAMPLE.read_text().split(" "), *"\n \t\0:-,[]{}&*!|>'\"%@#?~<", "\n  ", "---\n", "\u2028"]
)


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(st.text() | st.lists(PIECES).map("".join) | st.lists(PIECES).map(" ".join))
def test_any_text_is_grants_or_a_grants_file_error(text: str) -> None:
    """The loader never fails in another way, whatever the file holds."""
    try:
        assert parse(text, "x").grants
    except GrantsFileError as error:
        assert str(error).startswith("x:")  # noqa: PT017  # either is right


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(st.data())
def test_any_edit_of_the_sample_is_grants_or_a_grants_file_error(data: st.DataObject) -> None:
    """Nor when a piece of a right file is replaced by another."""
    text = SAMPLE.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    edited = text[:start] + data.draw(st.text(max_size=8) | PIECES) + text[end:]
    try:
        assert parse(edited, "x").grants
    except GrantsFileError as error:
        assert str(error).startswith("x:")  # noqa: PT017  # either is right


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(st.binary())
def test_any_bytes_are_grants_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Nor for bytes that are no text."""
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(path)


def test_a_pipe_is_no_grants_file(tmp_path: Path) -> None:
    """Opening it would wait for somebody to write, with every signal blocked."""
    os.mkfifo(tmp_path / "grants.yml")
    with pytest.raises(GrantsFileMissingError):
        find(tmp_path / "grants.yml", None, tmp_path)
