"""What is said of a trust policy: the verdict, why a condition fails, and what to write instead."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from ci_identity.model import UnverifiedClaims
from ci_identity.trust.aws import evaluate
from ci_identity.trust.finding import Check, Result, Verdict
from tests.trust.policies import (
    ACCOUNT,
    ACTION,
    AUD,
    CLAIMS,
    ISSUER,
    PROVIDER,
    ROLE,
    SUB,
    policy,
    statement,
    token,
    trust,
)

IMMUTABLE = "repo:acme@7/shop@42"


def judge(document: Mapping[str, Any], claims: UnverifiedClaims | None = None) -> Verdict:
    return evaluate(document, claims or token(), role=ROLE)


def check(condition: Mapping[str, Any], claims: UnverifiedClaims | None = None) -> Check:
    """Return what is said of a statement's only condition."""
    (found,) = judge(trust(condition), claims).statements
    (_, _, said) = found.checks
    return said


# ── the verdict ──────────────────────────────────────────────────────────────────────────────

FITS = {"StringEquals": {SUB: CLAIMS["sub"]}}
FITS_NOT = {"StringEquals": {SUB: "repo:acme/other:ref:refs/heads/main"}}
UNKNOWN = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}


@pytest.mark.parametrize(
    ("statements", "result"),
    [
        ([("Allow", FITS)], Result.PASS),
        ([("Allow", FITS_NOT)], Result.FAIL),
        ([("Allow", FITS_NOT), ("Allow", FITS)], Result.PASS),
        ([("Allow", UNKNOWN)], Result.UNKNOWN),
        ([("Allow", UNKNOWN | FITS_NOT)], Result.FAIL),
        ([("Allow", UNKNOWN), ("Allow", FITS)], Result.PASS),
        ([("Allow", FITS), ("Deny", FITS)], Result.FAIL),
        ([("Allow", FITS), ("Deny", FITS_NOT)], Result.PASS),
        ([("Allow", FITS), ("Deny", UNKNOWN)], Result.UNKNOWN),
        ([("Deny", FITS_NOT)], Result.FAIL),
        ([], Result.FAIL),
    ],
)
def test_one_deny_is_enough_and_what_cannot_be_told_is_no_pass(
    statements: list[tuple[str, Mapping[str, Any]]], result: Result
) -> None:
    """An Allow that holds and no Deny that may: only that is a pass."""
    made = [statement(condition, Effect=effect) for effect, condition in statements]
    assert judge(policy(*made)).result is result


def test_every_condition_is_judged_not_only_the_first_that_fails() -> None:
    """Each statement has its name, and each check what was wanted and what the token has."""
    wrong = {"StringEquals": {AUD: ["a", "b"], SUB: CLAIMS["sub"]}, "Bool": {"aws:x": "true"}}
    (found,) = judge(trust(wrong, Sid="GitHub")).statements
    assert (found.name, found.applies) == ("1 (GitHub)", Result.FAIL)
    assert [(one.part, one.wanted, one.got, one.result) for one in found.checks] == [
        ("Principal", (PROVIDER,), PROVIDER, Result.PASS),
        ("Action", (ACTION,), ACTION, Result.PASS),
        (f"StringEquals {AUD}", ("a", "b"), "sts.amazonaws.com", Result.FAIL),
        (f"StringEquals {SUB}", (CLAIMS["sub"],), CLAIMS["sub"], Result.PASS),
        ("Bool aws:x", ("true",), None, Result.UNKNOWN),
    ]


def test_the_time_is_the_one_given() -> None:
    """`aws:CurrentTime` is `now`."""
    document = trust({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}})
    for year, result in ((2025, Result.PASS), (2026, Result.FAIL)):
        now = datetime(year, 6, 1, tzinfo=UTC)
        assert evaluate(document, token(), role=ROLE, now=now).result is result


