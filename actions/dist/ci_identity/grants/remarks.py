"""What is likely behind a claim that does not match: the slips that people make again and again."""

import re
from collections.abc import Callable, Iterable, Sequence

from ci_identity.grants.pattern import matches
from ci_identity.model import Wanted

SUBJECT = re.compile(
    r"repo:(?P<owner>[^/:@]+)(?P<owner_id>@\d+)?/(?P<name>[^:@]+)(?P<id>@\d+)?:(?P<context>.+)"
)
"""GitHub's `sub`: legacy, or with the immutable ids that new and renamed repositories have."""

CASE = "only upper and lower case differ; claims are compared exactly"
CHANGE = "the run is for a pull or merge request, not for a branch or tag"
CHANGE_REF = re.compile(r"refs/(?:pull|merge-requests)/\d+/\w+")


def remark(claim: str, wanted: Sequence[Wanted], got: str) -> str:
    """Return what is likely behind `got` not being `wanted`, in a sentence; empty if we can't tell.

    Args:
        claim: the claim's name.
        wanted: what the grant accepts.
        got: the claim as text; empty if it is null or an object.
    """
    if not got:
        return "the claim holds no text, number or list; that never matches"
    for one in wanted:
        for recognise in GLOB_SLIPS if one.is_glob else SLIPS:
            if sentence := recognise(claim, one.text, got):
                return sentence
    return ""


def remark_absent(claim: str, names: Iterable[str]) -> str:
    """Return what is likely behind the claim `claim` not being among the token's `names`."""
    if claim == "environment":
        return "the job has no `environment:`"
    printable = [name for name in names if name.isprintable()]
    import difflib  # noqa: PLC0415  # on demand

    close = difflib.get_close_matches(claim, printable, n=1, cutoff=0.8)
    return f"the token has no such claim, but it has `{close[0]}`" if close else ""


def _case(_: str, wanted: str, got: str) -> str:
    return CASE if wanted.casefold() == got.casefold() else ""


def _space(_: str, wanted: str, got: str) -> str:
    return "only spaces at the ends differ" if wanted.strip() == got.strip() else ""


def _slash(claim: str, wanted: str, got: str) -> str:
    is_slash = claim == "issuer" and wanted.rstrip("/") == got.rstrip("/")
    return "only a `/` at the end differs; claims are compared exactly" if is_slash else ""


def _glob_as_text(_: str, wanted: str, got: str) -> str:
    if "*" not in wanted:
        return ""
    would = ", as which it would match" if matches(wanted, got) else ""
    return f"an exact value holds a `*`, which has a meaning only in {{glob: ...}}{would}"


def _subject(_: str, wanted: str, got: str) -> str:
    """GitHub's `sub`: immutable or legacy, and what its last part names (docs.github.com)."""
    ours, theirs = SUBJECT.fullmatch(wanted), SUBJECT.fullmatch(got)
    if not ours or not theirs or (ours["owner"], ours["name"]) != (theirs["owner"], theirs["name"]):
        return ""
    if bool(ours["id"]) != bool(theirs["id"]):
        which = "immutable (with ids)" if theirs["id"] else "legacy (without ids)"
        return (
            f"the repository's subjects are in GitHub's {which} format; "
            "`repository_id` does not depend on it"
        )
    kinds = [match["context"].partition(":")[0] for match in (ours, theirs)]
    return CONTEXTS.get(kinds[1], "") if kinds[0] != kinds[1] else ""


CONTEXTS = {
    "environment": "the job has an `environment:`, so its subject names that instead of the ref",
    "ref": "the job has no `environment:`, so its subject names the ref",
    "pull_request": "the run is for a pull request, so its subject names no ref",
}
"""What follows the repository in GitHub's `sub`, to why."""


def _workflow(_: str, wanted: str, got: str) -> str:
    """`workflow_ref`, `job_workflow_ref`: OWNER/REPO/.github/workflows/FILE@REF."""
    ours, theirs = (value.partition("@") for value in (wanted, got))
    if not ours[2] or not theirs[2] or "/.github/workflows/" not in ours[0] + theirs[0]:
        return ""
    if ours[0] == theirs[0]:
        return "the same workflow file, at another ref"
    is_renamed = ours[0].rpartition("/")[0] == theirs[0].rpartition("/")[0]
    return "another workflow file of the same repository; was it renamed?" if is_renamed else ""


def _ref(claim: str, wanted: str, got: str) -> str:
    if CHANGE_REF.fullmatch(got):
        return CHANGE
    for prefix in ("refs/heads/", "refs/tags/"):
        if got == prefix + wanted:
            return f"this CI writes {claim} in full: {prefix}{wanted}"
        if wanted == prefix + got:
            return f"this CI writes {claim} without {prefix}"
    return ""


def _merge_request(claim: str, _: str, got: str) -> str:
    """`pipeline_source` (GitLab) and `event_name` (GitHub) of runs that are not for a branch."""
    is_request = got in {"merge_request_event", "external_pull_request_event", "pull_request"}
    return CHANGE if is_request and claim in {"pipeline_source", "event_name"} else ""


def _glob_slash(_: str, wanted: str, got: str) -> str:
    return "`*` never crosses a `/`" if matches(wanted, got, is_across=True) else ""


def _glob_case(_: str, wanted: str, got: str) -> str:
    return CASE if matches(wanted.casefold(), got.casefold()) else ""


Slip = Callable[[str, str, str], str]
"""Takes the claim's name, what is wanted and what the job has; returns a sentence or nothing."""

SLIPS: tuple[Slip, ...] = (
    _case,
    _space,
    _slash,
    _glob_as_text,
    _subject,
    _workflow,
    _ref,
    _merge_request,
)
GLOB_SLIPS: tuple[Slip, ...] = (_glob_case, _glob_slash, _ref)
