"""`ci-identity redact`: what passes through it, and what does not."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-I", "-m", "ci_identity", "redact")
PLAIN = ("redact", "--secret-env", "API_KEY")
SECRET = "correct-horse-7"


def redact(
    *options: str, given: bytes, secret: str = SECRET, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Send `given` through the filter, which masks the value of API_KEY."""
    return subprocess.run(
        [*COMMAND, "--secret-env", "API_KEY", *options],
        env={"API_KEY": secret},
        input=given,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["default", "fast"])
def test_secrets_are_masked_and_the_rest_is_untouched(mode: str) -> None:
    """The spellings that `exec` masks, at any size; no byte else is changed."""
    encoded = base64.b64encode(SECRET.encode())
    noise = bytes(range(256)) * 5000
    done = redact("--mode", mode, given=noise + SECRET.encode() + b" " + encoded + noise)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == noise + b"[MASKED] [MASKED]" + noise


@pytest.mark.parametrize(
    "module",
    [
        "raise RuntimeError",
        "raise OSError(24, 'Too many open files')",
        "HS_FLAG_SINGLEMATCH = HS_MODE_BLOCK = 1\nclass Database: __init__ = None",
    ],
    ids=["raises", "without-descriptors", "compiles-nothing"],
)
def test_an_engine_that_is_broken(tmp_path: Path, module: str) -> None:
    """The engine of the extra, met in mid-stream: what is wrong with it costs no output."""
    (tmp_path / "hyperscan.py").write_text(module)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from ci_identity import cli; "
    done = subprocess.run(
        [sys.executable, "-I", "-c", code + "cli.whole_process()", *PLAIN],
        env={"API_KEY": SECRET},
        input=b"x" * 200_000 + SECRET.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"x" * 200_000 + b"[MASKED]"


def test_a_variable_without_a_value_is_an_error() -> None:
    """A filter that masks nothing would be taken for one that does."""
    done = redact("--secret-env", "MISSPELT", given=SECRET.encode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"MISSPELT is not set" in done.stderr


def test_a_value_too_short_to_mask_is_named() -> None:
    """By its variable, not by itself."""
    done = redact(given=b"x", secret="abc12")
    assert (done.returncode, done.stdout) == (7, b"")
    assert b"API_KEY is too short" in done.stderr
    assert b"abc12" not in done.stderr


def test_output_that_cannot_be_written_is_an_error() -> None:
    """A log that is cut off is not a success."""
    with Path("/dev/full").open("wb") as full:
        done = redact(given=b"x" * 100, stdout=full.fileno())
    assert done.returncode == 7
    assert b"error[delivery-output]" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--secret-env", "OTHER", "--mode", "fast"),
        ("--mode=fast",),
        ("--secret-env=OTHER", "--mode", "fast", "--mode", "default"),
    ],
    ids=range(4),
)
def test_however_the_options_are_written(options: tuple[str, ...]) -> None:
    """A plain command line is read without argparse, and means the same."""
    code = (
        "import sys; from ci_identity.cli import main; code = main(); "
        "print('argparse' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, "redact", "--secret-env", "API_KEY", *options],
        env={"API_KEY": SECRET, "OTHER": "another-secret"},
        input=f"{SECRET[:4]}\n{SECRET[4:]} {SECRET}\n".encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    first, _, rest = done.stdout.partition(b"\n")
    is_fast = "fast" in options[-1:] or options == ("--mode=fast",)
    assert done.returncode == 0, done.stderr
    assert (b"corr" in first) == is_fast
    assert rest.endswith(b"%a\n" % any("=" in option for option in options))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), b"say which: --secret-env"),
        (("--mode", "fast"), b"say which: --secret-env"),
        (("--secret-env",), b"expected one argument"),
        (("--secret-env", "A", "--mode"), b"expected one argument"),
        (("--secret-env", "A", "--mode", "slow"), b"invalid choice: 'slow'"),
        (("--secret-env", "--mode", "fast"), b"expected one argument"),
        (("--secret-env", "A", "file", "other"), b"unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_is_refused(words: tuple[str, ...], said: bytes) -> None:
    """With what is wrong, and before anything is read."""
    done = subprocess.run([*COMMAND, *words], env={"A": SECRET}, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr
