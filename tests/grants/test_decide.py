"""A grant is for a job only if everything matches; each reason why not is found and explained."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity._record import replace
from ci_identity.grants.decide import decide
from ci_identity.grants.load import parse
from ci_identity.model import (
    Accept,
    Grant,
    JobIdentity,
    Mismatch,
    UnverifiedClaims,
    VaultTarget,
    Wanted,
)

ISSUER = "https://token.actions.githubusercontent.com"


OWN = ("issuer", "subject", "audience", "event", "step", "fork", "debug")


def job(**changes: Any) -> JobIdentity:
    """A push to main of acme/shop; names that are not in `OWN` are claims."""
    own: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "repo:acme/shop:ref:refs/heads/main",
        "audience": ("https://vault.example",),
        "event": "push",
        "fork": False,
    }
    own |= {name: changes.pop(name) for name in OWN if name in changes}
    return JobIdentity(
        source="test",
        expires_at=datetime(2026, 11, 1, tzinfo=UTC),
        claims=UnverifiedClaims({"repository_id": "42"} | changes),
        **own,
    )


def grant(conditions: str = "repository_id: 42", keys: str = "") -> Grant:
    """A grant for jobs of GitHub with these conditions and other keys, as YAML in flow style."""
    asked = f"for: {{issuer: '{ISSUER}', {conditions}}}"
    text = f"version: 1\ngrants: {{a: {{{asked}, vault: {{role: r}}, {keys}}}}}\n"
    return parse(text, "grants.yml").grants["a"]


def only(asked: Grant, of: JobIdentity, **options: str) -> Mismatch:
    """The one mismatch that there is."""
    (mismatch,) = decide(asked, of, **options).mismatches
    return mismatch


# ── conditions ───────────────────────────────────────────────────────────────────────────────


def test_job_that_has_everything_is_allowed() -> None:
    """Every condition matches and no refusal holds."""
    decision = decide(grant(), job())
    assert (decision.grant, decision.is_allowed, decision.mismatches) == ("a", True, ())


@pytest.mark.parametrize(
    ("wanted", "claim"),
    [
        ("main", "main"),
        ("'42'", 42),
        ("42", 42),
        ("true", True),
        ("false", False),
        ("1.5", 1.5),
        ("b", ["a", "b"]),
        ("42", ["a", 42]),
        ("[a, b]", "b"),
        ("[a, b]", ["c", "b"]),
        ("{glob: v*}", "v1"),
        ("{glob: v*}", ["x", "v1"]),
        ("[main, {glob: v*}]", "v1"),
        ("'null'", "null"),
        ("'[]'", "[]"),
    ],
)
def test_claim_matches_as_its_text(wanted: str, claim: object) -> None:
    """Text is compared as it is, a number or boolean as its JSON text, a list by its elements."""
    assert decide(grant(f"x: {wanted}"), job(x=claim)).is_allowed


@pytest.mark.parametrize(
    ("wanted", "claim"),
    [
        ("main", "Main"),
        ("main", "main "),
        ("main", "maine"),
        ("main", "refs/heads/main"),
        ("'True'", True),
        ("1", True),
        ("42", 42.0),
        ("42", "042"),
        ("'null'", None),
        ("None", None),
        ("'{}'", {}),
        ("a", {"a": "a"}),
        ("'[]'", []),
        ("a", [["a"]]),
        ("a", [None, {"a": 1}]),
        ("{glob: '*'}", None),
        ("{glob: '*'}", 42),
        ("{glob: '*'}", True),
        ("{glob: '*'}", ""),
        ("{glob: '*'}", []),
        ("{glob: '*'}", [42]),
        ("{glob: '*'}", "a/b"),
        ("{glob: v.}", "v1"),
        ("v*", "v1"),
        ("é", "e\u0301"),
    ],
)
def test_claim_that_is_anything_else_does_not_match(wanted: str, claim: object) -> None:
    """No coercion, no case folding, no normalisation; null and objects match nothing."""
    mismatch = only(grant(f"x: {wanted}"), job(x=claim))
    assert (mismatch.claim, mismatch.got is None) == ("x", False)


def test_absent_claim_never_matches_and_nothing_overrides_that() -> None:
    """Not a glob, not all of `accept` together."""
    everything = "accept: [fork, pull_request_target, workflow_run, debug, audiences]"
    assert only(grant("x: {glob: '*'}", everything), job(fork=None, debug=True)).got is None


def test_every_mismatch_is_found() -> None:
    """`explain` can show all that is wrong at once."""
    asked = grant("repository_id: 43, ref: main, environment: production", "steps: [deploy]")
    of = job(issuer="https://ci.example", ref="dev", fork=True, debug=True, step="x")
    found = [mismatch.claim for mismatch in decide(asked, of).mismatches]
    assert found == ["issuer", "repository_id", "ref", "environment", "fork", "debug", "step"]


def test_mismatch_says_what_was_wanted_and_what_is_there() -> None:
    """A list reads as `or`; a glob as it is written."""
    mismatch = only(grant("ref: [main, {glob: v*}]"), job(ref="dev"))
    assert (mismatch.wanted, mismatch.got) == ("main or {glob: v*}", "dev")
    assert only(grant("ref: main"), job(ref=["a", 1])).got == "a, 1"


def test_claim_without_text_is_shown_as_json() -> None:
    """Null, an object and an empty text are told from an absent claim."""
    claims: tuple[object, ...] = (None, {"a": 1}, "", [])
    shown = [only(grant("ref: main"), job(ref=claim)).got for claim in claims]
    assert shown == ["null", '{"a": 1}', '""', "[]"]


def test_registered_claims_are_read_by_either_name() -> None:
    """`sub` in the file is the subject of the job, and any of the audiences may match."""
    asked = grant("sub: 'repo:acme/shop:ref:refs/heads/main', aud: b", "accept: [audiences]")
    assert decide(asked, job(audience=("a", "b"))).is_allowed
    assert only(asked, job(audience=("a", "c"))).claim == "audience"


def test_claim_called_issuer_is_not_the_issuer() -> None:
    """A token cannot bring the issuer it wants by a claim of that name."""
    claims = UnverifiedClaims({"issuer": ISSUER, "repository_id": "42"})
    forged = replace(job(issuer="https://evil.example"), claims=claims)
    assert only(grant(), forged).claim == "issuer"


def test_grant_made_in_code_without_conditions_is_for_nobody() -> None:
    """No conditions means no, also where no loader stood in between."""
    target = VaultTarget(role="r")
    assert not decide(Grant(name="a", conditions={}, target=target), job()).is_allowed
    empty: dict[str, tuple[Wanted, ...]] = {"repository_id": ()}
    assert not decide(Grant(name="a", conditions=empty, target=target), job()).is_allowed


def test_claims_cannot_reach_the_terminal_as_commands() -> None:
    """Control and direction characters of a claim are shown as escapes, and long claims are cut."""
    mismatch = only(grant("ref: main"), job(ref="a\x1b[2J\u202eb\n\ud800"))
    assert mismatch.got == r"a\x1b[2J\u202eb\n\ud800"
    long = only(grant("ref: main"), job(ref="x" * 5000)).got
    assert long is not None
    assert len(long) < 400


# ── built-in refusals ────────────────────────────────────────────────────────────────────────

REFUSED: dict[Accept, dict[str, Any]] = {
    Accept.FORK: {"fork": True},
    Accept.PULL_REQUEST_TARGET: {"event": "pull_request_target"},
    Accept.WORKFLOW_RUN: {"event": "workflow_run"},
    Accept.DEBUG: {"debug": True},
    Accept.AUDIENCES: {"audience": ("a", "b")},
}


@pytest.mark.parametrize("accept", Accept)
def test_built_in_refusal_holds_until_it_is_accepted(accept: Accept) -> None:
    """Each is overridden by its own word only, and the remark says which."""
    of = job(**REFUSED[accept])
    mismatch = only(grant(), of)
    assert (mismatch.claim, f"accept: [{accept}]" in mismatch.remark) == (accept.value, True)
    others = ", ".join(set(Accept) - {accept})
    assert only(grant(keys=f"accept: [{others}]"), of).claim == accept.value
    assert decide(grant(keys=f"accept: [{accept}]"), of).is_allowed


def test_unknown_fork_counts_as_a_fork() -> None:
    """A token that cannot tell is not trusted to be none."""
    mismatch = only(grant(), job(fork=None))
    assert (mismatch.claim, mismatch.got) == ("fork", "unknown")
    assert "counts as one" in mismatch.remark
    assert decide(grant(keys="accept: [fork]"), job(fork=None)).is_allowed


# ── steps ────────────────────────────────────────────────────────────────────────────────────


def test_step_of_the_grant_is_allowed_and_no_other() -> None:
    """The CI's own id of the step decides, whatever --step says."""
    asked = grant(keys="steps: [deploy, check]")
    assert decide(asked, job(step="check")).is_allowed
    mismatch = only(asked, job(step="build"))
    assert (mismatch.claim, mismatch.wanted, mismatch.got) == ("step", "deploy or check", "build")
    assert not decide(asked, job(step="build"), step="deploy").is_allowed


