"""The targets of a grant, key by key: what each provider's API takes, and nothing looser."""

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ci_identity._address import check_address
from ci_identity.errors import InsecureAddressError
from ci_identity.grants.kinds import ByShape, Key, Keys, Kind, List, Made, Names, Text
from ci_identity.grants.nodes import Table
from ci_identity.grants.references import PATH_PATTERN, SECRET
from ci_identity.grants.variables import PATTERN, refusal
from ci_identity.model import (
    AwsTarget,
    AzureTarget,
    GcpTarget,
    KubernetesTarget,
    PolicyStatement,
    VaultTarget,
)

T = TypeVar("T")


def into(build: Callable[..., T]) -> Callable[[Table, dict[str, Any]], T]:
    """Return the `make` of a mapping whose keys are the fields of the class `build`."""
    return lambda _, values: build(**values)


def _address(url: str) -> str:
    try:
        return check_address(url, what="it")
    except InsecureAddressError:
        message = f"must be {ADDRESS_FORM}; plain http is for loopback only"
        raise ValueError(message) from None


ADDRESS_FORM = "an address, https://HOST[:PORT][/PATH]"
ADDRESS = Made(
    of=Text(expected=ADDRESS_FORM, pattern=r"https?://[^\s?#@]+"),
    make=_address,
)
AUDIENCE = Text(expected="the audience of the job's token")
PATH = Text(
    expected="a path without leading or trailing /, empty or dotted parts, spaces or any of ?#%*\\",
    pattern=PATH_PATTERN,
    maximum=512,
)

# ── vault ────────────────────────────────────────────────────────────────────────────────────

VAULT = Keys(
    keys={
        "address": Key(of=ADDRESS, doc="The server; VAULT_ADDR if absent."),
        "mount": Key(of=PATH, doc="Where the JWT auth method is mounted; jwt if absent."),
        "role": Key(
            of=Text(expected="a role's name", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*", maximum=128),
            doc="The role to log in with.",
            required=True,
        ),
        "namespace": Key(of=PATH, doc="The namespace of the secrets."),
        "auth_namespace": Key(of=PATH, doc="The namespace of the login, where it is another."),
        "policies": Key(
            of=List(
                of=Text(expected="a policy's name", pattern=r"[^\s,]+", maximum=128), maximum=64
            ),
            doc="The policies of the step's own token; without them it gets the login token.",
        ),
        "secrets": Key(
            of=Names(of=SECRET, pattern=PATTERN, refusal=refusal),
            doc="Variable of the child to where its value is: path#field.",
        ),
    },
    make=into(VaultTarget),
)

# ── aws ──────────────────────────────────────────────────────────────────────────────────────

MAX_POLICY = 2048
"""Characters of a session policy (AWS STS, AssumeRoleWithWebIdentity, `Policy`)."""


def _policy_text(text: str) -> str:
    try:
        policy = json.loads(text)
    except (ValueError, RecursionError):
        policy = None
    if not isinstance(policy, dict) or "Statement" not in policy:
        message = "must be a list of {allow, on}, or a policy document in JSON with a Statement"
        raise ValueError(message)
    return text


STATEMENT = Keys(
    keys={
        "allow": Key(
            of=List(
                of=Text(
                    expected="an action, such as s3:GetObject",
                    pattern=r"\*|[A-Za-z0-9_-]+:[A-Za-z0-9_*?]+",
                ),
                maximum=100,
            ),
            doc="The actions.",
            required=True,
        ),
        "on": Key(
            of=List(of=Text(expected="an ARN or *", pattern=r"\*|arn:\S+"), maximum=100),
            doc="The resources.",
            required=True,
        ),
    },
    make=into(PolicyStatement),
)
POLICY: Kind[tuple[PolicyStatement, ...] | str] = ByShape(
    expected="a list of {allow, on}, or a policy document in JSON",
    items=List(of=STATEMENT, maximum=50),
    text=Made(
        of=Text(
            expected="a policy document in JSON",
            pattern=r"[\n\r\x20-\xff]+",  # AWS's own charset; the tab is refused before
            maximum=MAX_POLICY,
        ),
        make=_policy_text,
    ),
)
ARN = r"arn:aws[a-z-]*:iam::(?:[0-9]{12}|aws)"
AWS = Keys(
    keys={
        "role": Key(
            of=Text(
                expected="the ARN of a role, arn:aws:iam::123456789012:role/NAME",
                pattern=r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+",
            ),
            doc="The ARN of the role.",
            required=True,
        ),
        "region": Key(
            of=Text(
                expected="a region, such as eu-west-1", pattern=r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}"
            ),
            doc="The region whose STS is asked, and that the child gets.",
        ),
        "policy": Key(of=POLICY, doc="The session policy: the most that the step may do."),
        "policy_arns": Key(
            of=List(
                of=Text(
                    expected="the ARN of a managed policy",
                    pattern=ARN + r":policy/[A-Za-z0-9_+=,.@/-]+",
                ),
                maximum=10,
            ),
            doc="Managed policies that narrow the session as well.",
        ),
        "endpoint": Key(of=ADDRESS, doc="The STS endpoint, where it is not the region's own."),
    },
    make=into(AwsTarget),
)

