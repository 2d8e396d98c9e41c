"""What is said of a trust policy's no: what it can compare, and what is often behind it."""

from typing import Any

import pytest

from ci_identity.errors import AwsAccessDeniedError
from ci_identity.exchangers.aws.denied import access_denied, comparable, likely
from ci_identity.model import JobIdentity
from tests.exchangers.aws.stage import ROLE, gitlab_job, job

LEGACY = "repo:acme/shop:ref:refs/heads/main"
IMMUTABLE = "repo:acme@7/shop@42:ref:refs/heads/main"
KEY = "token.actions.githubusercontent.com"


def causes(identity: JobIdentity) -> str:
    return "\n".join(likely(identity))


def test_error_has_what_a_reader_of_the_policy_needs() -> None:
    """The role and every claim travel on, for whoever has the policy at hand."""
    identity = job()
    error = access_denied(ROLE, identity)
    assert isinstance(error, AwsAccessDeniedError)
    assert (error.role, error.claims) == (ROLE, identity.claims)
    assert str(error) == f"AWS does not let this job have {ROLE}; it gives no reason"
    assert "aws iam get-role --role-name deploy-web --query" in error.hint
    assert error.retry_after is None


def test_everything_that_github_and_aws_let_a_policy_test() -> None:
    """Provider, audience, subject, and the claims that AWS has condition keys for; no other."""
    identity = job(environment="production", enterprise_id="3")
    assert dict(comparable(ROLE, identity)) == {
        "Principal Federated": f"arn:aws:iam::123456789012:oidc-provider/{KEY}",
        f"{KEY}:aud": "sts.amazonaws.com",
        f"{KEY}:sub": "repo:acme@7/shop@42:environment:production",
        f"{KEY}:repository": "acme/shop",
        f"{KEY}:repository_id": "42",
        f"{KEY}:ref": "refs/heads/main",
        f"{KEY}:environment": "production",
        f"{KEY}:job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        f"{KEY}:workflow": "deploy",
        f"{KEY}:actor": "octocat",
        f"{KEY}:actor_id": "583231",
        f"{KEY}:repository_owner_id": "7",
        f"{KEY}:enterprise_id": "3",
    }


def test_claims_of_gitlab_com_and_of_a_gitlab_of_ones_own() -> None:
    """AWS has keys for the claims of the first only; of the second it sees audience and subject."""
    keys = [key for key, _ in comparable(ROLE, gitlab_job("https://gitlab.com"))]
    assert keys[1:3] == ["gitlab.com:aud", "gitlab.com:sub"]
    assert sorted(keys[3:]) == [
        f"gitlab.com:{name}"
        for name in (
            "namespace_id",
            "pipeline_source",
            "project_id",
            "ref_protected",
            "runner_environment",
            "user_access_level",
            "user_email",
            "user_id",
            "user_login",
        )
    ]
    own = gitlab_job("https://gitlab.acme.example")
    assert len(list(comparable(ROLE, own))) == 3
    assert "AWS sees aud and sub only" in causes(own)
    assert "AWS sees aud and sub only" not in causes(gitlab_job("https://gitlab.com"))


def test_claim_of_circleci() -> None:
    """Its issuer has a path; its claims have names with one, too."""
    identity = job(
        issuer="https://oidc.circleci.com/org/1", **{"oidc.circleci.com/project-id": "p"}
    )
    found = dict(comparable(ROLE, identity))
    assert found["oidc.circleci.com/org/1:oidc.circleci.com/project-id"] == "p"


def test_account_and_partition_are_the_roles() -> None:
    """The provider must be in the account of the role."""
    role = "arn:aws-cn:iam::210987654321:role/x"
    provider = f"arn:aws-cn:iam::210987654321:oidc-provider/{KEY}"
    assert dict(comparable(role, job()))["Principal Federated"] == provider


SAID: dict[str, tuple[dict[str, Any], str]] = {
    "immutable": ({}, f"written for the older subject, {LEGACY};"),
    "legacy": ({"sub": LEGACY}, f"written for the newer subject, {IMMUTABLE};"),
    "environment": (
        {"environment": "ops"},
        "written for the branch or tag, repo:acme@7/shop@42:ref:refs/heads/main;",
    ),
    "legacy environment": (
        {"environment": "ops", "sub": "repo:acme/shop:environment:ops"},
        "written for the branch or tag, repo:acme/shop:ref:refs/heads/main;",
    ),
    "ref": ({}, "written for an environment, repo:acme@7/shop@42:environment:NAME;"),
    "pull request": ({"event_name": "pull_request"}, "the subject of a pull request has none"),
    "upper case": ({"repository": "Acme/Shop"}, "it must say Acme/Shop, exactly so"),
    "audience": ({"aud": "https://github.com/acme"}, "the audience is not sts.amazonaws.com"),
    "no role": ({}, "there is no such role"),
}


@pytest.mark.parametrize(("claims", "said"), SAID.values(), ids=SAID)
def test_what_is_recognised(claims: dict[str, Any], said: str) -> None:
    """Each common slip, with the exact text to compare the policy with."""
    assert said in causes(job(**claims))


def test_what_does_not_apply_is_not_said() -> None:
    """A job in small letters, with the usual audience and a branch."""
    said = causes(job())
    for absent in ("older format", "newer", "upper case", "audience", "pull request", "branch or"):
        assert absent not in said
    odd = causes(job(sub="a-subject-of-ones-own"))
    assert odd == "there is no such role in the account: AWS says the same then"


def test_claims_cannot_command_a_terminal_or_fill_the_log() -> None:
    """They are written by strangers: control characters are escaped, and each is cut short."""
    error = access_denied(
        ROLE, job(workflow="\x1b[2J\n::add-mask::x\u202e", environment="e" * 9000, actor="\r")
    )
    assert "\\x1b[2J\\n::add-mask::x\\u202e" in error.hint
    text = f"{error}{error.cause}{error.hint}"
    assert all(one.isprintable() or one == "\n" for one in text)
    assert "\n::" not in text
    assert len(text) < 5000
