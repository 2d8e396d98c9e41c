"""Grants that may write policies of roles, or reach those that may, are found; others are not."""

import json
from collections.abc import Mapping

import pytest

from ci_identity.grants.lint import Finding, lint
from ci_identity.grants.load import parse

GITHUB = "issuer: https://token.actions.githubusercontent.com, repository_id: 42"
GITLAB = "issuer: https://gitlab.com, project_id: 42, ref: main, ref_protected: true"
ANY = f"{GITHUB}, environment: ops"
PINNED = f"{GITHUB}, job_workflow_ref: acme/ops/.github/workflows/reap.yml@refs/heads/main"
ROLE = "arn:aws:iam::123456789012:role/"
ALLOW_WRITES = "policy: [{allow: ['iam:PutRolePolicy'], on: ['*']}]"
ALLOW_READS = "policy: [{allow: ['s3:GetObject'], on: ['*']}]"


def raw(*statements: Mapping[str, object]) -> str:
    return f"policy: '{json.dumps({'Statement': list(statements)})}'"


def grant(name: str, policy: str = ALLOW_READS, *, role: str = "", conditions: str = PINNED) -> str:
    target = f"aws: {{role: '{ROLE}{role or name}', {policy}}}"
    return f"  {name}: {{for: {{{conditions}}}, {target}}}\n"


CUTTER = grant("reap", ALLOW_WRITES)


def findings(*grants: str) -> list[Finding]:
    text = "".join(["version: 1\ngrants:\n", *grants])
    codes = {"cut-unpinned", "cut-shared", "cut-reachable", "assume-any"}
    return [one for one in lint(parse(text, "grants.yml")) if one.code in codes]


def found(*grants: str) -> list[tuple[str, str]]:
    return [(one.grant, one.code) for one in findings(*grants)]


@pytest.mark.parametrize(
    "policy",
    [
        ALLOW_WRITES,
        "policy: [{allow: ['s3:*', 'IAM:put*'], on: ['arn:aws:iam::123456789012:role/ci-*']}]",
        "policy: [{allow: ['iam:Put?olePolicy'], on: ['*']}]",
        "policy: [{allow: ['*'], on: ['*']}]",
        raw({"Effect": "Allow", "Action": "iam:*", "Resource": "*"}),
        raw({"Effect": "Allow", "NotAction": ["s3:*"], "Resource": "*"}),
        raw(
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "iam:*", "Resource": "*", "Condition": {}},
        ),
        "policy_arns: ['arn:aws:iam::aws:policy/IAMFullAccess']",
        "policy_arns: ['arn:aws-cn:iam::aws:policy/AdministratorAccess']",
    ],
)
def test_a_cutter_that_no_workflow_is_asked_for_is_found(policy: str) -> None:
    """However the policy says it, and whatever the letters' case."""
    assert ("reap", "cut-unpinned") in found(grant("reap", policy, conditions=ANY))


@pytest.mark.parametrize(
    "policy",
    [
        ALLOW_READS,
        "region: eu-west-1",
        "policy: [{allow: ['iam:GetRolePolicy', 'iam:PutUserPolicy'], on: ['*']}]",
        raw({"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}),
        raw(
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": ["iam:*"], "Resource": "*"},
        ),
        raw({"Effect": "Deny", "Action": "iam:*", "Resource": "*"}),
        """policy: '{"Statement": ["iam:*", 7, {"Effect": "Allow", "Action": {"iam:*": 1}}]}'""",
        "policy_arns: ['arn:aws:iam::aws:policy/ReadOnlyAccess']",
    ],
)
def test_what_cannot_write_policies_is_no_cutter(policy: str) -> None:
    """Other actions, a Deny, and what is no policy at all but loads."""
    assert ("web", "cut-unpinned") not in found(grant("web", policy, conditions=ANY))


@pytest.mark.parametrize(
    ("conditions", "is_pinned"),
    [
        (PINNED, True),
        (f"{GITLAB}, ci_config_ref_uri: gitlab.com/acme/ops//reap.yml@refs/heads/main", True),
        (GITLAB, False),
        (PINNED.partition("acme/")[0] + "{glob: acme/ops/*}", False),
        (PINNED.replace("job_workflow_ref: ", "job_workflow_ref: [{glob: 'a/*'}, ") + "]", False),
        (PINNED.replace("job_workflow_ref", "workflow_ref"), False),
    ],
)
def test_a_cutter_is_pinned_by_its_workflow_and_ref(conditions: str, is_pinned: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """GitHub's claim or GitLab's, in full: a pattern pins nothing."""
    found_codes = [code for _, code in found(grant("reap", ALLOW_WRITES, conditions=conditions))]
    assert found_codes == ([] if is_pinned else ["cut-unpinned"])


def test_another_grant_for_the_role_that_cuts_is_found() -> None:
    """Its session policy is our side's only: AWS lets such a job have all of the role."""
    shared = grant("web", role="reap", conditions=ANY)
    assert found(CUTTER, shared) == [("web", "cut-shared")]
    assert found(CUTTER, grant("web", role="reap")) == []
    assert found(CUTTER, grant("web", conditions=ANY)) == []


@pytest.mark.parametrize(
    ("on", "codes"),
    [
        (f"{ROLE}reap", ["cut-reachable"]),
        (f"{ROLE}re*", ["cut-reachable"]),
        (f"{ROLE}re?p", ["cut-reachable"]),
        (f"{ROLE}*", ["cut-reachable", "assume-any"]),
        ("*", ["cut-reachable", "assume-any"]),
        (f"{ROLE}deploy-*", []),
        (f"{ROLE}[r]eap", []),
        ("arn:aws:iam::210987654321:role/reap", []),
    ],
)
def test_a_grant_that_may_assume_the_role_that_cuts_is_found(on: str, codes: list[str]) -> None:
    """The resource is a pattern of AWS's: `*` and `?`, and nothing else, are special."""
    web = grant("web", f"policy: [{{allow: ['sts:AssumeRole'], on: ['{on}']}}]")
    assert found(CUTTER, web) == [("web", code) for code in codes]


def test_what_is_denied_again_is_not_reachable() -> None:
    """A Deny for the role that cuts takes it out of what else is allowed."""
    allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": f"{ROLE}r*"}
    deny = {"Effect": "Deny", "Action": "sts:*", "Resource": f"{ROLE}reap"}
    assert found(CUTTER, grant("web", raw(allow, deny))) == []
    assert found(CUTTER, grant("web", raw(allow))) == [("web", "cut-reachable")]


def test_the_message_names_the_grant_that_cuts() -> None:
    """So that one knows which of two to change."""
    web = grant("web", role="reap", conditions=ANY)
    (finding,) = findings(CUTTER, web)
    assert "`reap`" in finding.message
    assert "iam:PutRolePolicy" in finding.message
