"""Tokens handed over by hand: a file, as kubelets write it, or a variable."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.errors import AudienceError, MalformedTokenError, TokenFileError
from ci_identity.sources.token_file import MAX_FILE, TokenFileSource, TokenVariableSource

Sign = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "token"


def _source(file: Path, now: datetime) -> TokenFileSource:
    return TokenFileSource(file, now=lambda: now)


def test_a_file_gives_its_token(file: Path, sign: Sign, now: datetime) -> None:
    """White space around the token, as an editor leaves it, does not matter."""
    token = sign()
    file.write_text(f"  {token}\n")
    found = _source(file, now).fetch("vault")
    assert found.token.reveal() == token
    assert (found.source, found.step, found.debug) == ("token-file", None, False)


def test_a_file_is_read_again_at_every_fetch(file: Path, sign: Sign, now: datetime) -> None:
    """A kubelet writes a new token before the old one ends."""
    source = _source(file, now)
    for jti in ("one", "two"):
        file.write_text(sign(jti=jti))
        assert source.fetch("vault").claims["jti"] == jti


def test_a_kubelets_chain_of_links_is_followed(tmp_path: Path, sign: Sign, now: datetime) -> None:
    """token -> ..data/token, ..data -> ..2026_11_01: the way projected volumes are swapped."""
    volume = tmp_path / "..2026_11_01"
    volume.mkdir()
    (volume / "token").write_text(sign())
    (tmp_path / "..data").symlink_to(volume.name)
    (tmp_path / "token").symlink_to("..data/token")
    assert _source(tmp_path / "token", now).fetch("vault").claims["aud"] == "vault"


@pytest.mark.parametrize("content", [b"", b" \n", b"x" * (MAX_FILE + 1)], ids=["0", "blank", "big"])
def test_a_file_with_no_or_too_much_text_is_refused(
    content: bytes, file: Path, now: datetime
) -> None:
    """What cannot be a token is told by the file, not as a malformed token."""
    file.write_bytes(content)
    with pytest.raises(TokenFileError, match=r"it is (empty|larger than 65536 bytes)$"):
        _source(file, now).fetch("vault")


def test_a_missing_file_is_named(file: Path, now: datetime) -> None:
    """The path and the system's reason are in the message."""
    with pytest.raises(TokenFileError, match=r"token cannot be used: No such file or directory$"):
        _source(file, now).fetch("vault")


def test_a_file_that_everybody_may_write_is_refused(file: Path, sign: Sign, now: datetime) -> None:
    """Another user could choose who we are."""
    file.write_text(sign())
    file.chmod(0o646)
    with pytest.raises(TokenFileError, match=r"everybody may write to it"):
        _source(file, now).fetch("vault")


def test_a_folder_or_a_pipe_is_refused_and_does_not_hang(file: Path, now: datetime) -> None:
    """Only a regular file is read."""
    with pytest.raises(TokenFileError, match=r"regular file|Is a directory"):
        _source(file.parent, now).fetch("vault")
    os.mkfifo(file)
    with pytest.raises(TokenFileError, match=r"it is not a regular file"):
        _source(file, now).fetch("vault")


@pytest.mark.parametrize("content", [b"not a token", b"\xff\xfe\x00", b"{}"])
def test_a_file_with_something_else_is_malformed(content: bytes, file: Path, now: datetime) -> None:
    """The message names the file and holds nothing of it."""
    file.write_bytes(content)
    with pytest.raises(MalformedTokenError, match=rf"the token in {file} is not an OIDC"):
        _source(file, now).fetch("vault")


def test_a_files_token_must_be_for_the_audience(file: Path, sign: Sign, now: datetime) -> None:
    """A token handed over by hand is checked as any other."""
    file.write_text(sign(aud="x"))
    with pytest.raises(AudienceError, match=rf"the token in {file} is made for x"):
        _source(file, now).fetch("vault")


def test_the_variable_gives_its_token(sign: Sign, now: datetime) -> None:
    """CI_IDENTITY_TOKEN works on any CI."""
    token = sign()
    found = TokenVariableSource({"CI_IDENTITY_TOKEN": f"{token}\n"}, now=lambda: now).fetch("vault")
    assert found is not None
    assert found.token.reveal() == token
    assert (found.source, found.step, found.debug) == ("token-variable", None, False)


@pytest.mark.parametrize("environ", [{}, {"CI_IDENTITY_TOKEN": ""}])
def test_without_the_variable_it_says_nothing(environ: dict[str, str]) -> None:
    """An empty variable is an unset one, as in every CI's expressions."""
    assert TokenVariableSource(environ).fetch("vault") is None


def test_the_variables_token_is_checked_and_never_shown(sign: Sign, now: datetime) -> None:
    """A wrong audience, and something that is no token, are errors that name the variable."""
    with pytest.raises(AudienceError, match=r"^CI_IDENTITY_TOKEN is made for x;"):
        TokenVariableSource({"CI_IDENTITY_TOKEN": sign(aud="x")}, now=lambda: now).fetch("vault")
    source = TokenVariableSource({"CI_IDENTITY_TOKEN": "hunter2hunter2"}, now=lambda: now)
    with pytest.raises(MalformedTokenError, match=r"^CI_IDENTITY_TOKEN is not") as caught:
        source.fetch("vault")
    assert "hunter2" not in f"{caught.value!r} {source!r}"
