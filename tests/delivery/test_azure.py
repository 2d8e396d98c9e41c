"""What Azure's clients are handed: the managed-identity protocol, variables, a bare token."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ci_identity._record import replace
from ci_identity.delivery.azure import AzureOffer, answer, in_words, token_variables
from ci_identity.delivery.endpoint import Asked, Peer, Refused, Reply, Request
from ci_identity.delivery.interface import Door
from ci_identity.delivery.refusal import Reason
from ci_identity.errors import NotRenewedError
from ci_identity.model import AzureTarget, AzureToken, AzureTokens
from ci_identity.secret import Secret

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com/"
ENDS = datetime.now(UTC).replace(microsecond=678901) + timedelta(hours=1)
TOKENS = AzureTokens(
    client=CLIENT,
    tokens=(
        AzureToken(resource=VAULT, access_token=Secret("a-token"), expires_at=ENDS),
        AzureToken(resource=STORAGE, access_token=Secret("b-token"), expires_at=ENDS),
    ),
)
DOOR = Door(
    address="http://127.0.0.1:1",
    bearer=Secret("the-bearer"),
    folder=Path("/private"),
    command=["python"],
)
OFFER = AzureOffer(
    grant="rotate",
    target=AzureTarget(tenant=TENANT, client=CLIENT, resources=(VAULT, STORAGE)),
    tokens=lambda: TOKENS,
)
PATH, OPEN_PATH = "/azure/rotate", "/azure/rotate/the-bearer"


def ask(query: str, path: str = PATH) -> Reply | Refused:
    request = Request(method="GET", path=path, query=query)
    return OFFER.routes(DOOR)[path].answer(Asked(request=request, peer=Peer()))


def granted(**query: str) -> dict[str, str]:
    reply = ask(urlencode({"api-version": "2019-08-01"} | query))
    assert isinstance(reply, Reply)
    assert reply.status == 200
    found: dict[str, str] = json.loads(reply.body)
    return found


def refused(**query: str) -> Refused:
    reply = ask(urlencode({"api-version": "2019-08-01"} | query))
    assert isinstance(reply, Refused)
    return reply


# ── what is served ───────────────────────────────────────────────────────────────────────────


def test_answer() -> None:
    """As clients of both API versions read it; the end is cut to the second before, never after."""
    found = granted(resource=VAULT)
    left = (ENDS - datetime.now(UTC)).total_seconds()
    assert left - 1 <= int(found.pop("expires_in")) <= left + 1
    assert found == {
        "access_token": "a-token",
        "client_id": CLIENT,
        "expires_on": str(int(ENDS.timestamp())),
        "resource": VAULT,
        "token_type": "Bearer",
    }


def test_life_that_is_over_is_none() -> None:
    """It is never negative, which some clients take for a number without sign."""
    token = replace(TOKENS.tokens[0], expires_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert json.loads(answer(token, VAULT, client=CLIENT))["expires_in"] == "0"


@pytest.mark.parametrize("resource", [VAULT, f"{VAULT}/"])
def test_resource_with_or_without_its_slash(resource: str) -> None:
    """SDKs differ in it. The answer has what was asked: @azure/identity keeps nothing else."""
    found = granted(resource=resource)
    assert (found["access_token"], found["resource"]) == ("a-token", resource)


def test_each_resource_has_its_own_token() -> None:
    """The second one's token is not the first one's."""
    assert granted(resource=STORAGE.rstrip("/"))["access_token"] == "b-token"


@pytest.mark.parametrize("client", [CLIENT, CLIENT.upper()])
def test_client_of_the_grant(client: str) -> None:
    """It may be named, in either case."""
    assert granted(resource=VAULT, client_id=client)["client_id"] == CLIENT


OTHERS = {
    "client": {"client_id": TENANT},
    "object": {"object_id": TENANT},
    "principal": {"principal_id": TENANT},
    "resource id": {"mi_res_id": "/subscriptions/x"},
    "resource id of IMDS": {"msi_res_id": "/subscriptions/x"},
}


@pytest.mark.parametrize("query", OTHERS.values(), ids=OTHERS)
def test_another_identity(query: dict[str, str]) -> None:
    """Who asks for another identity is not given this one."""
    found = refused(resource=VAULT, **query)
    assert found.reason is Reason.OTHER
    assert found.detail == f"the grant rotate is for the client {CLIENT}"


def test_two_clients_at_once() -> None:
    """Of which one may be the grant's."""
    reply = ask(urlencode({"resource": VAULT}) + f"&client_id={CLIENT}&client_id={TENANT}")
    assert isinstance(reply, Refused)


