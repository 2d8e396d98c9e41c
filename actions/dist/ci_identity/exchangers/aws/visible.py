"""Which claims of a token AWS can compare in a trust policy, by the token's issuer. Pure."""

import re

_GITHUB = """repository repository_id ref environment job_workflow_ref workflow actor actor_id
    repository_owner_id enterprise_id"""
# Service Authorization Reference, "Condition keys for AWS Security Token Service".
_OWN = (
    (r"token\.actions\.githubusercontent\.com(?:/[^/]+)?|token\.actions\.[^/]+\.ghe\.com", _GITHUB),
    (
        r"gitlab\.com",
        """project_id namespace_id ref_protected pipeline_source runner_environment user_id
        user_login user_email user_access_level""",
    ),
    (
        r"agent\.buildkite\.com",
        """build_branch cluster_id cluster_name organization_id organization_slug pipeline_id
        pipeline_slug""",
    ),
    (r"oidc\.circleci\.com/org/[^/]+", "oidc.circleci.com/project-id"),
)


def own_claims(provider: str) -> tuple[str, ...]:
    """Return the claims that AWS has condition keys for with this issuer alone.

    Beside these it has `aud`, `sub`, `amr` and `email` whoever the issuer is (IAM, "Keys for AWS
    OIDC federation").

    Args:
        provider: the issuer without its `https://`, as ARNs and condition keys have it.
    """
    found = next((claims for pattern, claims in _OWN if re.fullmatch(pattern, provider)), "")
    return tuple(found.split())
