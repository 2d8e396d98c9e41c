"""The linter finds what is allowed and yet likely a mistake, and leaves good grants alone."""

from pathlib import Path

import pytest

from ci_identity.grants.lint import RULES, Finding, lint
from ci_identity.grants.load import load, parse

GITHUB = "issuer: https://token.actions.githubusercontent.com"
GITLAB = "issuer: https://gitlab.com"
GITHUB_OR_GITLAB = f"issuer: [{GITHUB[8:]}, {GITLAB[8:]}]"
GOOD = f"{GITHUB}, repository_id: 42, environment: staging"
GOOD_GITLAB = f"{GITLAB}, project_id: 42, ref: main, ref_protected: true"
OTHER = "issuer: https://ci.example, pipeline_slug: x, pipeline_id: y"
VAULT = "vault: {role: r, policies: [p]}"


def findings(conditions: str = GOOD, keys: str = VAULT, name: str = "a") -> tuple[Finding, ...]:
    text = f"version: 1\ngrants:\n  {name}: {{for: {{{conditions}}}, {keys}}}\n"
    return lint(parse(text, "grants.yml"))


def written(ttl: str) -> str:
    """Return a target with a secret that is to live for `ttl`."""
    return f"vault: {{role: r, policies: [p], secrets: {{A: {{from: a#b, with: {{ttl: {ttl}}}}}}}}}"


def codes(conditions: str = GOOD, keys: str = VAULT, name: str = "a") -> set[str]:
    return {finding.code for finding in findings(conditions, keys, name)}


def secret(name: str, field: str) -> str:
    return (
        f"vault: {{role: r, policies: [p], secrets: {{{name}: {{from: a#{field}, public: true}}}}}}"
    )


@pytest.mark.parametrize("conditions", [GOOD, GOOD_GITLAB, OTHER])
def test_good_grant_has_no_findings(conditions: str) -> None:
    """Ids, a narrowing claim, policies: nothing to say."""
    assert findings(conditions) == ()


def test_sample_of_the_documentation_has_no_findings() -> None:
    """What we teach is what we would accept."""
    assert lint(load(Path(__file__).parents[2] / "examples" / ".ci-identity.yml")) == ()


