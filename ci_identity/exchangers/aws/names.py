"""The name of one session at AWS: readable in CloudTrail, and one for each lease. Pure."""

import re

from ci_identity.model import JobIdentity

AUDIENCE = "sts.amazonaws.com"
"""The audience that AWS asks for, unless a provider has others."""

MAX_NAME = 64
"""Characters (AWS STS, AssumeRoleWithWebIdentity, `RoleSessionName`)."""

_MAX_RUN, _MAX_JOB = 16, 13
"""Characters. Today's ids have 11 digits, and an attempt beside them; they are kept whole."""

_OTHERS = re.compile(r"[^A-Za-z0-9_+=,.@-]")


def session_name(identity: JobIdentity, *, grant: str, lease_id: str) -> str:
    """Return `REPOSITORY-RUN.ATTEMPT-JOB-GRANT-LEASE` in at most 64 of AWS's characters.

    What is too long is cut, but never the lease's id at the end: by it two leases never have the
    same name, a renewed lease keeps its own, and the session can be found by what the ledger says.
    `GetCallerIdentity` and `aws:userid` show the name.

    Args:
        identity: who the job is.
        grant: the grant's name.
        lease_id: our id of the lease, 16 hex digits.
    """
    run = _plain(identity.run or "")[:_MAX_RUN]
    job = _plain(identity.job or "")[:_MAX_JOB]
    room = MAX_NAME - len(f"-{run}-{job}--{lease_id}")
    where, what = identity.repository or identity.subject, _plain(grant)
    if len(where) + len(what) > room:
        where = where.rpartition("/")[2]  # the owner says least: it is the same for all one has
    where = _plain(where)[: max(room // 2, room - len(what))]
    what = what[: room - len(where)]
    return "-".join(part for part in (where, run, job, what, lease_id) if part)


def _plain(text: str) -> str:
    return _OTHERS.sub("-", text.replace("/", "."))