def test_the_version_says_whether_there_are_variables() -> None:
    """`${...}` is a variable in a policy of 2012-10-17, and text in an older one."""
    made = statement({"StringEquals": {SUB: "repo:${*}"}})
    for version, subject in (("2012-10-17", "repo:*"), ("2008-10-17", "repo:${*}")):
        for one in ("repo:*", "repo:${*}"):
            result = Result.PASS if one == subject else Result.FAIL
            assert judge(policy(made, version=version), token(sub=one)).result is result


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_everybody_includes_us_for_a_deny(effect: str) -> None:
    """`*` counts against us; for us it is not taken as a yes."""
    for principal in ("*", {"AWS": "*"}):
        (found,) = judge(trust(Effect=effect, Principal=principal)).statements
        assert found.applies is (Result.PASS if effect == "Deny" else Result.UNKNOWN)


def test_not_principal_is_not_judged() -> None:
    """NotPrincipal makes it a matter that cannot be told."""
    document = trust(Principal=None, NotPrincipal={"Federated": PROVIDER}, Effect="Deny")
    assert judge(document).statements[0].applies is Result.UNKNOWN


def test_the_partition_is_the_role_s() -> None:
    """In another partition the provider's ARN is another one."""
    role = f"arn:aws-cn:iam::{ACCOUNT}:role/x"
    document = trust(Principal={"Federated": PROVIDER.replace("arn:aws:", "arn:aws-cn:")})
    assert evaluate(document, token(), role=role).result is Result.PASS
    assert judge(document).result is Result.FAIL


# ── which keys AWS has ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("issuer", "claim", "is_seen"),
    [
        (ISSUER, "sub", True),
        (ISSUER, "repository_owner_id", True),
        (ISSUER, "run_id", False),
        (ISSUER, "repository_owner", False),
        (f"{ISSUER}/acme", "repository_id", True),
        ("token.actions.acme.ghe.com", "environment", True),
        ("ghes.acme.example/_services/token", "sub", True),
        ("ghes.acme.example/_services/token", "repository", False),
        ("gitlab.com", "project_id", True),
        ("gitlab.com", "runner_environment", True),
        ("gitlab.com", "project_path", False),
        ("gitlab.acme.example", "aud", True),
        ("gitlab.acme.example", "project_id", False),
        ("agent.buildkite.com", "pipeline_id", True),
        ("agent.buildkite.com", "step_key", False),
        ("oidc.circleci.com/org/1", "oidc.circleci.com/project-id", True),
        ("oidc.circleci.com/org/1", "oidc.circleci.com/vcs-ref", False),
    ],
)
def test_a_claim_that_aws_has_no_key_for_never_matches(
    issuer: str, claim: str, *, is_seen: bool
) -> None:
    """Which claims of which issuer a trust policy can ask for is AWS's list."""
    claims = UnverifiedClaims({"iss": f"https://{issuer}", "sub": "s", "aud": "a", claim: "x"})
    provider = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"}
    document = trust({"StringEquals": {f"{issuer}:{claim}": "x"}}, Principal=provider)
    verdict = judge(document, claims)
    assert verdict.result is (Result.PASS if is_seen else Result.FAIL)
    assert ("AWS has no such key" in verdict.statements[0].checks[2].remark) is not is_seen


def test_a_claim_that_is_no_text_is_compared_as_json() -> None:
    """Numbers and booleans are their JSON text; null and objects are no value."""
    made = {"StringEquals": {f"{ISSUER}:repository_id": "42", f"{ISSUER}:ref": "true"}}
    assert judge(trust(made), token(repository_id=42, ref=True)).result is Result.PASS
    null = {"Null": {f"{ISSUER}:ref": "true"}}
    assert judge(trust(null), UnverifiedClaims(dict(token()) | {"ref": None})).result is Result.PASS
    assert judge(trust(null), token(ref={"a": 1})).result is Result.PASS


def test_several_audiences() -> None:
    """With `azp` that is the audience; without, a plain operator cannot tell which is meant."""
    audiences = ["sts.amazonaws.com", "other"]
    wanted = {"StringEquals": {AUD: "sts.amazonaws.com"}}
    assert check(wanted, token(aud=audiences)).result is Result.UNKNOWN
    assert check(wanted, token(aud=audiences, azp="sts.amazonaws.com")).result is Result.PASS
    assert check({"ForAnyValue:StringEquals": wanted["StringEquals"]}, token(aud=audiences)).result
    assert check(wanted, token(aud=["a", "b"])).result is Result.FAIL


