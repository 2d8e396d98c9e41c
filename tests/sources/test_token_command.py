"""Tokens that a command prints: real programs, found on a real PATH."""

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.errors import AudienceError, MalformedTokenError, TokenCommandError
from ci_identity.sources import token_command
from ci_identity.sources.token_command import TokenCommandSource, find, run

Sign = Callable[..., str]
Tool = Callable[..., Path]


def test_what_it_prints_is_the_token(tool: Tool, sign: Sign, now: datetime) -> None:
    """The audience stands where the command says, as one word and through no shell."""
    token = sign(aud="a b; $(id)")
    mint = tool("mint", f"printf '%s\\n' \"$@\" > \"$0.argv\"; echo '{token}'")
    source = TokenCommandSource(["mint", "--for={audience}"], {"PATH": str(mint.parent)})
    found = TokenCommandSource(source.command, source.environ, now=lambda: now).fetch("a b; $(id)")
    assert found.token.reveal() == token
    assert (found.source, found.step, found.fork) == ("token-command", None, None)
    assert Path(f"{mint}.argv").read_text() == "--for=a b; $(id)\n"


def test_a_wrong_audience_is_told(tool: Tool, sign: Sign, now: datetime) -> None:
    """A command is checked as any other source."""
    mint = tool("mint", f"echo '{sign(aud='x')}'")
    with pytest.raises(AudienceError, match=rf"^what {mint} prints is made for x;"):
        TokenCommandSource([str(mint)], {}, now=lambda: now).fetch("vault")


def test_what_is_printed_is_in_no_message(tool: Tool, now: datetime) -> None:
    """Neither what it says on stdout nor on stderr: either may be the token."""
    mint = tool("mint", "echo hunter2hunter2; echo hunter2hunter2 >&2")
    with pytest.raises(MalformedTokenError, match=r"three base64url parts") as caught:
        TokenCommandSource([str(mint)], {}, now=lambda: now).fetch("vault")
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_its_stderr_is_not_ours(
    tool: Tool, sign: Sign, now: datetime, capfd: pytest.CaptureFixture[str]
) -> None:
    """A tool that is told to trace would write the token to the log."""
    mint = tool("mint", f"echo '{sign()}' >&2; env >&2; echo '{sign()}'")
    environ = {"BUILDKITE_AGENT_DEBUG_HTTP": "true", "PATH": os.defpath}
    TokenCommandSource([str(mint)], environ, now=lambda: now).fetch("vault")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_traces_are_turned_off(tool: Tool) -> None:
    """Buildkite's agent dumps its answers on request; the request does not reach it."""
    show = tool("show", 'echo "[$BUILDKITE_AGENT_DEBUG_HTTP$BUILDKITE_AGENT_DEBUG$KEPT]"')
    environ = {"BUILDKITE_AGENT_DEBUG_HTTP": "1", "BUILDKITE_AGENT_DEBUG": "1", "KEPT": "kept"}
    assert run([str(show)], environ).reveal() == "[kept]"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", r"mint ended with 3$"),
        ("kill -9 $$", r"mint was ended by signal 9$"),
        ("true", r"mint printed nothing$"),
        ("echo; echo ' '", r"mint printed nothing$"),
        ("echo hunter2; exit 1", r"mint ended with 1$"),
    ],
)
def test_a_command_that_gives_nothing_is_told(tool: Tool, script: str, said: str) -> None:
    """By its path and its end."""
    mint = tool("mint", script)
    with pytest.raises(TokenCommandError, match=said):
        run([str(mint)], {"PATH": os.defpath})


def test_one_that_takes_too_long_is_ended_with_its_children(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that holds the pipe would hold us as well."""
    monkeypatch.setattr(token_command, "PATIENCE", 0.3)
    mint = tool("mint", f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(TokenCommandError, match=r"gave no token within"):
        run([str(mint)], {"PATH": os.defpath})
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 10  # what was killed may take a moment to be gone
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether it is there, and is not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_only_absolute_folders_are_searched(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked out is not run in the agent's place, by `.` or an empty entry of PATH."""
    mint = tool("mint", "echo x")
    monkeypatch.chdir(mint.parent)
    relative = os.path.relpath(mint.parent, tmp_path.parent)
    for path in ("", ".", f":{os.defpath}", relative, f"{relative}:."):
        assert find("mint", {"PATH": path}) is None
    assert find("mint", {"PATH": f".:{mint.parent}"}) == str(mint)
    assert find("./mint", {"PATH": str(mint.parent)}) is None
    with pytest.raises(TokenCommandError, match=r"^mint is not on the PATH$"):
        run(["mint"], {"PATH": "."})


def test_a_file_that_cannot_be_started_is_told(tool: Tool) -> None:
    """An interpreter that is not there."""
    mint = tool("mint", "true")
    mint.write_text("#!/no/such/interpreter\n")
    with pytest.raises(TokenCommandError, match=r"mint cannot be started$"):
        run([str(mint)], {})


def test_the_environment_is_not_shown(sign: Sign) -> None:
    """It holds tokens, and a source may be printed."""
    assert "ey" not in repr(TokenCommandSource(["mint"], {"X": sign()}))
