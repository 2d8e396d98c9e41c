"""Whose job it is: each CI's variables are its own, and those of two are refused."""

from itertools import combinations, permutations

import pytest

from ci_identity.errors import IdentityError, NoIdentityError, TwoCisError
from ci_identity.model import SourceName
from ci_identity.sources import detect, fetch, sources
from ci_identity.sources.presence import MARKS, cis

JOBS: dict[SourceName, dict[str, str]] = {
    SourceName.GITHUB: {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/shop"},
    SourceName.FORGEJO: {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITEA_ACTIONS": "true",
        "FORGEJO_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://codeberg.org",
    },
    SourceName.GITLAB: {"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/shop"},
    SourceName.BUILDKITE: {"CI": "true", "BUILDKITE": "true", "BUILDKITE_BRANCH": "main"},
    SourceName.CIRCLECI: {"CI": "true", "CIRCLECI": "true", "CIRCLE_BRANCH": "main"},
    SourceName.BITBUCKET: {"CI": "true", "BITBUCKET_PIPELINE_UUID": "{5a7c}"},
    SourceName.AZURE_DEVOPS: {"TF_BUILD": "True", "BUILD_REASON": "IndividualCI"},
    SourceName.JENKINS: {
        "CI": "true",
        "JENKINS_URL": "https://jenkins.acme.example/",
        "BUILD_TAG": "jenkins-shop-7",
    },
    SourceName.SEMAPHORE: {"CI": "true", "SEMAPHORE": "true"},
}
"""What each CI sets in every job, by its documentation."""


def test_every_ci_has_a_job_here() -> None:
    """No CI's mark goes untested."""
    assert set(JOBS) == set(MARKS)


@pytest.mark.parametrize("ci", JOBS)
def test_a_job_is_of_its_own_ci_alone(ci: SourceName) -> None:
    """Of all the sources one says that this is its place, and what is missing there."""
    assert cis(JOBS[ci]) == (ci,)
    answers: dict[str, bool] = {}
    for source in sources(JOBS[ci]):
        try:
            answers[source.name] = source.fetch("vault") is not None
        except IdentityError:
            answers[source.name] = True
    assert [name for name, is_here in answers.items() if is_here] == [ci]


@pytest.mark.parametrize(
    "pair",
    list(combinations([ci for ci in JOBS if ci is not SourceName.GITHUB], 2)),
    ids="-".join,
)
def test_two_cis_at_once_are_refused(pair: tuple[SourceName, SourceName]) -> None:
    """In whatever order their variables come, neither speaks for the job."""
    for first, second in permutations(pair):
        environ = JOBS[first] | JOBS[second]
        with pytest.raises(TwoCisError) as caught:
            fetch(sources(environ), "vault")
        assert set(cis(environ)) == set(pair)
        assert all(ci in str(caught.value) for ci in pair)


@pytest.mark.parametrize("ci", [ci for ci in JOBS if ci not in {"github", "forgejo"}])
def test_github_beside_another_is_refused(ci: SourceName) -> None:
    """Only Forgejo has GitHub's mark by right."""
    with pytest.raises(TwoCisError, match=rf"github.*{ci}|{ci}.*github"):
        fetch(sources(JOBS[ci] | JOBS[SourceName.GITHUB]), "vault")


def test_what_asks_for_tokens_marks_github_too() -> None:
    """A planted pair of variables beside another CI's is seen."""
    environ = JOBS[SourceName.BUILDKITE] | {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://evil.example"}
    assert cis(environ) == (SourceName.GITHUB, SourceName.BUILDKITE)


@pytest.mark.parametrize("ci", JOBS)
def test_a_source_that_is_named_is_the_only_one(ci: SourceName) -> None:
    """A grant's `source` decides where the variables are of two CIs."""
    environ = JOBS[SourceName.GITLAB] | JOBS[SourceName.BUILDKITE]
    assert [source.name for source in sources(environ, ci)] == [ci]


@pytest.mark.parametrize("name", SourceName)
def test_every_name_is_a_source(name: SourceName) -> None:
    """Each name that a grant can write leads to one source."""
    environ = {"CI_IDENTITY_TOKEN_FILE": "/nowhere"}
    (source,) = sources(environ, name)
    assert source.name == name


@pytest.mark.parametrize("name", ["kubernetes", "spiffe", "machine"])
def test_what_names_a_workload_is_asked_by_name_only(name: str) -> None:
    """Not even where its variable is set and nothing else is there."""
    environ = {"SPIFFE_ENDPOINT_SOCKET": "unix:///run/spire/agent.sock"}
    assert name not in [source.name for source in sources(environ)]
    assert detect(environ) is None


def test_a_file_that_is_named_by_hand_decides(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It comes before the CIs, so it also comes before the question which CI this is."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("no token")
    environ = JOBS[SourceName.GITLAB] | JOBS[SourceName.BUILDKITE]
    with pytest.raises(IdentityError, match=r"the token in .* is not an OIDC id token"):
        fetch(sources(environ | {"CI_IDENTITY_TOKEN_FILE": str(file)}), "vault")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CI": "true"},
        {"JENKINS_URL": "https://jenkins.acme.example/"},
        {"BUILD_TAG": "jenkins-shop-7"},
        {"BUILDKITE": "", "CIRCLECI": "false", "TF_BUILD": "0"},
    ],
)
def test_other_places_are_no_cis(environ: dict[str, str]) -> None:
    """An address of a Jenkins is no build of it."""
    assert cis(environ) == ()
    with pytest.raises(NoIdentityError):
        fetch(sources(environ), "vault")
