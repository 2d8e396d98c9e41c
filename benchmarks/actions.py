"""How long `main` and `post` of actions/credentials take, beside the actions that it replaces.

    python benchmarks/actions.py --configure-aws-credentials DIR --vault-action DIR
    python benchmarks/actions.py --configure-aws-credentials DIR --latency 40 --json actions.json

DIR is a checkout of aws-actions/configure-aws-credentials or hashicorp/vault-action; a row whose
DIR is not given is left out. GitHub's token endpoint, STS and Vault are one loopback server that
answers at once, or after `--latency` milliseconds. Each round runs every row once, in turn, so that
a noisy machine is noisy to all; times are wall clock, from the start of node to its end. `cold` is
the first use after a checkout, without the files that Python compiles: on GitHub's own runners
every use is that.
"""
# ruff: noqa: INP001, S603, T201
# a script that prints a table, and runs nothing but node

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import yaml

from ci_identity.sandbox.claims import github_claims, github_variables

ROOT = Path(__file__).parents[1]
FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
ROLE = "arn:aws:iam::123456789012:role/deploy-web"
ISSUER = "https://token.actions.githubusercontent.com"

ASSUMED = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE000000000</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{expires}</Expiration></Credentials><AssumedRoleUser>
<AssumedRoleId>AROAEXAMPLE000000000:{name}</AssumedRoleId>
<Arn>arn:aws:sts::123456789012:assumed-role/deploy-web/{name}</Arn></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
CALLER = """\
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/deploy-web/x</Arn>
<UserId>AROAEXAMPLE000000000:x</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
RIGHTS = {
    "secret/data/shop": ["read"],
    "auth/token/revoke-self": ["update"],
    "sys/leases/revoke": ["update"],
}
VAULT = {
    "/v1/auth/jwt/login": {
        "auth": {
            "client_token": "s.benchmarkbenchmarkbench",
            "accessor": "benchmarkaccessor",
            "policies": ["default", "shop-db"],
            "token_policies": ["default", "shop-db"],
            "lease_duration": 600,
            "renewable": False,
            "token_type": "service",
            "orphan": True,
        }
    },
    "/v1/secret/data/shop": {
        "data": {
            "data": {"password": "x" * 32},
            "metadata": {"version": 1, "created_time": "2026-01-01T00:00:00Z"},
        }
    },
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """An action, with its inputs.

    Attributes:
        name: of the row.
        main, post: the scripts that node runs; not every action has a `post`.
        inputs: as in `with:`.
        bundle: whose compiled files are removed before each run, to measure it cold.
        took: milliseconds of each round, of `main` and of `post`.
    """

    name: str
    main: Path
    post: Path | None
    inputs: Mapping[str, str]
    bundle: Path | None = None
    took: Mapping[str, list[float]] = field(default_factory=lambda: {"main": [], "post": []})


class Providers(BaseHTTPRequestHandler):
    """GitHub, STS and Vault."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    latency = 0.0

    def do_GET(self) -> None:
        """Give a token, or what Vault has."""
        time.sleep(self.latency)
        url = urlsplit(self.path)
        if url.path != "/idtoken":
            self._vault(url.path)
            return
        claims = github_claims(ISSUER, parse_qs(url.query)["audience"][0], {})
        parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "x"}, claims, "x"))
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        self._send(json.dumps({"value": token}), "application/json")

    def do_POST(self) -> None:
        """Take a role, or log in."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        time.sleep(self.latency)
        if self.path == "/v1/sys/capabilities-self":
            paths = json.loads(body)["paths"]
            able = {path: RIGHTS.get(path, ["deny"]) for path in paths}
            self._send(json.dumps(able | {"data": able}), "application/json")
            return
        if self.path.startswith("/v1/"):
            self._vault(self.path)
            return
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        life = timedelta(seconds=int(asked.get("DurationSeconds", 3600)))
        expires = f"{datetime.now(UTC) + life:%Y-%m-%dT%H:%M:%SZ}"
        name = asked.get("RoleSessionName", "x")
        assumed = ASSUMED.format(secret="s" * 40, token="t" * 900, expires=expires, name=name)
        is_login = asked.get("Action") == "AssumeRoleWithWebIdentity"
        self._send(assumed if is_login else CALLER, "text/xml")

    do_PUT = do_POST  # noqa: N815  # a name that http.server looks for

    def _vault(self, path: str) -> None:
        if found := VAULT.get(path):
            self._send(json.dumps(found), "application/json")
            return
        self.send_response(204)
        self.end_headers()

    def _send(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base has it
        """Stay silent."""


@contextmanager
def serving(latency: float) -> Iterator[str]:
    """Run the providers, and give their address."""
    Providers.latency = latency
    with ThreadingHTTPServer(("127.0.0.1", 0), Providers) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def rows(args: argparse.Namespace, address: str, copies: Path) -> list[Row]:
    """Return what is compared, ours cold and warm."""
    aws = {"aws-role": ROLE, "aws-region": "eu-west-1"}
    vault = {
        "vault-address": address,
        "vault-role": "ci",
        "vault-secrets": "PASSWORD: secret/data/shop#password",
    }
    return [
        *theirs_for_aws(args.configure_aws_credentials),
        *ours("aws", copies, aws),
        *theirs_for_vault(args.vault_action, address),
        *ours("vault", copies, vault),
    ]


def ours(target: str, copies: Path, inputs: Mapping[str, str]) -> list[Row]:
    """Return our action for a target, warm and cold."""
    found: list[Row] = []
    for name in ("warm", "cold"):
        folder = copies / name / "credentials"
        found.append(
            Row(
                name=f"{target}: ci-identity" + (", cold" if name == "cold" else ""),
                main=folder / "main.js",
                post=folder / "post.js",
                inputs=defaults(folder) | {"steps": "all"} | inputs,
                bundle=copies / name / "dist" if name == "cold" else None,
            )
        )
    return found


def theirs_for_aws(folder: Path | None) -> list[Row]:
    """Return configure-aws-credentials, if there is one."""
    if folder is None:
        return []
    inputs = defaults(folder) | {"role-to-assume": ROLE, "aws-region": "eu-west-1"}
    scripts = {"main": folder / "dist/index.js", "post": folder / "dist/cleanup/index.js"}
    return [Row(name="aws: configure-aws-credentials", inputs=inputs, **scripts)]


def theirs_for_vault(folder: Path | None, address: str) -> list[Row]:
    """Return vault-action, if there is one."""
    if folder is None:
        return []
    given = {
        "url": address,
        "method": "jwt",
        "role": "ci",
        "jwtGithubAudience": address,
        "secrets": "secret/data/shop password | PASSWORD",
    }
    main = folder / "dist/index.js"
    return [Row(name="vault: vault-action", main=main, post=None, inputs=defaults(folder) | given)]


def defaults(folder: Path) -> dict[str, str]:
    """Return the inputs of an action as a runner gives them that were not set."""
    inputs = yaml.safe_load((folder / "action.yml").read_text())["inputs"]
    return {name: str(entry.get("default", "")) for name, entry in inputs.items()}


def run(row: Row, node: str, address: str, folder: Path) -> None:
    """Run one row once, and keep how long it took."""
    if row.bundle:
        for compiled in row.bundle.rglob("__pycache__"):
            shutil.rmtree(compiled)
    files = {name: str(folder / name) for name in FILES}
    for path in files.values():
        Path(path).write_text("")
    job = github_variables(github_claims(ISSUER, None, {})) | files
    job |= {f"INPUT_{name.replace(' ', '_').upper()}": text for name, text in row.inputs.items()}
    job |= {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RUNNER_TEMP": str(folder),
        "RUNNER_TOOL_CACHE": str(folder),
        "GITHUB_WORKSPACE": str(folder),
        "GITHUB_ACTION": "__benchmark",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/idtoken?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
        "AWS_ENDPOINT_URL_STS": address,
    }
    row.took["main"].append(timed([node, str(row.main)], job, folder))
    if row.post:
        job |= {f"STATE_{name}": value for name, value in state(files["GITHUB_STATE"]).items()}
        row.took["post"].append(timed([node, str(row.post)], job, folder))


def state(path: str) -> dict[str, str]:
    """Return what `main` has saved for `post`."""
    lines = iter(Path(path).read_text().splitlines())
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and "<<" not in name:  # as the runner tells the two forms apart
            found[name] = value
            continue
        name, _, delimiter = line.partition("<<")
        found[name] = "\n".join(iter(lambda: next(lines), delimiter))
    return found


def timed(command: list[str], environ: Mapping[str, str], folder: Path) -> float:
    """Run a command, which must succeed, and return the milliseconds that it took."""
    started = time.perf_counter()
    done = subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    took = (time.perf_counter() - started) * 1000
    if done.returncode:
        message = f"{command[-1]} has failed:\n{done.stdout}{done.stderr}"
        raise SystemExit(message)
    return took


def report(rows: list[Row]) -> list[dict[str, object]]:
    """Print the medians, each beside that of the first row for the same target, and return them."""
    found: list[dict[str, object]] = []
    print(f"{'':36}{'main ms':>10}{'':>8}{'post ms':>10}")
    first: dict[str, float] = {}
    for row in rows:
        medians = {part: statistics.median(took) for part, took in row.took.items() if took}
        target = row.name.partition(":")[0]
        beside = medians["main"] / first.setdefault(target, medians["main"])
        post = f"{medians['post']:10.0f}" if "post" in medians else f"{'none':>10}"
        print(f"{row.name:36}{medians['main']:10.0f}{beside:7.2f}x{post}")
        found.append({"name": row.name, "rounds": len(row.took["main"]), **medians})
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configure-aws-credentials", type=Path, metavar="DIR")
    parser.add_argument("--vault-action", type=Path, metavar="DIR")
    parser.add_argument("--node", default=shutil.which("node"), help="which node")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0, metavar="MS", help="of each request")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, serving(args.latency / 1000) as address:
        for name in ("warm", "cold"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "actions", Path(scratch, name), ignore=ignored)
        compared = rows(args, address, Path(scratch))
        for number in range(args.rounds + 1):
            for row in compared:
                folder = Path(scratch, f"{number}-{compared.index(row)}")
                folder.mkdir(exist_ok=True)
                run(row, args.node, address, folder)
            if number == 0:  # the first round fills caches, of the system and of Python
                for row in compared:
                    row.took["main"].clear()
                    row.took["post"].clear()
        found = report(compared)
    if args.json:
        args.json.write_text(json.dumps({"latency_ms": args.latency, "rows": found}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
