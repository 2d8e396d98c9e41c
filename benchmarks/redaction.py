"""How fast redaction is: `cat log | ci-identity redact | cat > /dev/null` beside plain `cat`.

    python benchmarks/redaction.py                      # 256 MB of generated CI log, 5 rounds
    python benchmarks/redaction.py --size 64 --rounds 3 --secrets 1 10 --json redaction.json
    python benchmarks/redaction.py --stream 5           # memory over 5 GB of log, made on the way

All contenders take turns within each round, each right behind a run of plain `cat` of its own. What
counts is the median of the ratios to these, with the lowest and the highest beside it: the speed of
a machine may double from one minute to the next, and a ratio of neighbours does not notice. The
clock runs from the first byte of the text to the end of the last; start-up, from the launch of
Python to the first line out, has its own column.
"""
# ruff: noqa: INP001, PLR2004, S311, S603, S607, T201
# a script that prints a table, of texts made up here, and runs nothing but cat and itself

import argparse
import base64
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from ci_identity.redaction import scan
from ci_identity.redaction import stream as redaction
from ci_identity.redaction.needles import spellings
from ci_identity.redaction.stream import Redactor

MB = 1 << 20
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


@dataclass(kw_only=True)
class Contender:
    """One way to handle one text."""

    text: str
    size: int
    mode: str
    engine: str
    secrets: int
    needles: int = 0
    seconds: list[float] = field(default_factory=list)
    cat_seconds: list[float] = field(default_factory=list)
    start_ms: list[float] = field(default_factory=list)
    resident_mb: float = 0.0

    @property
    def rate(self) -> float:
        """Median, MB/s."""
        return self.size / MB / statistics.median(self.seconds)

    @property
    def ratios(self) -> list[float]:
        """Times `cat`, of each round, in order of size."""
        return sorted(cat / ours for cat, ours in zip(self.cat_seconds, self.seconds, strict=True))


# ── what is measured ─────────────────────────────────────────────────────────────────────────


COMMAND = "from ci_identity.cli import main; import sys; sys.exit(main())"
WITHOUT_EXTRA = "import sys; sys.modules['hyperscan'] = None; "


def words(contender: Contender, environ: dict[str, str]) -> list[str]:
    """Return the command to run: the real one, with the engine that is asked for."""
    if not contender.secrets:
        return ["cat"]
    code = COMMAND if contender.engine == "hyperscan" else WITHOUT_EXTRA + COMMAND
    names = [word for name in environ for word in ("--secret-env", name)]
    return [sys.executable, "-I", "-c", code, "redact", "--mode", contender.mode, *names]


