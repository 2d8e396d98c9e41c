"""Writes docs/reference/targets.md anew: how far an end goes is what the exchangers declare."""  # noqa: INP001  # a script beside the pages

from dataclasses import dataclass
from pathlib import Path

from ci_identity.exchangers.aws.credential import STRENGTH as AWS
from ci_identity.exchangers.azure.credential import STRENGTH as AZURE
from ci_identity.exchangers.gcp.credential import STRENGTH as GCP
from ci_identity.exchangers.interface import Strength
from ci_identity.exchangers.kubernetes.credential import STRENGTH as KUBERNETES
from ci_identity.exchangers.token_exchange.credential import NOT_REVOCABLE, REVOCABLE
from ci_identity.exchangers.vault.credential import STRENGTH as VAULT

PATH = Path(__file__).parent / "reference" / "targets.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What there is to know of one target.

    Attributes:
        page: the how-to page.
        delivery: how a step has it.
        is_renewed: whether it goes on being given while the step runs.
        strengths: how its ends go; with a remark on when, if there are several.
        shortest: the shortest life that can be had.
        narrowed_by: keys of the grant that make it less than the role may.
        clients: what it was tried with, in the tests.
    """

    page: str
    delivery: str
    is_renewed: bool
    strengths: dict[str, Strength]
    shortest: str
    narrowed_by: tuple[str, ...]
    clients: str


ROWS = {
    "vault": Row(
        page="vault",
        delivery="variables of the child",
        is_renewed=False,
        strengths={"": VAULT},
        shortest="as asked",
        narrowed_by=("policies", "secrets"),
        clients="a real OpenBao, PostgreSQL's logins, a CRL, ssh-keygen; hvac",
    ),
    "aws": Row(
        page="aws",
        delivery="the endpoint; or variables, a `credential_process` profile",
        is_renewed=True,
        strengths={"": AWS},
        shortest="as asked: under 900 s by a Deny from then on, in the session policy",
        narrowed_by=("policy", "policy_arns"),
        clients="boto3, aws, the SDKs for JavaScript and Go (Terraform's backend), at moto",
    ),
    "gcp": Row(
        page="gcp",
        delivery="the endpoint; or variables",
        is_renewed=True,
        strengths={"": GCP},
        shortest="as asked with `service_account`; without, what is left of the job's token",
        narrowed_by=("scopes", "boundary"),
        clients="google-auth, google-cloud-storage, gcloud, JavaScript, Go, at a double of Google",
    ),
    "azure": Row(
        page="azure",
        delivery="the endpoint; or a variable",
        is_renewed=True,
        strengths={"": AZURE},
        shortest="what Entra gives: mostly 60 to 90 min",
        narrowed_by=("resources",),
        clients="azure-identity, msal, JavaScript, Go (Terraform's backend), at a double of Entra",
    ),
    "kubernetes": Row(
        page="kubernetes",
        delivery="a `KUBECONFIG` whose exec plugin asks the endpoint",
        is_renewed=True,
        strengths={"": KUBERNETES},
        shortest="as asked: 10 min at least",
        narrowed_by=("namespace", "token_audiences"),
        clients="kubectl, the official client for Python, at a double of an API server",
    ),
    "token_exchange": Row(
        page="token-exchange",
        delivery="a variable of the child",
        is_renewed=False,
        strengths={"with `revoke_url`": REVOCABLE, "without": NOT_REVOCABLE},
        shortest="what the server gives",
        narrowed_by=("audience", "scope"),
        clients="oidc-provider for Node.js as the server; a double of one",
    ),
}
HEAD = """\
# Targets

What a grant can be for, how a step has it, and how far its end goes. This page is made from the
code: `python docs/targets.py`. The words for an end are those that the log has; a test holds every
exchanger to them.

`revoked` means that the provider confirmed it. `expires` means that nobody was there who could end
it: it is gone from our side, and dead at the time that is told.

| target | a step has it by | its end |
|---|---|---|
"""
LIFE = """
| target | shortest life | renewed while the step runs | narrowed by | tried with, in the tests |
|---|---|---|---|---|
"""
TAIL = """
What a step would have for longer than the grant's `ttl` is refused, whoever the provider is. What
is not renewed ends with the step, and at `ttl` at the latest.
"""


def page() -> str:
    """Return the text of the page."""
    ends = [f"| {_link(name, row)} | {row.delivery} | {_ends(row)} |" for name, row in ROWS.items()]
    lives = [
        f"| `{name}` | {row.shortest} | {'yes' if row.is_renewed else 'no'}"
        f" | {', '.join(f'`{key}`' for key in row.narrowed_by)} | {row.clients} |"
        for name, row in ROWS.items()
    ]
    return "\n".join([HEAD + "\n".join(ends), LIFE + "\n".join(lives), TAIL])


def _link(name: str, row: Row) -> str:
    return f"[`{name}`](../how-to/{row.page}.md)"


def _ends(row: Row) -> str:
    return "; ".join(
        f"{when}{' ' * bool(when)}`{strength.outcome}`: {strength.meaning}"
        for when, strength in row.strengths.items()
    )


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
