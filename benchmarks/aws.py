"""How long it takes from nothing to an AWS credential, beside boto3 doing the same exchange.

    python benchmarks/aws.py                               # 15 rounds
    python benchmarks/aws.py --latency 40 --json aws.json  # 40 ms more for each request

GitHub's token endpoint and STS are one loopback server that answers at once, or after `--latency`
milliseconds. Each round runs every row once, in turn, so that a noisy machine is noisy to all:

    import       python -c "import ci_identity"
    exec         ci-identity exec --grant deploy-web -- true: two requests, a ledger, an endpoint
    boto3        a script that mints the same token and calls AssumeRoleWithWebIdentity with boto3
    library      ci_identity.session(...) entered and left, in a process that has done so before

The endpoint's own throughput and p99 are in benchmarks/endpoint.py.
"""
# ruff: noqa: INP001, S603, T201
# a script that prints a table, and runs nothing but Python and itself

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import ci_identity
from ci_identity.sandbox.issuer import Issuer

ROLE = "arn:aws:iam::123456789012:role/deploy-web"
GRANTS = """\
version: 1
grants:
  deploy-web:
    for: {{issuer: {issuer}, repository: acme/shop}}
    aws: {{role: {role}, region: eu-west-1, endpoint: {sts}}}
"""
ANSWER = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE000000000</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{expires}</Expiration></Credentials><AssumedRoleUser>
<AssumedRoleId>AROAEXAMPLE000000000:{name}</AssumedRoleId>
<Arn>arn:aws:sts::123456789012:assumed-role/deploy-web/{name}</Arn></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
BOTO3 = """
import os, boto3, requests
answer = requests.get(
    os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=sts.amazonaws.com",
    headers={"Authorization": "bearer " + os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]},
)
sts = boto3.client("sts", region_name="eu-west-1", endpoint_url=os.environ["STS"])
sts.assume_role_with_web_identity(
    RoleArn="arn:aws:iam::123456789012:role/deploy-web",
    RoleSessionName="benchmark",
    WebIdentityToken=answer.json()["value"],
)
"""


@contextmanager
def provider(latency: float) -> Iterator[str]:
    """Serve tokens and sessions, each after `latency` seconds; yield the address."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            audience = self.path.rpartition("audience=")[2] or "ci-identity"
            token = issuer.github_token(audience).reveal()
            self._answer(json.dumps({"value": token}).encode())

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            name = form.partition("RoleSessionName=")[2].partition("&")[0]
            ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 900))
            text = ANSWER.format(secret="x" * 40, token="y" * 800, expires=ends, name=name)
            self._answer(text.encode())

        def _answer(self, body: bytes) -> None:
            time.sleep(latency)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with Issuer() as issuer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        grants = Path(tempfile.gettempdir()) / f"benchmark-aws-{os.getpid()}.yml"
        grants.write_text(GRANTS.format(issuer=issuer.address, role=ROLE, sts=address))
        os.environ |= {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-minting-bearer",
            "CI_IDENTITY_GRANTS": str(grants),
            "CI_IDENTITY_STATE_DIR": tempfile.mkdtemp(prefix="benchmark-aws-"),
            "STS": address,
        }
        try:
            yield address
        finally:
            server.shutdown()
            grants.unlink()


def command(*words: str) -> Callable[[], None]:
    """Return what runs Python with `words`, to its end."""
    return lambda: subprocess.run(
        [sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).check_returncode()


def library() -> None:
    """Open and close one session."""
    with ci_identity.session("deploy-web"):
        pass


ROWS: Mapping[str, Callable[[], None]] = {
    "import": command("-I", "-c", "import ci_identity"),
    "exec": command("-I", "-m", "ci_identity", "exec", "--grant", "deploy-web", "--", "true"),
    "boto3": command("-I", "-c", BOTO3),
    "library": library,
}


def main() -> None:
    """Measure, print a table, and write JSON if asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    with provider(args.latency / 1000):
        for row in ROWS.values():  # once, for the caches
            row()
        for _ in range(args.rounds):
            for name, row in ROWS.items():
                start = time.perf_counter()
                row()
                times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        ratio = median / medians["boto3"]
        print(f"{name:8} {median:7.1f} ms  {ratio:5.2f} x boto3")
    if args.json:
        found = {"latency_ms": args.latency, "rounds": args.rounds, "median_ms": medians}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
