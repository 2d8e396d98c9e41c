"""docs/how-to/kubernetes.md: what it shows is in examples/, and is what the code asks for."""

from typing import Any

import yaml

from ci_identity.exchangers.kubernetes.errors import needed
from ci_identity.model import KubernetesTarget
from tests.docs.pages import ROOT, blocks, page
from tests.kubernetes.cluster import ACCOUNT, NAMESPACE, NEEDED

EXAMPLES = ROOT / "examples" / "kubernetes"
PAGE = page("how-to/kubernetes.md")


def access() -> dict[str, Any]:
    """Return the objects of access.yaml, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all((EXAMPLES / "access.yaml").read_text())}


def test_page_shows_the_examples() -> None:
    """Each file of the folder, to the letter."""
    shown = blocks(PAGE, "yaml")
    files = sorted(EXAMPLES.iterdir())
    assert len(files) == 3
    for path in files:
        assert path.read_text() in shown
        assert all(yaml.safe_load_all(path.read_text()))


def test_role_is_the_one_that_the_tests_and_the_hint_have() -> None:
    """What a job is let do in the tests is what the page and a refusal tell people to write."""
    role = access()["Role"]
    assert {
        (rule["resources"][0], frozenset(rule["verbs"]), frozenset(rule.get("resourceNames", ())))
        for rule in role["rules"]
    } == {(rule.resource, rule.verbs, rule.names) for rule in NEEDED}
    target = KubernetesTarget(
        server="https://k", namespace=NAMESPACE, service_account=ACCOUNT, audience="acme"
    )
    said = yaml.safe_load("\n".join(needed(target, "x").splitlines()[1:]))
    assert sorted(said, key=str) == sorted(role["rules"], key=str)


def test_binding_is_for_a_name_of_the_configuration() -> None:
    """The user that is bound begins with the prefix that the cluster gives to jobs."""
    configuration = yaml.safe_load((EXAMPLES / "authentication.yaml").read_text())
    username = configuration["jwt"][0]["claimMappings"]["username"]
    (subject,) = access()["RoleBinding"]["subjects"]
    assert username["claim"] == "sub"
    assert subject["name"].startswith(username["prefix"] + "repo:")