def run_round(contender: Contender, text: Path, environ: dict[str, str]) -> None:
    """Send the text through once and note the time."""
    launched = time.perf_counter()
    with subprocess.Popen(
        words(contender, environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as middle:
        assert middle.stdin  # noqa: S101  # for the type checker: it is a pipe
        assert middle.stdout  # noqa: S101
        os.write(middle.stdin.fileno(), b"ready\n")
        os.read(middle.stdout.fileno(), 6)
        contender.start_ms.append(1000 * (time.perf_counter() - launched))
        with subprocess.Popen(["cat"], stdin=middle.stdout, stdout=subprocess.DEVNULL) as sink:
            middle.stdout.close()
            started = time.perf_counter()
            with subprocess.Popen(["cat", text], stdout=middle.stdin) as source:
                source.wait()
            contender.resident_mb = resident(middle.pid)  # it ends only when our end is closed, too
            middle.stdin.close()
            sink.wait()
            contender.seconds.append(time.perf_counter() - started)


def resident(pid: int) -> float:
    """Return the most memory that it has held so far, in MB; rusage would count its parent's."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def stream(gigabytes: int) -> None:
    """Print how much memory the redactor has held after each GB of one endless log."""
    secrets = make_secrets(10)
    environ = {f"S{number}": value for number, value in enumerate(secrets)}
    for engine in engines():
        row = Contender(text="log", size=gigabytes << 30, mode="default", engine=engine, secrets=10)
        log = make_log(secrets)
        with subprocess.Popen(
            words(row, environ), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environ
        ) as redactor:
            assert redactor.stdin  # noqa: S101  # for the type checker: it is a pipe
            for gigabyte in range(1, gigabytes + 1):
                for _ in range(1024):
                    redactor.stdin.write(next(log)[:MB].ljust(MB))
                print(f"{engine:9} {gigabyte} GB: {resident(redactor.pid):.1f} MB", flush=True)


def choose(engine: str) -> None:
    """Have this process use one of `engines()`."""
    if engine == "stdlib":
        vars(redaction)["index"] = scan.Scanner


def engines() -> list[str]:
    """Return those that can be had."""
    return ["stdlib", "hyperscan"] if find_spec("hyperscan") else ["stdlib"]


def line_latency(secrets: list[str], mode: str) -> float:
    """Microseconds that `feed` takes for a line of 80 bytes without its end."""
    redactor = Redactor(secrets, mode="fast" if mode == "fast" else "default")
    line = b"2026-08-21T10:11:12.123Z npm http fetch GET 200 https://registry.example/left-pa"
    times: list[float] = []
    for _ in range(2000):
        started = time.perf_counter()
        redactor.feed(line)
        times.append(time.perf_counter() - started)
    return 1e6 * statistics.median(times)


# ── texts and secrets ────────────────────────────────────────────────────────────────────────


def token(chance: random.Random, size: int, alphabet: str = ALNUM) -> str:
    """Return `size` characters."""
    return "".join(chance.choices(alphabet, k=size))


def make_secrets(count: int) -> list[str]:
    """Return the mix that jobs have: tokens, passwords, JWTs, access keys, PEM keys."""
    chance = random.Random(7)
    kinds: list[Callable[[], str]] = [
        lambda: "ghs_" + token(chance, 36),
        lambda: token(chance, 24, ALNUM + "!\"#$%&'()*+,-./:;<=>?@[]^_{|}~\\"),
        lambda: "eyJhbGciOiJSUzI1NiIsInR5cCI6Ikp" + token(chance, chance.randint(650, 2100)),
        lambda: "AKIA" + token(chance, 16, string.ascii_uppercase + string.digits),
        lambda: (
            "-----BEGIN PRIVATE KEY-----\n"
            + "\n".join(token(chance, 64, ALNUM + "+/") for _ in range(25))
            + "\n-----END PRIVATE KEY-----"
        ),
        lambda: "glpat-" + token(chance, 30),
        lambda: "IQoJb3JpZ2luX2Vj" + token(chance, chance.randint(500, 1100), ALNUM + "+/"),
        lambda: "hvs." + token(chance, 91),
        lambda: "A1a-" + token(chance, 16),
        lambda: token(chance, 64, HEX),
    ]
    return [kinds[number % len(kinds)]() for number in range(count)]


def log_line(chance: random.Random) -> str:
    """Return one line as builds print them; three in ten are coloured."""
    word, number = token(chance, 8).lower(), chance.randint(1, 999)
    body = chance.choice(
        [
            f"npm http fetch GET 200 https://registry.npmjs.org/{word}/-/{word}-1.{number}.tgz",
            f"Collecting {word}==2.{number}  --hash=sha256:{token(chance, 64, HEX)}",
            f"#{number} sha256:{token(chance, 64, HEX)} 12.1MB / {number}.0MB 3.2s",
            f"[{number % 100:3d}%] Building CXX object src/{word}/CMakeFiles/{word}.dir/{word}.o",
            f"tests/{word}/test_{word}.py::test_{word}_is_{number} PASSED",
            json.dumps({"level": "info", "msg": f"{word} done", "trace": token(chance, 32, HEX)}),
            f"    at {word} (node_modules/{word}/lib/index.js:{number}:17)",
            f"\r{number % 100:3d}% |{'#' * (number % 40)}| {number}/999",
            f"warning: {word} is deprecated, use {word[:4]} instead, see the notes of {number}",
            f"integrity sha512-{token(chance, 86, ALNUM + '+/')}==",
        ]
    )
    if chance.random() < 0.3:
        place = chance.randint(0, len(body))
        body = (
            f"{body[:place]}\x1b[{chance.choice(['31', '1;32', '38;5;208'])}m{body[place:]}\x1b[0m"
        )
    return f"2026-08-21T10:11:{number % 60:02d}.{number:07d}Z {body}\n"


def make_log(secrets: list[str]) -> Iterator[bytes]:
    """Yield blocks of 1 MB with one secret each, plain or as a base64 pair; 16 differ."""
    chance = random.Random(11)
    blocks: list[bytes] = []
    while True:
        if len(blocks) < 16:
            lines = [log_line(chance) for _ in range(MB // 110)]
            secret = chance.choice(secrets)
            pair = base64.b64encode(f"user:{secret}".encode()).decode()
            lines.insert(chance.randrange(len(lines)), f"token={chance.choice([secret, pair])}\n")
            blocks.append("".join(lines).encode())
            yield blocks[-1]
        else:
            yield chance.choice(blocks)


def make_prefixes(secrets: list[str]) -> Iterator[bytes]:
    """Yield nothing but the first 30 to 95 % of needles."""
    chance = random.Random(13)
    needles = [form for secret in secrets for form in spellings(secret.encode())]
    while True:
        needle = chance.choice(needles)
        yield needle[: int(len(needle) * chance.uniform(0.3, 0.95))]


def make_texts(secrets: list[str]) -> dict[str, Iterator[bytes]]:
    """Return the texts by name, each as an endless supply."""
    return {
        "log": make_log(secrets),
        "one letter": iter(lambda: b"A" * MB, None),
        "only prefixes": make_prefixes(secrets),
        "only secrets": iter(lambda: secrets[0].encode() * 1000, None),
        "all coloured": iter(lambda: b"\x1b[31mx\x1b[0my" * 10000, None),
    }


def fill(path: Path, supply: Iterator[bytes], size: int) -> None:
    """Write `size` bytes."""
    with path.open("wb") as file:
        while (missing := size - file.tell()) > 0:
            file.write(next(supply)[:missing])


# ── the run ──────────────────────────────────────────────────────────────────────────────────


def measure(options: argparse.Namespace, folder: Path) -> list[Contender]:
    """Run everything, round by round."""
    done: list[Contender] = []
    for count in options.secrets:
        secrets = make_secrets(count)
        hunted = [*secrets, "A" * 63 + "B", "A" * 200 + "Z"]
        for name, supply in make_texts(secrets).items():
            if name not in (options.texts or [name]):
                continue
            size = options.size * MB // (1 if name == "log" else 16)
            text = folder / "text"
            fill(text, supply, size)
            values = hunted if name == "one letter" else secrets
            environ = {f"S{number}": value for number, value in enumerate(values)}
            contender = partial(Contender, text=name, size=size)
            turn: list[Contender] = []
            for mode, engine in product(("fast", "default"), engines()):
                row = contender(mode=mode, engine=engine, secrets=count)
                row.needles = len({n for s in secrets for n in spellings(s.encode())})
                turn.append(row)
            for _ in range(options.rounds):
                for row in turn:
                    cat = contender(mode="cat", engine="", secrets=0)
                    run_round(cat, text, {})
                    row.cat_seconds += cat.seconds
                    run_round(row, text, environ)
            report(turn)
            done += turn
    return done


def report(turn: list[Contender]) -> None:
    """Print one text's rows."""
    for row in turn:
        ratios = row.ratios
        print(
            f"{row.text:14} {row.secrets:7} {row.needles:7} {row.mode:8} {row.engine:9} "
            f"{row.rate:5.0f} {statistics.median(ratios):6.2f} {ratios[0]:7.2f} {ratios[-1]:7.2f} "
            f"{statistics.median(row.start_ms):9.0f} {row.resident_mb:6.0f}",
            flush=True,
        )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="MB of log (other texts: a 16th)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secrets", type=int, nargs="+", default=[1, 3, 10, 100])
    parser.add_argument("--texts", nargs="+", help="by name, such as log; all if not given")
    parser.add_argument("--folder", type=Path, help="where the texts are kept while it runs")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--stream", type=int, metavar="GB", help="measure memory instead")
    options = parser.parse_args()
    if options.stream:
        stream(options.stream)
        return
    print(
        "text           secrets needles mode     engine     MB/s  x cat  lowest highest  start ms "
        "RSS MB"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        done = measure(options, Path(folder))
    for engine, mode in product(reversed(engines()), ("fast", "default")):
        choose(engine)
        latency = line_latency(make_secrets(3), mode)
        print(f"feed() of a line of 80 bytes, 3 secrets, {mode}, {engine}: {latency:.1f} us")
    if options.json:
        rows = [{**asdict(row), "mb_per_s": row.rate, "x_cat": row.ratios} for row in done]
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