def test_an_external_id_never_holds() -> None:
    """AssumeRoleWithWebIdentity has no ExternalId; a tag of the session comes from the token."""
    assert check({"StringEquals": {"sts:ExternalId": "x"}}).result is Result.FAIL
    tag = {"StringEquals": {"aws:RequestTag/team": "x"}}
    assert check(tag).result is Result.FAIL
    tagged = token(**{"https://aws.amazon.com/tags": {"principal_tags": {"team": ["x"]}}})
    assert check(tag, tagged).result is Result.UNKNOWN
    assert any("sts:TagSession" in one for one in judge(trust(), tagged).remarks)


# ── why, and what to write ───────────────────────────────────────────────────────────────────

_GITLAB = "project_path:acme/shop:ref_type:branch:ref:main"
CAUSES = [
    # wanted, token's, words, value to write (None: none)
    ("repo:acme/shop:*", f"{IMMUTABLE}:ref:refs/heads/main", "immutable", f"{IMMUTABLE}:*"),
    ("repo:acme/*", f"{IMMUTABLE}:ref:refs/heads/main", "immutable", "repo:acme@7/*"),
    (
        "repo:acme/shop:ref:refs/heads/main",
        f"{IMMUTABLE}:ref:refs/heads/main",
        "immutable (with ids)",
        f"{IMMUTABLE}:ref:refs/heads/main",
    ),
    (f"{IMMUTABLE}:*", CLAIMS["sub"], "legacy (without ids)", "repo:acme/shop:*"),
    (
        "repo:acme/shop:ref:refs/heads/main",
        f"{IMMUTABLE}:environment:production",
        "see that these ids are yours; and the job has an `environment:`",
        f"{IMMUTABLE}:environment:production",
    ),
    (
        "repo:acme/shop:ref:refs/heads/main",
        f"{IMMUTABLE}:ref:refs/heads/evil",
        "the policy is for ref:refs/heads/main, the job is for ref:refs/heads/evil",
        None,
    ),
    (f"{IMMUTABLE}:*", "repo:acme@8/shop@43:ref:refs/heads/main", "its id differs", None),
    (
        "repo:acme/shop:ref:refs/heads/main",
        "repo:acme/shop:environment:production",
        "the job has an `environment:`",
        "repo:acme/shop:environment:production",
    ),
    (
        "repo:acme/shop:environment:production",
        "repo:acme/shop:ref:refs/heads/main",
        "the job has no `environment:`, so its subject names the ref; give the job `environment: p",
        None,
    ),
    (
        "repo:acme/shop:ref:refs/heads/main",
        "repo:acme/shop:pull_request",
        "would let in every pull request",
        None,
    ),
    ("repo:acme/shop:ref:refs/heads/v1", CLAIMS["sub"], "the policy is for ref:refs", None),
    ("repo:acme/shop:ref:refs/heads/Main", CLAIMS["sub"], "only upper and lower case", None),
    ("project_path:acme/shop:ref_type:branch:ref:MAIN", _GITLAB, "upper and lower", None),
    ("project_path:Acme/shop", "project_path:acme/shop", "upper", "project_path:acme/shop"),
    ("repo:Acme/Shop:*", CLAIMS["sub"], "only upper and lower case", "repo:acme/shop:*"),
    ("repo:Acme/shop:ref:refs/heads/main", CLAIMS["sub"], "upper and lower", CLAIMS["sub"]),
    (
        "repo:Acme/Shop:*",
        f"{IMMUTABLE}:ref:refs/heads/main",
        "immutable (with ids)",
        f"{IMMUTABLE}:*",
    ),
    ("repo:acme/shop:* ", CLAIMS["sub"], "a space at an end", "repo:acme/shop:*"),
    ("repo:mallory/shop:*", CLAIMS["sub"], "another repository", None),
    (
        "repo:acme/shop:environment:prod",
        "repo:acme/shop:environment:prod:job_workflow_ref:x",
        "the subject goes on",
        "repo:acme/shop:environment:prod:*",
    ),
    ("repo:acme/shop:*", "repository_owner:acme:x", "customised", None),
    ("project_path:acme/shop:*", "x", "", None),
]


