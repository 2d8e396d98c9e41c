"""What is allowed in a grants file and yet likely a mistake: findings with stable codes."""

from collections.abc import Callable, Iterable, Iterator

from ci_identity._record import Record
from ci_identity.grants import cutting, rules, unmatchable
from ci_identity.grants.load import GrantsFile
from ci_identity.model import Grant


class Finding(Record):
    """One thing in a grants file that is likely not meant.

    Attributes:
        code: the stable name of the rule.
        grant: the grant's name.
        line: where the grant begins.
        message: what is wrong, in a sentence.
        hint: what to do about it.
        is_error: whether `check` refuses the file for it; else it is a warning.
    """

    code: str
    grant: str
    line: int
    message: str
    hint: str
    is_error: bool


class Rule(Record):
    """One thing to look for: its check yields a message each time it is in a grant."""

    code: str
    check: Callable[[Grant], Iterator[str]]
    hint: str
    is_error: bool = False

    @property
    def doc(self) -> str:
        """What is found and why it matters, in a sentence for the reference."""
        return self.check.__doc__ or ""


class RuleAmong(Record):
    """A rule whose check looks at a grant among all the grants of the file."""

    code: str
    check: Callable[[Grant, Iterable[Grant]], Iterator[str]]
    hint: str
    is_error: bool = False

    @property
    def doc(self) -> str:
        """What is found and why it matters, in a sentence for the reference."""
        return self.check.__doc__ or ""


def lint(grants: GrantsFile) -> tuple[Finding, ...]:
    """Return what is likely not meant in `grants`, in the order of the file, then of `RULES`."""
    every = tuple(grants.grants.values())
    return tuple(
        Finding(
            code=rule.code,
            grant=grant.name,
            line=grant.line,
            message=message,
            hint=rule.hint,
            is_error=rule.is_error,
        )
        for grant in every
        for rule in RULES
        for message in (
            rule.check(grant, every) if isinstance(rule, RuleAmong) else rule.check(grant)
        )
    )


RULES: tuple[Rule | RuleAmong, ...] = (
    Rule(
        code="any-tenant",
        check=rules.any_tenant,
        hint="add repository_id (GitHub), project_id (GitLab) or what says the same elsewhere",
        is_error=True,
    ),
    Rule(
        code="issuer-glob",
        check=rules.issuer_glob,
        hint="write the issuers out, as a list",
        is_error=True,
    ),
    Rule(
        code="issuer-address",
        check=unmatchable.issuer_address,
        hint="write https:// and what follows as ci-identity whoami prints it in such a job",
        is_error=True,
    ),
    Rule(
        code="issuer-misspelt",
        check=unmatchable.issuer_misspelt,
        hint="write the issuer as the message has it, letter for letter",
        is_error=True,
    ),
    Rule(
        code="claim-foreign",
        check=unmatchable.claim_foreign,
        hint="correct the issuer, or ask for a claim that ci-identity whoami prints in such a job",
        is_error=True,
    ),
    Rule(
        code="value-never",
        check=unmatchable.value_never,
        hint="write the value as ci-identity whoami prints it in such a job",
        is_error=True,
    ),
    Rule(
        code="steps-unenforced",
        check=rules.steps_unenforced,
        hint="leave `steps` out; `exec` limits the credential to one process tree by itself",
        is_error=True,
    ),
    Rule(
        code="vault-policy-wide",
        check=rules.vault_policy_wide,
        hint="name the policies that the step needs",
        is_error=True,
    ),
    Rule(
        code="vault-ttl",
        check=rules.vault_ttl,
        hint="leave `ttl` out of `with`, and the grant's is asked for; or raise the grant's",
        is_error=True,
    ),
    Rule(
        code="accept-production",
        check=rules.accept_production,
        hint="leave `accept` out; give such runs a grant of their own, for a target without data",
    ),
    Rule(
        code="accept-untrusted",
        check=rules.accept_untrusted,
        hint="be sure that what the credential opens may be seen by anyone",
    ),
    Rule(
        code="name-without-id",
        check=rules.name_without_id,
        hint="add the id beside the name; ci-identity whoami prints both",
    ),
    Rule(
        code="subject-only",
        check=rules.subject_only,
        hint="ask for the claims themselves: repository_id, ref, environment",
    ),
    Rule(
        code="not-narrowed",
        check=rules.not_narrowed,
        hint="add environment, ref with ref_protected, or job_workflow_ref",
    ),
    Rule(
        code="ref-unprotected",
        check=rules.ref_unprotected,
        hint="add ref_protected: true",
    ),
    Rule(
        code="ref-glob",
        check=rules.ref_glob,
        hint="name the branch, or add ref_protected: true or environment",
    ),
    Rule(
        code="glob-wide",
        check=rules.glob_wide,
        hint="write what the values have in common before or after the *",
    ),
    Rule(
        code="glob-in-exact",
        check=rules.glob_in_exact,
        hint="write {glob: ...} if it is meant as a pattern",
    ),
    Rule(
        code="claim-unknown",
        check=rules.claim_unknown,
        hint="compare it with the claims that ci-identity whoami prints; absent never matches",
    ),
    Rule(
        code="ttl-long",
        check=rules.ttl_long,
        hint="leave `ttl` at its default where the delivery refreshes; raise it only as needed",
    ),
    Rule(
        code="vault-login-token",
        check=rules.vault_login_token,
        hint="name in `policies` what this step needs of the role's policies",
    ),
    Rule(
        code="aws-whole-role",
        check=rules.aws_whole_role,
        hint="say in `policy` what this step needs: a list of {allow, on}",
    ),
    Rule(
        code="cut-unpinned",
        check=cutting.cut_unpinned,
        hint="ask for job_workflow_ref (GitLab: ci_config_ref_uri), in the trust policy as well",
    ),
    RuleAmong(
        code="cut-shared",
        check=cutting.cut_shared,
        hint="give the cutting a role of its own, that no other grant names",
    ),
    RuleAmong(
        code="cut-reachable",
        check=cutting.cut_reachable,
        hint="name the roles that the step may assume, and not the one that cuts",
    ),
    Rule(
        code="assume-any",
        check=cutting.assume_any,
        hint="name the roles that the step may assume",
    ),
    Rule(
        code="public-secret",
        check=rules.public_secret,
        hint="leave `public` out, or name the variable by what it is",
    ),
)
"""Every rule, errors first."""
