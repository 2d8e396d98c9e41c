"""What each rule of the linter looks for; its code and its hint are in `lint`.

A rule yields a message each time it finds something in a grant. Its docstring is its sentence in
the reference.
"""

import re
from collections.abc import Iterator
from datetime import timedelta

from ci_identity._text import lasting
from ci_identity.grants.claims import KNOWN, unaccounted
from ci_identity.grants.format import REGISTERED
from ci_identity.grants.issuers import SHARED_ISSUERS, ci_of, issuers
from ci_identity.grants.kinds import nearest
from ci_identity.model import AZURE_TTL, Accept, AwsTarget, AzureTarget, Grant, VaultTarget, Wanted

# ── for whom? ────────────────────────────────────────────────────────────────────────────────

TENANTS = frozenset(
    """
    subject repository repository_id repository_owner repository_owner_id enterprise enterprise_id
    job_workflow_ref workflow_ref project_id project_path namespace_id namespace_path
    job_project_id job_project_path job_namespace_id job_namespace_path organization_id
    organization_slug pipeline_id
    """.split()  # noqa: SIM905  # a list of names reads best as one
)
"""Claims that say whose job it is."""

NARROWING = frozenset(
    """
    subject ref ref_path ref_protected sha environment environment_protected deployment_tier
    job_workflow_ref job_workflow_sha workflow_ref workflow_sha ci_config_ref_uri ci_config_sha
    run_id check_run_id pipeline_id job_id
    """.split()  # noqa: SIM905
)
"""Claims that say which of a repository's jobs it is."""

IDS = {
    "repository": ("repository_id",),
    "repository_owner": ("repository_owner_id", "repository_id"),
    "enterprise": ("enterprise_id", "repository_owner_id", "repository_id"),
    "project_path": ("project_id", "job_project_id"),
    "job_project_path": ("job_project_id",),
    "namespace_path": ("namespace_id", "project_id", "job_project_id"),
    "organization_slug": ("organization_id", "pipeline_id"),
    "pipeline_slug": ("pipeline_id",),
    "actor": ("actor_id",),
    "user_login": ("user_id",),
}
"""Claims that are names, which can be given up and taken by others, to the ids that stay."""


def _is_wide(wanted: Wanted) -> bool:
    return wanted.is_glob and not wanted.text.strip("*/")


def _is_open(wanted: Wanted) -> bool:
    """Whether the pattern leaves the owner's name open, which comes before the first slash."""
    return wanted.is_glob and "/" not in wanted.text.partition("*")[0]


def any_tenant(grant: Grant) -> Iterator[str]:
    """Nothing in `for` says whose job it is, so every job of the issuer can have the grant."""
    told = {
        name
        for name, wanted in grant.conditions.items()
        if name != "issuer" and not any(map(_is_wide, wanted))
    }
    tenants = {name for name in told & TENANTS if not any(map(_is_open, grant.conditions[name]))}
    if not told:
        yield "only the issuer is asked for, so any job there can have it"
    elif not tenants and any(issuer.text in SHARED_ISSUERS for issuer in issuers(grant)):
        yield "no condition says whose job it is, and anyone can run jobs at this issuer"


def issuer_glob(grant: Grant) -> Iterator[str]:
    """The issuer decides whose signatures count; a pattern leaves that open."""
    if any(issuer.is_glob for issuer in issuers(grant)):
        yield "`issuer` is a pattern, and whoever runs a server that fits it can sign any claim"


def name_without_id(grant: Grant) -> Iterator[str]:
    """A name is asked for without its immutable id; names are given up and taken by others."""
    for name, ids in IDS.items():
        if name in grant.conditions and not any(one in grant.conditions for one in ids):
            yield f"`{name}` is a name that somebody else can have one day; `{ids[0]}` stays"


def subject_only(grant: Grant) -> Iterator[str]:
    """Only `subject` is asked for; its format depends on settings, and changes."""
    if set(grant.conditions) == {"issuer", "subject"}:
        yield "only `subject` is asked for, whose format a CI's settings and versions change"


def not_narrowed(grant: Grant) -> Iterator[str]:
    """Any job of the repository can have the grant, on any branch."""
    if ci_of(grant) in {"github", "gitlab"} and NARROWING.isdisjoint(grant.conditions):
        yield "any job of any branch can have it, also one that a pull or merge request brings"


def ref_unprotected(grant: Grant) -> Iterator[str]:
    """A GitLab `ref` is asked for without `ref_protected`, and a tag may have its name."""
    keys = ("ref_protected", "environment_protected")
    is_protected = any(Wanted(text="true") in grant.conditions.get(key, ()) for key in keys)
    if ci_of(grant) == "gitlab" and "ref" in grant.conditions and not is_protected:
        yield "`ref` is only a name: without `ref_protected: true` any developer may push to it"


def ref_glob(grant: Grant) -> Iterator[str]:
    """A pattern for branches: whoever can push can make one that fits."""
    if {"ref_protected", "environment"} & set(grant.conditions):
        return
    is_tag = grant.conditions.get("ref_type") == (Wanted(text="tag"),)
    for name in ("ref", "ref_path", "build_branch"):
        for one in grant.conditions.get(name, ()):
            if one.is_glob and not is_tag and not one.text.startswith("refs/tags/"):
                yield f"`{name}` is a pattern: whoever can push can make a branch that fits it"