@pytest.mark.parametrize(("wanted", "got", "words", "value"), CAUSES)
def test_why_a_subject_does_not_match(wanted: str, got: str, words: str, value: str | None) -> None:
    """The cause is named; a line to write is given for the same repository only, and it works."""
    said = check({"StringLike": {SUB: wanted}}, token(sub=got))
    assert said.result is Result.FAIL
    assert words in said.remark
    assert said.replacement == (f'"StringLike": {json.dumps({SUB: value})}' if value else "")
    if said.replacement:
        written = json.loads(f"{{{said.replacement}}}")
        assert check(written, token(sub=got)).result is Result.PASS


def test_a_pattern_under_string_equals() -> None:
    """A `*` where it means nothing is named, and the operator that reads it written."""
    said = check({"StringEquals": {SUB: "repo:acme/shop:*"}})
    assert "StringLike only" in said.remark
    assert said.replacement == f'"StringLike": {json.dumps({SUB: "repo:acme/shop:*"})}'
    said = check(
        {"StringEquals": {SUB: "repo:acme/shop:*"}},
        token(sub=f"{IMMUTABLE}:ref:refs/heads/main"),
    )
    assert said.replacement == f'"StringLike": {json.dumps({SUB: f"{IMMUTABLE}:*"})}'


def test_the_other_values_stay() -> None:
    """The value that is wrong is replaced; its neighbours are not."""
    said = check({"StringLike": {SUB: ["repo:acme/other:*", "repo:Acme/shop:*"]}})
    values = ["repo:acme/other:*", "repo:acme/shop:*"]
    assert said.replacement == f'"StringLike": {json.dumps({SUB: values})}'


def test_the_audience() -> None:
    """Another audience: both ways out are named."""
    said = check({"StringEquals": {AUD: "https://github.com/acme"}})
    assert "`audience: https://github.com/acme` in the grant" in said.remark
    assert said.replacement == f'"StringEquals": {json.dumps({AUD: "sts.amazonaws.com"})}'


@pytest.mark.parametrize(
    ("key", "words", "written"),
    [
        (f"https://{ISSUER}:sub", "without https://", SUB),
        (f"{ISSUER}/:sub", "letter for letter", SUB),
        ("github.com:sub", "not of this token's issuer", ""),
        (f"{ISSUER}:environment", "the job has no `environment:`", ""),
        (f"{ISSUER}:enterprise_id", "the token has no claim enterprise_id", ""),
        (f"{ISSUER}:run_id", "the token has it, but AWS has no such key for this issuer", ""),
        (f"{ISSUER}:repo", "AWS has no such key for this issuer; it has aud, sub, repository", ""),
        ("sts:ExternalId", "has no ExternalId", ""),
    ],
)
def test_why_a_key_is_not_there(key: str, words: str, written: str) -> None:
    """A key that AWS has not got is told from a claim that the token has not got."""
    said = check({"StringEquals": {key: "x"}})
    assert (said.result, said.got) == (Result.FAIL, None)
    assert words in said.remark
    assert said.replacement == (f'"StringEquals": {json.dumps({written: "x"})}' if written else "")


@pytest.mark.parametrize(
    ("principal", "words"),
    [
        (f"arn:aws:iam::999999999999:oidc-provider/{ISSUER}", f"own account, {ACCOUNT}"),
        (f"arn:aws:iam::{ACCOUNT}:oidc-provider/https://{ISSUER}", "without https://"),
        (f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}/", "to the last letter and slash"),
        (f"https://{ISSUER}", "without https://"),
        (ISSUER, "named by its ARN"),
    ],
)
def test_why_the_provider_is_another(principal: str, words: str) -> None:
    """The slips in a principal are named, with what to write."""
    verdict = judge(trust(Principal={"Federated": principal}))
    said = verdict.statements[0].checks[0]
    assert words in said.remark
    assert said.replacement == f'"Principal": {json.dumps({"Federated": PROVIDER})}'


def test_no_statement_for_the_issuer() -> None:
    """A policy for other issuers only says which principal it lacks."""
    gitlab = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.com"}
    (remark,) = judge(trust(Principal=gitlab)).remarks
    assert PROVIDER in remark
    assert judge(trust()).remarks == ()