# ── gcp, azure, kubernetes ───────────────────────────────────────────────────────────────────

BOUNDARY = Keys(
    keys={
        "resource": Key(
            of=Text(expected="a resource, //storage.googleapis.com/...", pattern=r"//\S+"),
            doc="The resource, in full.",
            required=True,
        ),
        "role": Key(
            of=Text(
                expected="a role, roles/NAME or projects/ID/roles/NAME",
                pattern=r"[A-Za-z0-9_.:/-]+",
            ),
            doc="The most that may be done there.",
            required=True,
        ),
        "condition": Key(of=Text(expected="an expression"), doc="A condition, in CEL."),
    },
    make=lambda _, values: MappingProxyType(values),
)
ACCOUNT = Text(
    expected="the address of a service account",
    pattern=r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+\.[a-z]+",
)


def _gcp(node: Table, values: dict[str, Any]) -> GcpTarget:
    if "delegates" in values and "service_account" not in values:
        node.place.refuse("has `delegates`, which lead to a `service_account`, and has none")
    return GcpTarget(**values)


GCP = Keys(
    keys={
        "provider": Key(
            of=Text(
                expected="projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME",
                pattern=r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+"
                r"/providers/[a-z0-9-]+",
            ),
            doc="The workload identity provider, in full.",
            required=True,
        ),
        "service_account": Key(of=ACCOUNT, doc="The service account to impersonate, if any."),
        "delegates": Key(
            of=List(of=ACCOUNT, maximum=10),
            doc="Service accounts in between, each of which may impersonate the next.",
        ),
        "project": Key(
            of=Text(
                expected="a project's id",
                pattern=r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]",
            ),
            doc="The project that clients work in; that of the service account if absent.",
        ),
        "universe": Key(
            of=Text(
                expected="a domain, such as googleapis.com",
                pattern=r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}",
            ),
            doc="The domain of the cloud's addresses; googleapis.com if absent.",
        ),
        "scopes": Key(
            of=List(
                of=Text(
                    expected="an OAuth scope, such as cloud-platform",
                    pattern=r"[a-z][A-Za-z0-9_.-]*|https://\S+",
                ),
                maximum=50,
            ),
            doc="OAuth scopes; cloud-platform if absent.",
        ),
        # google-auth, downscoped.py: at most ten rules.
        "boundary": Key(
            of=List(of=BOUNDARY, maximum=10, minimum=0),
            doc="The credential access boundary's rules.",
        ),
    },
    make=_gcp,
    also={"dependentRequired": {"delegates": ["service_account"]}},
)
UUID = Text(
    expected="an id such as 00000000-0000-0000-0000-000000000000",
    pattern=r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
)
AZURE = Keys(
    keys={
        "tenant": Key(of=UUID, doc="The directory's id.", required=True),
        "client": Key(of=UUID, doc="The application's id.", required=True),
        "resources": Key(
            of=List(
                of=Text(
                    expected="a resource, such as https://vault.azure.net",
                    pattern=r"(?:https|api)://[^\s?#]+",
                ),
                maximum=20,
            ),
            doc="The resources that tokens are asked for, one token each.",
            required=True,
        ),
        "authority": Key(
            of=ADDRESS, doc="The address of the cloud's Entra, where it is not the public one."
        ),
    },
    make=into(AzureTarget),
)
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123


def _kubernetes(node: Table, values: dict[str, Any]) -> KubernetesTarget:
    if ca_file := values.get("ca_file"):  # as in a kubeconfig: beside the file that names it
        values["ca_file"] = str(Path(node.place.file).parent / ca_file)
    return KubernetesTarget(**values)


KUBERNETES = Keys(
    keys={
        "server": Key(of=ADDRESS, doc="The API server.", required=True),
        "ca_file": Key(
            of=Text(expected="a file"), doc="The cluster's CA, in PEM; beside the grants file."
        ),
        "audience": Key(
            of=AUDIENCE,
            doc="The audience of the job's token that the cluster expects.",
            required=True,
        ),
        "token_audiences": Key(
            of=List(of=Text(expected="an audience"), maximum=10),
            doc="The audiences of the token that is issued; the API server's own if absent.",
        ),
        "namespace": Key(
            of=Text(expected="the name of a namespace: a-z, 0-9 and -", pattern=LABEL),
            doc="The namespace.",
            required=True,
        ),
        "service_account": Key(
            of=Text(
                expected="its bare name, such as deployer",
                pattern=rf"{LABEL}(?:\.{LABEL})*",
                maximum=253,
            ),
            doc="The service account.",
            required=True,
        ),
    },
    make=_kubernetes,
)
