"""Whether a grant is for a job: a pure function that finds every reason why not."""

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import cast

from ci_identity._text import shortened
from ci_identity.errors import DeniedError
from ci_identity.grants.claims import unaccounted
from ci_identity.grants.pattern import matches
from ci_identity.model import Accept, Decision, Grant, JobIdentity, Mismatch, Wanted

__all__ = ["decide", "unaccounted"]

REFUSALS: Mapping[Accept, tuple[Callable[[JobIdentity], bool | None], str, str]] = MappingProxyType(
    {
        Accept.FORK: (
            lambda job: job.fork,
            "a run that is not from a fork",
            "whoever can fork the repository would get the credential",
        ),
        Accept.PULL_REQUEST_TARGET: (
            lambda job: job.event == "pull_request_target",
            "another event",
            "such a run has the base's rights and often builds what the pull request brought",
        ),
        Accept.WORKFLOW_RUN: (
            lambda job: job.event == "workflow_run",
            "another event",
            "such a run has the default branch's rights and often takes artifacts of a fork's run",
        ),
        Accept.DEBUG: (
            lambda job: job.debug,
            "a run without debugging",
            "debug logs and shells show what a job holds",
        ),
        Accept.AUDIENCES: (
            lambda job: len(job.audience) > 1,
            "a token for one audience",
            "each of its audiences could use the token at the others",
        ),
    }
)
"""The built-in refusals: whether it holds (`None`: cannot be told), what is wanted, and why."""


def decide(grant: Grant, job: JobIdentity, *, step: str | None = None) -> Decision:
    """Return whether `grant` is for `job`, with every mismatch.

    Args:
        grant: the row of the grants file.
        job: who the job says it is; the claims are not verified, the provider does that.
        step: what `--step` says, if anything.
    """
    mismatches = (
        *_conditions(grant, job),
        *_source(grant, job),
        *_refusals(grant, job),
        *_steps(grant, job, step),
    )
    return Decision(grant=grant.name, mismatches=mismatches)


def _conditions(grant: Grant, job: JobIdentity) -> Iterator[Mismatch]:
    claims = dict(job.claims) | {
        "issuer": job.issuer,
        "subject": job.subject,
        "audience": list(job.audience),
    }
    for name, wanted in grant.conditions.items():
        value = claims.get(name)
        if any(_matches(one, value) for one in wanted):
            continue
        from ci_identity.grants.remarks import remark, remark_absent  # noqa: PLC0415  # on demand

        found = ", ".join(filter(None, map(_text, _elements(value))))
        yield Mismatch(
            claim=name,
            wanted=" or ".join(map(str, wanted)) or "nothing: the condition is empty",
            got=shortened(found or json.dumps(value, default=str)) if name in claims else None,
            remark=remark(name, wanted, found)
            if name in claims
            else remark_absent(name, job.claims),
        )
    if not grant.conditions:  # the loader refuses this; a Grant made in code may have none
        yield Mismatch(claim="for", wanted="at least one condition", got=None)


def _matches(wanted: Wanted, value: object) -> bool:
    if wanted.is_glob:
        return any(isinstance(one, str) and matches(wanted.text, one) for one in _elements(value))
    return any(_text(one) == wanted.text for one in _elements(value))


def _elements(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _text(value: object) -> str | None:
    """Return the text that a claim is compared as: its JSON text; `None` if it never matches."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _source(grant: Grant, job: JobIdentity) -> Iterator[Mismatch]:
    got = job.workload or job.source
    if grant.source is not None and got != grant.source:
        yield Mismatch(claim="source", wanted=grant.source, got=got)
    elif grant.source is None and job.workload is not None:
        remark = (
            "the token names a workload or a machine, and whatever runs there can have it; "
            f"`source: {job.workload}` in the grant asks for it by name"
        )
        yield Mismatch(claim="source", wanted="the token of a CI job", got=got, remark=remark)


def _refusals(grant: Grant, job: JobIdentity) -> Iterator[Mismatch]:
    for accept, (holds, wanted, why) in REFUSALS.items():
        is_so = holds(job)
        if is_so is False or accept in grant.accept:
            continue
        unknown = "the token cannot tell, which counts as one; " if is_so is None else ""
        yield Mismatch(
            claim=accept.value,
            wanted=wanted,
            got="unknown" if is_so is None else accept.value,
            remark=f"{unknown}{why}; `accept: [{accept}]` overrides it",
        )


def _steps(grant: Grant, job: JobIdentity, step: str | None) -> Iterator[Mismatch]:
    got = shortened(job.step) if job.step is not None else None
    if grant.steps and job.step not in grant.steps:
        remark = "" if got else "this CI has no step ids, so `steps:` cannot be kept here"
        yield Mismatch(claim="step", wanted=" or ".join(grant.steps), got=got, remark=remark)
    if step is not None and job.step is not None and step != job.step:
        remark = "--step must be the id of the running step"
        yield Mismatch(claim="step", wanted=step, got=got, remark=remark)


def refusal(decision: Decision) -> DeniedError:
    """Return the error that says claim by claim why the grant is not for the job."""
    reasons = "; ".join(
        f"{mismatch.claim} is {mismatch.got or 'absent'}, wanted {mismatch.wanted}"
        + (f" ({mismatch.remark})" if mismatch.remark else "")
        for mismatch in decision.mismatches
    )
    return DeniedError(
        f"the grant {decision.grant} is not for this job: {reasons}",
        hint=f"claim by claim: ci-identity explain {decision.grant}",
    )