def test_steps_cannot_be_kept_where_the_ci_has_no_step_ids() -> None:
    """A label that the command line gives is no proof."""
    mismatch = only(grant(keys="steps: [deploy]"), job(), step="deploy")
    assert (mismatch.claim, mismatch.got) == ("step", None)
    assert "no step ids" in mismatch.remark


def test_step_flag_must_be_the_running_step() -> None:
    """Where the CI knows the step, --step may not say another; elsewhere it is a label."""
    assert only(grant(), job(step="build"), step="deploy").claim == "step"
    assert decide(grant(), job(step="deploy"), step="deploy").is_allowed
    assert decide(grant(), job(), step="deploy").is_allowed


# ── remarks ──────────────────────────────────────────────────────────────────────────────────

LEGACY, IMMUTABLE = "repo:acme/shop:", "repo:acme@7/shop@42:"
FILE = "acme/shop/.github/workflows/"


@pytest.mark.parametrize(
    ("claim", "wanted", "got", "says"),
    [
        ("repository", "Acme/Shop", "acme/shop", "upper and lower case"),
        ("ref", "{glob: V*}", "v1", "upper and lower case"),
        ("ref", "'main '", "main", "only spaces"),
        ("ref", "main", "refs/heads/main", "in full: refs/heads/main"),
        ("ref", "v1", "refs/tags/v1", "in full: refs/tags/v1"),
        ("ref", "refs/heads/main", "main", "without refs/heads/"),
        ("ref", "refs/heads/main", "refs/pull/7/merge", "pull or merge request"),
        ("ref_path", "refs/heads/main", "refs/merge-requests/7/head", "pull or merge request"),
        ("ref", "{glob: refs/heads/*}", "refs/pull/7/merge", "pull or merge request"),
        ("pipeline_source", "push", "merge_request_event", "pull or merge request"),
        ("ref", "refs/tags/v*", "refs/tags/v1", "as which it would match"),
        ("ref", "refs/tags/v*", "refs/heads/main", "an exact value holds a `*`"),
        ("ref", "{glob: refs/*}", "refs/heads/main", "never crosses a `/`"),
        ("job_workflow_ref", f"{FILE}a.yml@main", f"{FILE}b.yml@main", "renamed"),
        ("job_workflow_ref", f"{FILE}a.yml@main", f"{FILE}a.yml@dev", "at another ref"),
        ("x", "a", None, "no text, number or list"),
        ("x", "a", {"a": 1}, "no text, number or list"),
        ("ref", "main", "dev", ""),
        ("job_workflow_ref", f"{FILE}a.yml@main", "evil/x/.github/workflows/a.yml@main", ""),
    ],
)
def test_remark_tells_what_is_likely_behind_a_mismatch(
    claim: str, wanted: str, got: object, says: str
) -> None:
    """The slips that people make are recognised; what is not recognised gets no guess."""
    remark = only(grant(f"{claim}: {wanted}"), job(**{claim: got})).remark
    assert says in remark
    assert bool(remark) is bool(says)


