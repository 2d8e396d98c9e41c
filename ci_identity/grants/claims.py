"""The claims that the CIs we know put into a token, so that what nobody accounted for is seen."""

from collections.abc import Iterable

CLAIMS = {
    # RFC 7519, section 4.1
    "registered": "iss sub aud exp iat nbf jti",
    # docs.github.com, reference/security/oidc; ref_protected and check_run_id: real tokens
    "github": """
        actor actor_id base_ref check_run_id enterprise enterprise_id environment
        environment_node_id event_name head_ref job_workflow_ref job_workflow_sha ref ref_protected
        ref_type repository repository_id repository_owner repository_owner_id
        repository_visibility run_attempt run_id run_number runner_environment sha workflow
        workflow_ref workflow_sha""",
    # docs.gitlab.com, ci/secrets/id_token_authentication, as of 18.9
    "gitlab": """
        ci_config_ref_uri ci_config_sha deployment_tier environment environment_action
        environment_protected groups_direct job_config job_id job_namespace_id job_namespace_path
        job_project_id job_project_path job_source namespace_id namespace_path pipeline_id
        pipeline_source project_id project_path project_visibility ref ref_path ref_protected
        ref_type runner_environment runner_id sha target_audience user_access_level user_email
        user_id user_identities user_login""",
    # buildkite.com/docs, agent/v3/cli-oidc
    "buildkite": """
        agent_id build_branch build_commit build_id build_number build_source build_tag cluster_id
        job_id organization_id organization_slug pipeline_id pipeline_slug queue_id
        runner_environment step_key""",
    # circleci.com/docs, "Using OpenID Connect tokens in jobs"
    "circleci": """
        oidc.circleci.com/context-ids oidc.circleci.com/job-id oidc.circleci.com/org-id
        oidc.circleci.com/pipeline-definition-id oidc.circleci.com/pipeline-id
        oidc.circleci.com/project-id oidc.circleci.com/ssh-rerun oidc.circleci.com/vcs-origin
        oidc.circleci.com/vcs-ref oidc.circleci.com/workflow-id""",
    # support.atlassian.com, Bitbucket Pipelines, OpenID Connect
    "bitbucket": """
        accountUuid branchName deploymentEnvironmentUuid pipelineUuid repositoryUuid stepUuid
        workspaceUuid""",
    # real tokens: sigstore/fulcio#1803; goteleport.com, RFD 211
    "azure-devops": "def_id org_id prj_id rpo_id rpo_ref rpo_uri rpo_ver run_id",
    # docs.semaphore.io/reference/openid
    "semaphore": """
        branch job_id job_type org org_id ppl_id pr pr_branch prj prj_id ref ref_type repo
        repo_slug tag trg wf_id""",
    # plugins.jenkins.io/oidc-provider: by default; an administrator's templates decide
    "jenkins": "build_number",
    # kubernetes.io, service account tokens
    "kubernetes": "kubernetes.io",
}
"""By who issues them, the names of claims."""

PREFIXES = ("repo_property_", "agent_tag:", "oidc.circleci.com/")
"""Families of claims: GitHub's custom properties, Buildkite's agent tags, all of CircleCI's."""

KNOWN = frozenset(name for names in CLAIMS.values() for name in names.split())


def unaccounted(claims: Iterable[str]) -> tuple[str, ...]:
    """Return the names that no CI we know issues: a new claim, or one that a template added.

    A grant may ask for them all the same; that they exist is for `whoami` and `explain` to say.
    """
    return tuple(
        sorted(name for name in claims if name not in KNOWN and not name.startswith(PREFIXES))
    )
