"""Rules of the linter for conditions that no job's token can ever meet.

As in `rules`: a message each time, and a docstring that is the rule's sentence in the reference.
"""

from collections.abc import Callable, Iterator

from ci_identity._address import check_address
from ci_identity.errors import InsecureAddressError
from ci_identity.grants.issuers import (
    GITHUB_ISSUER,
    SHARED_ISSUERS,
    ci_of,
    foreign_claims,
    issuers,
)
from ci_identity.grants.pattern import matches
from ci_identity.model import Grant, Wanted

# ── issuer ───────────────────────────────────────────────────────────────────────────────────

RIGHT_ISSUERS = {issuer: issuer for issuer in SHARED_ISSUERS} | {
    "https://github.com": GITHUB_ISSUER,
    "https://api.github.com": GITHUB_ISSUER,
}
"""What people write, in lower case and without a slash at the end, to what stands in tokens."""


def issuer_address(grant: Grant) -> Iterator[str]:
    """An issuer that is not https, or http on this machine, never matches or proves nothing."""
    for issuer in issuers(grant):
        if not issuer.is_glob and not _is_address(issuer.text):
            yield "`issuer` is not an https address, as every issuer is (OpenID Connect Core, 2)"


def _is_address(text: str) -> bool:
    try:
        check_address(text, what="issuer")
    except InsecureAddressError:
        return False
    return True


def issuer_misspelt(grant: Grant) -> Iterator[str]:
    """An issuer that everybody knows is misspelt; a `/` at its end or a capital is enough."""
    for issuer in issuers(grant):
        right = RIGHT_ISSUERS.get(issuer.text.casefold().rstrip("/"), issuer.text)
        if issuer.text != right:
            yield f"no token has the issuer {issuer.text}; what is meant is {right}"


# ── claims ───────────────────────────────────────────────────────────────────────────────────


def claim_foreign(grant: Grant) -> Iterator[str]:
    """A claim is asked for that only another CI has, so the grant would never be given."""
    foreign = {
        issuer.text: sorted(foreign_claims(issuer.text).intersection(grant.conditions))
        for issuer in issuers(grant)
    }
    if all(foreign.values()):
        for issuer, names in foreign.items():
            claims = " or ".join(f"`{name}`" for name in names)
            yield f"no token of {issuer} has {claims}: that is a claim of another CI"


Form = Callable[[Wanted], bool]
"""Tells whether a claim can be what is wanted."""


def _one_of(*values: str) -> Form:
    return lambda wanted: any(
        matches(wanted.text, value) if wanted.is_glob else wanted.text == value for value in values
    )


def _is_number(wanted: Wanted) -> bool:
    return wanted.is_glob or wanted.text.isdecimal()


def _is_full_ref(wanted: Wanted) -> bool:
    root, slash, _ = wanted.text.partition("/")
    return bool(slash) and (matches(root, "refs") if wanted.is_glob else root == "refs")


def _is_short_ref(wanted: Wanted) -> bool:
    return not wanted.text.startswith(("refs/heads/", "refs/tags/"))


FORMS: tuple[tuple[str, str, Form, str], ...] = (
    ("github", "ref", _is_full_ref, "GitHub writes it in full, as refs/heads/main or refs/tags/v1"),
    ("gitlab", "ref_path", _is_full_ref, "it is the ref in full, as refs/heads/main"),
    ("gitlab", "ref", _is_short_ref, "GitLab writes it without refs/heads/ or refs/tags/"),
    (
        "github gitlab",
        "ref_protected environment_protected",
        _one_of("true", "false"),
        "it is true or false",
    ),
    ("github gitlab", "ref_type", _one_of("branch", "tag"), "it is branch or tag"),
    (
        "github gitlab",
        "repository_visibility project_visibility",
        _one_of("public", "internal", "private"),
        "it is public, internal or private",
    ),
    (
        "github gitlab",
        """repository_id repository_owner_id actor_id run_id project_id namespace_id job_project_id
        job_namespace_id user_id pipeline_id job_id""",
        _is_number,
        "it is a number",
    ),
    ("github", "repository", lambda wanted: wanted.text.count("/") == 1, "it is OWNER/NAME"),
    ("gitlab", "project_path", lambda wanted: "/" in wanted.text, "it is GROUP/PROJECT"),
    (
        "github",
        "workflow_ref job_workflow_ref",
        lambda wanted: wanted.is_glob or "@" in wanted.text,
        "it ends in the workflow's ref, as in deploy.yml@refs/heads/main",
    ),
)
"""CIs, claims of theirs, what these can be, and that in words.

GitHub's `ref` was short for some events once (actions/runner#256); by its documentation it is in
full for all. No branch of GitLab's begins with refs/heads/ (lib/gitlab/git_ref_validator.rb).
"""


def value_never(grant: Grant) -> Iterator[str]:
    """A claim never has a value that is asked for, so the grant would never be given."""
    ci = ci_of(grant)
    for cis, claims, is_possible, words in FORMS:
        for name in claims.split() if ci in cis.split() else ():
            wanted = grant.conditions.get(name, ())
            if wanted and not any(map(is_possible, wanted)):
                yield f"`{name}` never has that value: {words}"
