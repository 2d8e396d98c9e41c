"""The session's name: in AWS's charset and length, readable, and never two leases' at once."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ci_identity._record import replace
from ci_identity.exchangers.aws.names import session_name
from tests.exchangers.aws.stage import LEASE, gitlab_job, job

LEASES = st.text("0123456789abcdef", min_size=16, max_size=16)
TEXTS = st.text(max_size=80)
MAYBE = st.none() | TEXTS
LONG = "a-product-with-a-very-long-name"


def name(grant: str = "deploy-web", lease_id: str = LEASE, **claims: str) -> str:
    return session_name(job(**claims), grant=grant, lease_id=lease_id)


def test_usual_name_is_whole() -> None:
    """Repository, run, attempt, job, grant and lease, in that order, nothing cut."""
    assert name() == f"acme.shop-9001.1-31337-deploy-web-{LEASE}"


def test_ids_of_today_are_whole() -> None:
    """Eleven digits each leave room for a short repository and grant."""
    found = name(run_id="17382910392", run_attempt="12", check_run_id="48586735410")
    assert found == f"acme.shop-17382910392.12-48586735410-deploy-web-{LEASE}"


def test_gitlab_has_no_attempt() -> None:
    """The pipeline is the run there."""
    found = session_name(gitlab_job("https://gitlab.com"), grant="x", lease_id=LEASE)
    assert found == f"acme.shop-9002-31338-x-{LEASE}"


def test_owner_goes_first() -> None:
    """Where the room is short the owner is left out, then repository and grant are cut, fairly."""
    found = name(grant="upload-the-site-everywhere", repository=f"acme/{LONG}")
    assert found == f"a-product-with-a-9001.1-31337-upload-the-site-e-{LEASE}"
    assert len(found) == 64
    found = name(grant="up", repository=f"acme/{LONG}")
    assert found == f"{LONG}-9001.1-31337-up-{LEASE}"
    found = name(grant="upload-the-site-everywhere", repository="acme/a-web")
    assert found == f"a-web-9001.1-31337-upload-the-site-everywhere-{LEASE}"


def test_job_of_no_ci_we_know_is_named_by_its_subject() -> None:
    """Whoever hands a token over by hand has a subject at least."""
    bare = replace(job(), repository=None, run=None, job=None, subject="system:ns:ci")
    assert session_name(bare, grant="x", lease_id=LEASE) == f"system-ns-ci-x-{LEASE}"


@given(repository=MAYBE, subject=TEXTS, run=MAYBE, job_id=MAYBE, grant=TEXTS, lease=LEASES)
def test_any_job_gets_a_name_that_aws_takes(
    repository: str | None,
    subject: str,
    run: str | None,
    job_id: str | None,
    grant: str,
    lease: str,
) -> None:
    """At most 64 characters of AWS's, and the lease's id is always whole at the end."""
    who = replace(JOB, repository=repository, subject=subject, run=run, job=job_id)
    found = session_name(who, grant=grant, lease_id=lease)
    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", found)
    assert found.endswith(lease)
    assert found == session_name(who, grant=grant, lease_id=lease)


@given(st.lists(LEASES, unique=True), TEXTS)
def test_two_leases_never_share_a_name(leases: list[str], text: str) -> None:
    """However long the rest is: what is cut is never what tells them apart."""
    who = replace(JOB, repository=text, run=text, job=text)
    names = {session_name(who, grant=text, lease_id=lease) for lease in leases}
    assert len(names) == len(leases)


JOB = job()