def test_the_action_is_another() -> None:
    """sts:AssumeRole is the slip that people make."""
    said = judge(trust(Action="sts:AssumeRole")).statements[0].checks[1]
    assert "another call" in said.remark
    assert said.replacement == f'"Action": "{ACTION}"'


def test_a_deny_is_not_explained_away() -> None:
    """What keeps us from a Deny is no mistake, so nothing is said about how to correct it."""
    other = {"StringEquals": {SUB: "repo:Acme/shop:ref:refs/heads/main"}}
    document = policy(statement(FITS), statement(other, Effect="Deny"))
    said = judge(document).statements[1].checks[2]
    assert (said.result, said.remark, said.replacement) == (Result.FAIL, "", "")


# ── dangers ──────────────────────────────────────────────────────────────────────────────────

OPEN, WIDE, LOOSE = "no condition says whose jobs", "in the owner's part", "also holds for a token"


@pytest.mark.parametrize(
    ("condition", "dangers"),
    [
        ({}, [OPEN]),
        ({"StringEquals": {AUD: "sts.amazonaws.com"}}, [OPEN]),
        ({"StringEquals": {f"{ISSUER}:environment": "production"}}, [OPEN]),
        ({"StringEquals": {f"{ISSUER}:job_workflow_ref": "a/b/c@d"}}, [OPEN]),
        ({"StringLike": {SUB: "*"}}, [OPEN]),
        ({"StringNotEquals": {SUB: "repo:a/b:c"}}, [OPEN]),
        ({"StringEquals": {f"{ISSUER}:run_id": "1"}}, [OPEN]),
        ({"StringEquals": {"gitlab.com:sub": "repo:acme/shop:x"}}, [OPEN]),
        ({"StringLike": {SUB: "repo:*"}}, [WIDE]),
        ({"StringLike": {SUB: "repo:acme*/shop:*"}}, [WIDE]),
        ({"StringLike": {SUB: "*:environment:production"}}, [WIDE]),
        ({"StringLike": {SUB: ["repo:acme/shop:ref:x", "repo:?cme/shop:*"]}}, [WIDE]),
        ({"StringLike": {SUB: "repo:acme/shop:*"}}, ["every branch, tag, environment"]),
        ({"StringLike": {SUB: "repo:acme/shop*:environment:x"}}, ["every repository"]),
        ({"StringLike": {SUB: "repo:acme/shop:ref:refs/heads/release-*"}}, []),
        ({"StringLike": {f"{ISSUER}:repository": "acme*"}}, [WIDE]),
        ({"ForAllValues:StringEquals": {SUB: "repo:acme/shop:x"}}, [LOOSE]),
        ({"ForAllValues:StringEquals": {f"{ISSUER}:repository_id": "42"}}, [LOOSE, OPEN]),
        ({"StringEqualsIfExists": {f"{ISSUER}:repository_id": "42"}}, [LOOSE, OPEN]),
        ({"StringLike": {SUB: "repo:acme/*"}}, ["every repository"]),
        ({"StringEquals": {f"{ISSUER}:repository_id": "42"}}, []),
        ({"ForAnyValue:StringEquals": {f"{ISSUER}:repository_owner_id": "7"}}, []),
        ({"StringLike": {SUB: "*"}, "StringEquals": {f"{ISSUER}:repository_id": "42"}}, []),
    ],
)
def test_dangers(condition: Mapping[str, Any], dangers: list[str]) -> None:
    """What lets in more than anybody may have meant is said, whether the job gets in or not."""
    (found,) = judge(trust(condition)).statements
    assert len(found.dangers) == len(dangers), found.dangers
    assert all(words in said for words, said in zip(dangers, found.dangers, strict=True))


def test_no_danger_where_it_is_not_for_us_or_a_deny() -> None:
    """Only an Allow for this provider is looked at."""
    assert judge(trust(Effect="Deny")).statements[0].dangers == ()
    assert judge(trust(Principal={"Service": "ec2.amazonaws.com"})).statements[0].dangers == ()
