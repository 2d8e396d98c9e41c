"""Each claim of a token is one that we know, or is told."""

from ci_identity.grants.decide import unaccounted


def test_claims_of_known_cis_are_accounted_for() -> None:
    """GitHub's, GitLab's and CircleCI's own claims are nothing to tell."""
    names = "iss sub exp repository_id check_run_id repo_property_team job_project_id ref_protected"
    assert unaccounted([*names.split(), "oidc.circleci.com/project-id"]) == ()


def test_new_claims_are_told_in_order() -> None:
    """What no CI is known to issue is named."""
    assert unaccounted({"iss": "x", "zone": 1, "Repository": "a/b"}) == ("Repository", "zone")
