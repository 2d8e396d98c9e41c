"""`with`: what is written to a path, read as strictly as the rest of the file."""

from datetime import timedelta
from pathlib import Path
from typing import cast

import jsonschema  # type: ignore[import-untyped]  # it brings no types of its own
import pytest

from ci_identity.errors import GrantsFileError
from ci_identity.grants.lint import lint
from ci_identity.grants.load import load, parse
from ci_identity.grants.schema import schema
from ci_identity.model import SecretReference, VaultTarget
from tests.grants.editor import read

FILE = """\
version: 1
grants:
  a:
    for: {issuer: https://ci.example, sub: s}
    vault:
      role: r
      secrets:
        CERT: %s
"""


def reference(text: str) -> SecretReference:
    """Return what a line of `secrets:` is read as; an editor with the schema takes it too."""
    whole = FILE % text
    jsonschema.validate(read(whole), schema())
    return cast("VaultTarget", parse(whole, "x").grants["a"].target).secrets["CERT"]


def test_example_has_no_findings() -> None:
    """The grants in examples/vault are read, and nothing about them is advised against."""
    assert lint(load(Path(__file__).parents[2] / "examples" / "vault" / ".ci-identity.yml")) == ()


def test_parameters_are_text_as_written() -> None:
    """Numbers, booleans and durations go to the server as the file has them."""
    read_as = reference("{from: pki/issue/web#certificate, with: {common_name: a, n: 010, b: yes}}")
    assert (read_as.path, read_as.field) == ("pki/issue/web", "certificate")
    assert dict(read_as.parameters or {}) == {"common_name": "a", "n": "010", "b": "yes"}
    assert read_as.ttl is None


def test_ttl_is_read_as_the_one_of_a_grant() -> None:
    """It is no parameter like another: it is compared with the grant's."""
    read_as = reference("{from: ssh/issue/web#private_key, with: {ttl: 10m, key_type: ed25519}}")
    assert dict(read_as.parameters or {}) == {"key_type": "ed25519"}
    assert read_as.ttl == timedelta(minutes=10)


def test_no_parameters_are_written_all_the_same() -> None:
    """`with: {}` is a write; a line without `with` is a read."""
    assert dict(reference("{from: a/b#c, with: {}}").parameters or {"read": ""}) == {"read": ""}
    assert reference("{from: a/b#c, with: {}}").parameters is not None
    assert reference("{from: a/b#c}").parameters is None
    assert reference("a/b#c").parameters is None


def test_a_parameter_may_have_lines() -> None:
    """A certificate request, say, in YAML's block style."""
    text = '{from: pki/sign/web#certificate, with: {csr: "-----BEGIN\\nx\\n-----END\\n"}}'
    assert reference(text).parameters == {"csr": "-----BEGIN\nx\n-----END\n"}


def test_public_goes_with_it() -> None:
    """A certificate is no secret."""
    assert reference("{from: a/b#c, with: {}, public: true}").is_public


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{ttl: 10}", "`vault.secrets.CERT.with.ttl` must be a number and one unit"),
        ("{ttl: 25h}", "`vault.secrets.CERT.with.ttl` is longer than 24h"),
        ("{ttl: 1h30m}", "`vault.secrets.CERT.with.ttl` must be a number and one unit"),
        (
            "{alt_names: [a, b]}",
            "`vault.secrets.CERT.with.alt_names` must be the text of a parameter",
        ),
        ("{'a b': c}", "a parameter's name is letters, digits and _ . -"),
        ("{common_name: ''}", "`vault.secrets.CERT.with.common_name` has no value"),
        ("[a]", "`vault.secrets.CERT.with` must be a mapping"),
        ("a", "`vault.secrets.CERT.with` must be a mapping"),
    ],
)
def test_what_is_refused(given: str, problem: str) -> None:
    """The message has the line and the key."""
    with pytest.raises(GrantsFileError) as error:
        parse(FILE % f"{{from: a/b#c, with: {given}}}", "x")
    assert str(error.value).startswith("x:8: grant `a`: ")
    assert problem in str(error.value)
