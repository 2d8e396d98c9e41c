"""Tokens and claims of every shape: an identity and a decision, or one error that says no."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ci_identity._text import printable
from ci_identity.delivery.environ import clean, find_id_tokens
from ci_identity.errors import CiIdentityError
from ci_identity.grants.decide import decide
from ci_identity.grants.load import parse as parse_grants
from ci_identity.ledger.entry import Entry, Event
from ci_identity.model import SubjectToken
from ci_identity.sandbox.claims import github_claims, gitlab_claims
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify
from ci_identity.sources.subject_token import read
from tests.fuzz.shapes import bodies, like, some, texts, values

NOW = datetime.now(UTC)
GRANT = parse_grants(
    "version: 1\ngrants:\n  g:\n    for: {issuer: https://x.example, repository: acme/shop}\n"
    "    vault: {address: https://v.example, role: r}\n",
    "grants.yml",
).grant("g")
GITHUB = github_claims("https://x.example", "me", {})
GITLAB = gitlab_claims("https://x.example", "me", {})


def part(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def jwt(header: bytes, payload: bytes) -> str:
    return f"{part(header)}.{part(payload)}.c2lnbmF0dXJl"


def heed(text: str) -> None:
    """Do with a token what a run does with it, up to the exchange."""
    claims = read(Secret(text), origin="the test", audience=None, now=NOW)
    token = SubjectToken(token=Secret(text), claims=claims, source="github")
    job = identify(token)
    decision = decide(GRANT, job, step=None)
    said = [str(one) for one in (job.repository, job.ref, job.actor, job.run, job.job, job.subject)]
    assert all(printable(one) == one for one in said)
    about = {name: getattr(job, name) for name in ("issuer", "subject", "repository", "run", "job")}
    entry = Entry(
        event=Event.REQUESTED,
        lease="0",
        grant="g",
        step=job.step,
        target="t",
        identity=about,
        at=NOW,
    )
    assert str(entry)
    assert str(decision)


def refuse_or_heed(text: str) -> None:
    """Assert that the token is understood, or refused in our words and in none of its own."""
    try:
        heed(text)
    except CiIdentityError as error:
        said = f"{error} {error.cause} {error.hint}"
        assert printable(said) == said
        assert len(text) < 30 or text not in said


@some
@given(st.sampled_from([GITHUB, GITLAB]).flatmap(like), st.just(b'{"alg": "RS256"}') | bodies)
def test_claims_like_those_of_a_job(claims: Any, header: bytes) -> None:
    """Each claim is another thing than it should be."""
    refuse_or_heed(jwt(header, json.dumps(claims).encode("utf-8", "surrogatepass")))


@some
@given(bodies, bodies)
def test_parts_that_are_anything(header: bytes, payload: bytes) -> None:
    """Nor need the parts be what parts are."""
    refuse_or_heed(jwt(header, payload))


@some
@given(texts | st.lists(texts, max_size=6).map(".".join))
def test_texts_that_are_no_token(text: str) -> None:
    """Nor need the text be one."""
    refuse_or_heed(text)


@some
@given(st.dictionaries(texts, values | texts, max_size=5))
def test_variables_with_tokens_in_them(claims: dict[str, Any]) -> None:
    """What a step inherits is worked out for every value that a variable may have."""
    text = jwt(b'{"alg": "RS256"}', json.dumps(claims).encode("utf-8", "surrogatepass"))
    variables = {"A": text, "B": f"x {text}", "C": text[:-1], "D": "\udcff"}
    found = clean(variables, private=Path("/nonexistent"))
    is_id_token = {"iss", "aud", "exp"} <= claims.keys()
    assert ("A" in found) != (any(True for _ in find_id_tokens(text)) or is_id_token)