@pytest.mark.parametrize(
    ("code", "conditions", "keys"),
    [
        ("any-tenant", "issuer: https://ci.example", VAULT),
        ("any-tenant", f"{GITHUB}, ref: refs/heads/main", VAULT),
        ("any-tenant", f"{GITHUB}, ref: main, repository: {{glob: '*/*'}}", VAULT),
        ("any-tenant", f"{GITHUB}, repository: {{glob: 'acme*/x'}}", VAULT),
        ("any-tenant", f"{GITHUB}, subject: {{glob: 'repo:*'}}", VAULT),
        ("any-tenant", "issuer: https://ci.example, x: {glob: '*'}", VAULT),
        ("issuer-glob", "issuer: {glob: 'https://*.example'}, x: y", VAULT),
        ("issuer-address", "issuer: token.actions.githubusercontent.com, repository_id: 42", VAULT),
        ("issuer-address", "issuer: http://gitlab.example, project_id: 42", VAULT),
        ("issuer-address", "issuer: [https://ci.example, git.example], project_id: 42", VAULT),
        ("issuer-misspelt", f"{GITHUB}/, repository_id: 42", VAULT),
        ("issuer-misspelt", f"{GITLAB}/, project_id: 42", VAULT),
        ("issuer-misspelt", "issuer: https://GitLab.com, project_id: 42", VAULT),
        ("issuer-misspelt", "issuer: https://github.com, repository_id: 42", VAULT),
        ("claim-foreign", f"{GITHUB}, project_id: 42", VAULT),
        ("claim-foreign", f"{GITHUB}/, project_path: a/b", VAULT),
        ("claim-foreign", f"{GOOD}, ref_path: refs/heads/main", VAULT),
        ("claim-foreign", f"{GOOD}, pipeline_id: 7", VAULT),
        ("claim-foreign", f"{GOOD_GITLAB}, repository_id: 42", VAULT),
        ("claim-foreign", "issuer: https://gitlab.acme.example, job_workflow_ref: a@b", VAULT),
        ("claim-foreign", f"{GITHUB_OR_GITLAB}, repository_id: 42, project_id: 42", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: main", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: [main, v1]", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: {{glob: v*}}", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: {{glob: release/*}}", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: {{glob: '*'}}", VAULT),
        ("value-never", f"{GITHUB_OR_GITLAB}, repository_id: 42, ref: main", VAULT),
        ("value-never", "issuer: http://127.0.0.1:9, repository_id: 42, ref: main", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref: refs/heads/main", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref: {{glob: refs/tags/v*}}", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref_path: main", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref: main, ref_protected: yes", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref: main, ref_protected: 'True'", VAULT),
        ("value-never", f"{GOOD}, ref_type: heads", VAULT),
        ("value-never", f"{GOOD}, ref_type: {{glob: b*s}}", VAULT),
        ("value-never", f"{GOOD}, repository_visibility: secret", VAULT),
        ("value-never", f"{GITHUB}, repository_id: a/b, environment: c", VAULT),
        ("value-never", f"{GOOD}, repository: b", VAULT),
        ("value-never", f"{GOOD}, repository: https://github.com/a/b", VAULT),
        ("value-never", f"{GOOD_GITLAB}, project_path: b", VAULT),
        ("value-never", f"{GOOD}, job_workflow_ref: a/b/.github/workflows/c.yml", VAULT),
        ("steps-unenforced", GOOD_GITLAB, f"{VAULT}, steps: [a]"),
        ("steps-unenforced", OTHER, f"{VAULT}, steps: [a]"),
        ("vault-policy-wide", GOOD, "vault: {role: r, policies: ['shop-*']}"),
        ("vault-policy-wide", GOOD, "vault: {role: r, policies: [root]}"),
        ("vault-ttl", GOOD, f"{written('16m')}"),
        ("vault-ttl", GOOD, f"{written('10m')}, ttl: 599s"),
        ("accept-production", GOOD, "accept: [fork], vault: {role: prod, policies: [p]}"),
        ("accept-production", GOOD.replace("staging", "production"), f"{VAULT}, accept: [fork]"),
        ("accept-untrusted", GOOD, f"{VAULT}, accept: [pull_request_target]"),
        ("accept-untrusted", GOOD, f"{VAULT}, accept: [workflow_run]"),
        ("name-without-id", f"{GITHUB}, repository: a/b, ref: x", VAULT),
        ("name-without-id", f"{GITHUB}, repository_owner: a, ref: x", VAULT),
        ("name-without-id", f"{GITLAB}, project_path: a/b, ref: x, ref_protected: true", VAULT),
        ("subject-only", f"{GITHUB}, subject: 'repo:a/b:environment:c'", VAULT),
        ("not-narrowed", f"{GITHUB}, repository_id: 42", VAULT),
        ("not-narrowed", "issuer: https://git.example, project_id: 42", VAULT),
        ("ref-unprotected", f"{GITLAB}, project_id: 42, ref: main", VAULT),
        ("ref-unprotected", f"{GITLAB}, project_id: 42, ref: a, ref_protected: false", VAULT),
        ("ref-glob", f"{GITHUB}, repository_id: 42, ref: {{glob: refs/heads/*}}", VAULT),
        ("ref-glob", f"{GITHUB}, repository_id: 42, ref: [x, {{glob: refs/heads/r-*}}]", VAULT),
        ("glob-wide", f"{GOOD}, ref: {{glob: '*'}}", VAULT),
        ("glob-wide", f"{GOOD}, ref: {{glob: '**'}}", VAULT),
        ("glob-wide", f"{GOOD}, ref: {{glob: 'refs/**'}}", VAULT),
        ("glob-in-exact", f"{GOOD}, ref: refs/tags/v*", VAULT),
        ("glob-in-exact", f"{GOOD}, ref: ^refs/tags/v1$", VAULT),
        ("claim-unknown", f"{GOOD}, enviroment: x", VAULT),
        ("ttl-long", GOOD, f"{VAULT}, ttl: 61m"),
        ("vault-login-token", GOOD, "vault: {role: r}"),
        ("aws-whole-role", GOOD, "aws: {role: 'arn:aws:iam::123456789012:role/r'}"),
        ("public-secret", GOOD, secret("DB_PASSWORD", "value")),
        ("public-secret", GOOD, secret("X", "api_key")),
    ],
)
def test_rule_finds_what_it_is_for(code: str, conditions: str, keys: str) -> None:
    """Each rule, in each of its cases."""
    assert code in codes(conditions, keys)


@pytest.mark.parametrize(
    ("code", "conditions", "keys"),
    [
        ("any-tenant", f"{GITHUB}, repository: {{glob: acme/*}}", VAULT),
        ("any-tenant", f"{GITHUB}, repository_owner_id: 7", VAULT),
        ("vault-ttl", GOOD, written("15m")),
        ("public-secret", GOOD, secret("CERT", "signed_key")),
        ("vault-ttl", GOOD, f"{written('1h')}, ttl: 60m"),
        ("issuer-address", "issuer: http://127.0.0.1:9, repository_id: 42", VAULT),
        ("issuer-address", "issuer: 'http://[::1]:9', repository_id: 42", VAULT),
        ("issuer-address", "issuer: {glob: 'http*'}, repository_id: 42", VAULT),
        ("issuer-misspelt", f"{GITHUB}/acme, repository_id: 42", VAULT),
        ("issuer-misspelt", "issuer: https://gitlab.acme.example, project_id: 42", VAULT),
        ("claim-foreign", f"{GITHUB_OR_GITLAB}, repository_id: 42", VAULT),
        ("claim-foreign", "issuer: https://ci.example, repository_id: 42, project_id: 42", VAULT),
        ("claim-foreign", f"{GOOD}, enviroment: x, sub: y, aud: z, jti: i", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: [main, refs/heads/main]", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: refs/pull/7/merge", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: {{glob: refs/tags/v*}}", VAULT),
        ("value-never", f"{GITHUB}, repository_id: 42, ref: {{glob: '*/heads/main'}}", VAULT),
        ("value-never", f"{GITHUB_OR_GITLAB}, ref: main", VAULT),
        ("value-never", "issuer: https://ci.example, x: y, ref: main, ref_protected: yes", VAULT),
        ("value-never", f"{GITLAB}, project_id: 42, ref_path: refs/heads/main", VAULT),
        ("value-never", f"{GOOD}, ref_type: {{glob: b*}}", VAULT),
        ("value-never", f"{GOOD}, repository: {{glob: acme/*}}", VAULT),
        ("value-never", f"{GOOD}, job_workflow_ref: a/b/.github/workflows/c.yml@x", VAULT),
        ("value-never", f"{GOOD}, job_workflow_ref: {{glob: a/b/.github/workflows/*}}", VAULT),
        ("value-never", f"{GITHUB}, repository_id: {{glob: 4*}}, environment: a", VAULT),
        ("value-never", OTHER, VAULT),
        ("steps-unenforced", GOOD, f"{VAULT}, steps: [a]"),
        ("steps-unenforced", f"{GITHUB}/, x: y", f"{VAULT}, steps: [a]"),
        (
            "steps-unenforced",
            "issuer: https://ghes.example/_services/token, x: y",
            f"{VAULT}, steps: [a]",
        ),
        (
            "steps-unenforced",
            "issuer: http://127.0.0.1:9, repository_id: 42",
            f"{VAULT}, steps: [a]",
        ),
        (
            "accept-production",
            GOOD,
            "accept: [fork], vault: {role: deliver-product, policies: [p]}",
        ),
        ("accept-untrusted", GOOD, f"{VAULT}, accept: [debug, audiences]"),
        ("name-without-id", f"{GITHUB}, repository: a/b, repository_id: 42", VAULT),
        ("subject-only", f"{GITHUB}, subject: a, repository_id: 42", VAULT),
        ("not-narrowed", OTHER, VAULT),
        ("ref-unprotected", f"{GITHUB}, repository_id: 42, ref: main", VAULT),
        ("ref-glob", f"{GITHUB}, repository_id: 42, ref: {{glob: refs/tags/v*}}", VAULT),
        ("ref-glob", f"{GITLAB}, project_id: 4, ref: {{glob: v*}}, ref_type: tag", VAULT),
        ("ref-glob", f"{GITLAB}, project_id: 4, ref: {{glob: v*}}, ref_protected: true", VAULT),
        ("glob-in-exact", f"{GOOD}, ref: {{glob: v*}}", VAULT),
        ("claim-unknown", f"{GOOD}, sub: x, repo_property_team: y", VAULT),
        ("ttl-long", GOOD, f"{VAULT}, ttl: 1h"),
        ("public-secret", GOOD, secret("DB_USER", "username")),
    ],
)
def test_rule_leaves_alone_what_is_right(code: str, conditions: str, keys: str) -> None:
    """The nearest thing that is no mistake."""
    assert code not in codes(conditions, keys)


def test_finding_names_grant_line_and_fix() -> None:
    """What `check` prints: where, what, and what to do."""
    (finding,) = findings(keys="vault: {role: r}")
    assert (finding.code, finding.grant, finding.line) == ("vault-login-token", "a", 3)
    assert finding.message
    assert finding.hint
    assert not finding.is_error


def test_life_is_written_for_people() -> None:
    """Not as a clock has it."""
    messages = [one.message for one in findings(keys=f"{VAULT}, ttl: 2h")]
    assert messages == ["`ttl` is 2 h, longer than most jobs"]


def test_secret_that_is_to_live_too_long_is_named_with_its_line() -> None:
    """The finding has the grant's line, and a grant may have many secrets."""
    (finding,) = findings(keys=written("16m"))
    said = "`A` (line 3) wants a `ttl` of 16 min, but the grant's 15 min are the most"
    assert finding.message == said


def test_misspelt_claim_gets_the_nearest_name() -> None:
    """A claim that no CI has would never match; the likely one is named."""
    (finding,) = findings(f"{GOOD}, enviroment: x")
    assert "`environment`" in finding.message


def test_misspelt_issuer_gets_the_right_one() -> None:
    """What stands in the tokens is named, so that the fix is to copy it."""
    messages = [one.message for one in findings("issuer: https://github.com, repository_id: 42")]
    assert any(message.endswith(GITHUB[8:]) for message in messages)


def test_foreign_claims_are_named_for_each_issuer() -> None:
    """All that is another CI's is named at once, for every issuer that the grant lists."""
    asked = f"{GITHUB_OR_GITLAB}, repository_id: 1, actor_id: 2, project_id: 3"
    messages = [one.message for one in findings(asked) if one.code == "claim-foreign"]
    assert [message.partition(": that")[0] for message in messages] == [
        f"no token of {GITHUB[8:]} has `project_id`",
        f"no token of {GITLAB[8:]} has `actor_id` or `repository_id`",
    ]


def test_errors_are_the_rules_that_check_refuses_for() -> None:
    """What can never be meant, or never work; the rest is advice."""
    assert {rule.code for rule in RULES if rule.is_error} == {
        "any-tenant",
        "issuer-glob",
        "issuer-address",
        "issuer-misspelt",
        "claim-foreign",
        "value-never",
        "steps-unenforced",
        "vault-policy-wide",
        "vault-ttl",
    }


def test_each_rule_has_a_code_a_sentence_and_a_hint() -> None:
    """The reference is made from them."""
    assert len({rule.code for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.doc.endswith(".")
        assert rule.hint