def glob_wide(grant: Grant) -> Iterator[str]:
    """A pattern that takes anything, or has `**`, which is no more than `*`."""
    for name, wanted in grant.conditions.items():
        if any(_is_wide(one) for one in wanted):
            yield f"`{name}` is a pattern of nothing but *, which says nothing about its value"
        elif any(one.is_glob and "**" in one.text for one in wanted):
            yield f"`{name}` has `**`, which is no more than `*`: neither crosses a `/`"


def glob_in_exact(grant: Grant) -> Iterator[str]:
    """A value that is compared exactly looks like a glob or a regular expression."""
    for name, wanted in grant.conditions.items():
        for one in wanted:
            if not one.is_glob and re.search(r"[*?]|^\^|\$$", one.text):
                yield f"`{name}` is compared exactly, but looks like a pattern"


def claim_unknown(grant: Grant) -> Iterator[str]:
    """A claim that no known CI issues: misspelt, or made by a template of your own."""
    for name in unaccounted(set(grant.conditions) - set(REGISTERED.values())):
        yield f"`{name}` is a claim of no CI that ci-identity knows{nearest(name, KNOWN)}"


# ── for what? ────────────────────────────────────────────────────────────────────────────────

UNTRUSTED = {Accept.FORK, Accept.PULL_REQUEST_TARGET, Accept.WORKFLOW_RUN}
PRODUCTION = re.compile(
    r"(?<![a-z])(?:prod|production|live|release|publish|admin|root)(?![a-z])", re.IGNORECASE
)
SENSITIVE = re.compile(r"passw|secret|token|key|credential|private", re.IGNORECASE)
NO_SECRETS = frozenset({"signed_key", "public_key"})
"""Fields that are called like secrets, and are none: an SSH certificate, and what everybody has."""

LONG = timedelta(hours=1)


def _accepts(grant: Grant) -> str:
    return ", ".join(sorted(UNTRUSTED & grant.accept))


def _is_production(grant: Grant) -> bool:
    texts = [one.text for one in grant.conditions.get("environment", ())]
    role = getattr(grant.target, "role", "")
    return any(PRODUCTION.search(text) for text in (grant.name, role, *texts))


def accept_production(grant: Grant) -> Iterator[str]:
    """A grant that looks like production accepts forks, or events that run their code."""
    if (accepts := _accepts(grant)) and _is_production(grant):
        yield f"it accepts {accepts}, and by its name, role or environment it is for production"


def accept_untrusted(grant: Grant) -> Iterator[str]:
    """The grant accepts forks, or events that can run their code."""
    if (accepts := _accepts(grant)) and not _is_production(grant):
        yield f"it accepts {accepts}: code that nobody has reviewed may run with the credential"


def steps_unenforced(grant: Grant) -> Iterator[str]:
    """`steps` is asked for where the CI has no step ids, so the grant would never be given."""
    if grant.steps and ci_of(grant) != "github":
        yield "`steps` cannot be kept: this issuer's CI tells a process no step id"


def ttl_long(grant: Grant) -> Iterator[str]:
    """The credential lives for more than an hour."""
    if grant.ttl > (AZURE_TTL if isinstance(grant.target, AzureTarget) else LONG):
        yield f"`ttl` is {lasting(grant.ttl)}, longer than most jobs"


def aws_whole_role(grant: Grant) -> Iterator[str]:
    """An AWS grant without `policy` gives the step every right of the role."""
    if isinstance(grant.target, AwsTarget) and not (
        grant.target.policy or grant.target.policy_arns
    ):
        yield "there is no `policy`: the step gets all that the role may"


def vault_login_token(grant: Grant) -> Iterator[str]:
    """A Vault grant without `policies` hands out the login token itself."""
    if isinstance(grant.target, VaultTarget) and not grant.target.policies:
        yield "without `policies` the step gets the login token, with all that the role may do"


def vault_policy_wide(grant: Grant) -> Iterator[str]:
    """A policy is `root`, or holds a `*` that Vault takes as part of the name."""
    if isinstance(grant.target, VaultTarget):
        for policy in grant.target.policies:
            if "*" in policy or policy == "root":
                yield "`policies` has `root` or a `*`; Vault's policies are named one by one"


def vault_ttl(grant: Grant) -> Iterator[str]:
    """A `with` has a longer `ttl` than the grant, which is the most that is asked for."""
    if isinstance(grant.target, VaultTarget):
        for name, secret in grant.target.secrets.items():
            if secret.ttl and secret.ttl > grant.ttl:
                life, most = lasting(secret.ttl), lasting(grant.ttl)
                where = f"`{name}` (line {secret.line})"
                yield f"{where} wants a `ttl` of {life}, but the grant's {most} are the most"


def public_secret(grant: Grant) -> Iterator[str]:
    """A value is delivered unmasked although its name is that of a secret."""
    if isinstance(grant.target, VaultTarget):
        for name, secret in grant.target.secrets.items():
            field = "" if secret.field in NO_SECRETS else secret.field
            if secret.is_public and SENSITIVE.search(f"{name} {field}"):
                yield f"`{name}` is public, so it is not masked, but is called like a secret"