def test_resource_that_is_not_in_the_grant() -> None:
    """The refusal names what to add, made printable and cut short."""
    found = refused(resource="https://management.azure.com")
    assert found.reason is Reason.OTHER
    assert found.detail == "add https://management.azure.com to `resources` of the grant rotate"
    assert "\x1b" not in refused(resource="https://x\x1b[2J").detail
    assert len(refused(resource="x" * 5000).detail) < 500


@pytest.mark.parametrize(
    "query", ["", "api-version=2019-08-01", "resource=", f"resource={VAULT}&resource={STORAGE}"]
)
def test_no_resource_or_two(query: str) -> None:
    """One is asked for at a time."""
    reply = ask(query)
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.REQUEST


def test_nothing_to_give_is_for_the_endpoint_to_say() -> None:
    """An error of the session goes on as it is."""

    def ended() -> AzureTokens:
        raise NotRenewedError("it has ended")  # noqa: EM101, TRY003  # a test's own

    offer = replace(OFFER, tokens=ended)
    request = Request(method="GET", path=PATH, query=f"resource={VAULT}")
    with pytest.raises(NotRenewedError):
        offer.routes(DOOR)[PATH].answer(Asked(request=request, peer=Peer()))


def test_two_ways_to_show_the_bearer() -> None:
    """In the protocol's header; or in the path, for clients that send none. Nothing else is served.

    Terraform before 2025 sends no header.
    """
    routes = OFFER.routes(DOOR)
    headers = {path: route.bearer_header for path, route in routes.items()}
    assert headers == {PATH: "X-IDENTITY-HEADER", OPEN_PATH: None}
    assert all(route.methods == {"GET"} for route in routes.values())
    assert isinstance(ask(f"resource={VAULT}", OPEN_PATH), Reply)


def test_refusal_in_the_protocols_words() -> None:
    """403, and the reason where msal and @azure/identity look for it."""
    reply = in_words(Refused(reason=Reason.OTHER, peer=Peer(), detail="add it"))
    found = json.loads(reply.body)
    assert reply.status == found["statusCode"] == 403
    assert found["message"] == "ci-identity: this is not what the grant is for: add it"
    assert found["error"] == "endpoint-other"


# ── variables ────────────────────────────────────────────────────────────────────────────────


def test_variables_lead_to_the_endpoint() -> None:
    """What shows the bearer is secret; the rest is public."""
    given = OFFER.variables(DOOR, [OFFER])
    assert {name: one.value.reveal() for name, one in given.items()} == {
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1/azure/rotate",
        "IDENTITY_HEADER": "the-bearer",
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "AZCOPY_AUTO_LOGIN_TYPE": "MSI",
        "AZCOPY_MSI_CLIENT_ID": CLIENT,
        "ARM_USE_MSI": "true",
        "ARM_MSI_ENDPOINT": "http://127.0.0.1:1/azure/rotate/the-bearer",
        "ARM_CLIENT_ID": CLIENT,
        "ARM_TENANT_ID": TENANT,
    }
    assert {name for name, one in given.items() if not one.is_public} == {
        "IDENTITY_HEADER",
        "ARM_MSI_ENDPOINT",
    }


def test_first_of_several_grants_is_the_one_they_lead_to() -> None:
    """The protocol knows one endpoint; the others are at paths of their own."""
    other = replace(OFFER, grant="backup")
    assert OFFER.variables(DOOR, [OFFER, other]) == OFFER.variables(DOOR, [OFFER])
    assert "/azure/backup" in other.routes(DOOR)


def test_no_files_and_nothing_for_a_whole_job() -> None:
    """The header's value would be a secret in every step's environment."""
    assert OFFER.files(DOOR, [OFFER]) == {}
    assert OFFER.pointers(DOOR, Path("/bearer")) == {}


def test_summary_names_the_resources() -> None:
    """As the log has it."""
    assert OFFER.summary == f"tokens for {VAULT}, {STORAGE} at a loopback endpoint"


def test_bare_token_is_the_first_resources() -> None:
    """For what sends its own requests."""
    given = token_variables(TOKENS)
    assert given["AZURE_ACCESS_TOKEN"].value.reveal() == "a-token"
    assert not given["AZURE_ACCESS_TOKEN"].is_public
