"""`source`: a token that names no CI job is taken only for a grant that asks for it by name."""

from datetime import UTC, datetime

import pytest

from ci_identity._record import replace
from ci_identity.errors import GrantsFileError
from ci_identity.grants.decide import decide, refusal
from ci_identity.grants.load import parse
from ci_identity.model import Grant, JobIdentity, SourceName, UnverifiedClaims

ISSUER = "https://issuer.example"
JOB = JobIdentity(
    source="github",
    issuer=ISSUER,
    subject="who",
    audience=("vault",),
    fork=False,
    expires_at=datetime(2026, 11, 1, tzinfo=UTC),
    claims=UnverifiedClaims({}),
)
POD = replace(JOB, source="token-file", workload=SourceName.KUBERNETES, fork=None)


def _grant(keys: str = "") -> Grant:
    text = (
        f"version: 1\ngrants: {{a: {{for: {{issuer: '{ISSUER}'}}, vault: {{role: r}}, {keys}}}}}\n"
    )
    return parse(text, "grants.yml").grants["a"]


def test_without_it_any_ci_will_do() -> None:
    """Nothing changes for who does not need it."""
    assert _grant().source is None
    assert decide(_grant(), JOB).is_allowed


@pytest.mark.parametrize("workload", ["kubernetes", "spiffe", "machine"])
def test_a_workload_is_refused_unless_it_is_asked_for(workload: str) -> None:
    """Whatever the conditions say: they were written with a job in mind."""
    found = replace(POD, workload=SourceName(workload))
    decision = decide(_grant("accept: [fork]"), found)
    (mismatch,) = decision.mismatches
    assert (mismatch.claim, mismatch.got) == ("source", workload)
    assert f"`source: {workload}` in the grant" in str(refusal(decision))
    assert decide(_grant(f"accept: [fork], source: {workload}"), found).is_allowed


def test_a_workload_cannot_tell_whose_code_it_runs() -> None:
    """That counts as a fork, as everywhere."""
    (mismatch,) = decide(_grant("source: kubernetes"), POD).mismatches
    assert (mismatch.claim, mismatch.got) == ("fork", "unknown")


@pytest.mark.parametrize("named", ["spiffe", "token-file", "github"])
def test_only_its_own_name_asks_for_a_workload(named: str) -> None:
    """Neither another's, nor where it was found."""
    (mismatch,) = decide(_grant(f"accept: [fork], source: {named}"), POD).mismatches
    assert (mismatch.claim, mismatch.wanted, mismatch.got) == ("source", named, "kubernetes")


def test_a_ci_that_is_named_is_the_only_one() -> None:
    """Where a job has the variables of two."""
    assert decide(_grant("source: github"), JOB).is_allowed
    (mismatch,) = decide(_grant("source: buildkite"), JOB).mismatches
    assert (mismatch.wanted, mismatch.got) == ("buildkite", "github")


@pytest.mark.parametrize("name", ["jenkins-x", "GITHUB", "[github]", "token-command"])
def test_other_names_are_errors(name: str) -> None:
    """A slip would leave the grant open, or closed for ever."""
    with pytest.raises(GrantsFileError, match=r"`source`"):
        _grant(f"source: {name}")
