"""A job's machine to plant secrets in, and the check that nothing of them is said."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_identity.doctor.environment import find
from ci_identity.doctor.finding import Finding


def secret(length: int = 40, *, seed: str = "planted") -> str:
    """Text that looks random, fits every kind of token, and is in no source file."""
    pieces = (hashlib.sha512(f"{seed} {i}".encode()).digest() for i in range(length // 64 + 1))
    return base64.b32encode(b"".join(pieces)).decode()[:length]


def jwt(**claims: object) -> str:
    pieces = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    encoded = (base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces)
    return ".".join((*encoded, secret()))


def id_token() -> str:
    return jwt(iss="https://issuer.test", aud=["vault", "aws"], exp=4102444800, sub="repo:a/b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The folders that doctor looks into."""

    home: Path
    cwd: Path
    root: Path

    @classmethod
    def made_in(cls, folder: Path) -> "Machine":
        machine = cls(home=folder / "home", cwd=folder / "work", root=folder / "root")
        for path in (machine.home, machine.cwd, machine.root):
            path.mkdir()
        return machine

    def plant(self, place: str, text: str) -> Path:
        start, _, rest = place.partition("/")
        path = {"~": self.home, ".": self.cwd, "": self.root}[start] / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def find(self, environ: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
        return find(environ or {}, self.home, self.cwd, self.root)


def assert_untold(findings: Iterable[Finding], *secrets: str) -> None:
    """No finding has any five characters in a row of any of the secrets, in any of its forms."""
    for finding in findings:
        told = f"{finding} {finding!r} {finding.kind} {finding.place} {finding.detail}"
        for value in secrets:
            pieces = {value[i : i + 5] for i in range(len(value) - 4)}
            assert not any(piece in told for piece in pieces), finding.kind