@pytest.mark.parametrize(
    ("wanted", "got", "says"),
    [
        (LEGACY + "ref:refs/heads/main", IMMUTABLE + "ref:refs/heads/main", "GitHub's immutable"),
        (IMMUTABLE + "ref:refs/heads/main", LEGACY + "ref:refs/heads/main", "GitHub's legacy"),
        (LEGACY + "ref:refs/heads/main", LEGACY + "environment:prod", "has an `environment:`"),
        (LEGACY + "environment:prod", LEGACY + "ref:refs/heads/main", "has no `environment:`"),
        (LEGACY + "ref:refs/heads/main", LEGACY + "pull_request", "for a pull request"),
        (LEGACY + "ref:refs/heads/main", LEGACY + "ref:refs/heads/dev", ""),
        (LEGACY + "ref:refs/heads/main", "repo:evil/shop:environment:prod", ""),
        (IMMUTABLE + "ref:main", "repo:acme@7/shop@43:ref:main", ""),
    ],
)
def test_remark_knows_the_formats_of_githubs_subject(wanted: str, got: str, says: str) -> None:
    """Legacy against immutable, environment against ref; another repository is no format."""
    remark = only(grant(f"subject: '{wanted}'"), job(subject=got)).remark
    assert says in remark
    assert bool(remark) is bool(says)


def test_remark_on_the_issuers_slash() -> None:
    """The most common slip in issuers."""
    assert "`/` at the end" in only(grant(), job(issuer=f"{ISSUER}/")).remark


def test_remark_on_an_absent_claim_names_the_nearest() -> None:
    """A misspelt claim is told apart from one that the job does not have."""
    assert "`repository_id`" in only(grant("repositoryid: 42"), job()).remark
    assert "no `environment:`" in only(grant("environment: prod"), job()).remark
    assert only(grant("zone: a"), job()).remark == ""
    assert "\x1b" not in only(grant("zone: a"), job(**{"zone\x1b": 1})).remark


# ── whatever is in the claims ────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(wanted=st.text(min_size=1), is_glob=st.booleans(), claim=JSON)
def test_any_claim_is_decided_without_error(wanted: str, *, is_glob: bool, claim: object) -> None:
    """Whatever a token holds, the answer is a decision whose words can be printed."""
    conditions = {"x": (Wanted(text=wanted, is_glob=is_glob),)}
    asked = Grant(name="a", conditions=conditions, target=VaultTarget(role="r"))
    for mismatch in decide(asked, job(x=claim)).mismatches:
        assert mismatch.got is not None
        assert mismatch.got.isprintable()


@settings(deadline=None)  # another job on the machine is no defect of ours
@given(st.dictionaries(st.sampled_from(["repository_id", "x", "y"]), JSON))
def test_only_the_very_claims_are_allowed(claims: dict[str, Any]) -> None:
    """No other job than one with `repository_id` 42 and `x` a is ever allowed."""
    of = job(**{"repository_id": None} | claims)
    asked = grant("repository_id: 42, x: a")
    is_right = all(
        any(one in {want, int(want)} if want.isdecimal() else one == want for one in _list(value))
        for want, value in (("42", of.claims["repository_id"]), ("a", claims.get("x")))
    )
    assert decide(asked, of).is_allowed is is_right


def _list(value: object) -> list[Any]:
    elements = value if isinstance(value, list) else [value]
    return [one for one in elements if type(one) in {str, int}]
