"""How Azure's clients are handed tokens: as a managed identity whose endpoint is ours.

Source: https://learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint
reference". What clients ask was measured; which variables they read is beside each of them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from ci_identity._record import Record
from ci_identity._text import shortened
from ci_identity.delivery.endpoint import Asked, Refused, Reply, Route
from ci_identity.delivery.interface import Door, delivered
from ci_identity.delivery.refusal import Reason, refusal
from ci_identity.model import AzureTarget, AzureToken, AzureTokens, Delivered
from ci_identity.secret import Secret

TOKEN = "AZURE_ACCESS_TOKEN"  # noqa: S105  # a name
"""A bare token, for what sends its own requests: none of Azure's own clients takes one."""

_HEADER = "X-IDENTITY-HEADER"
_OTHER_IDENTITIES = ("object_id", "principal_id", "mi_res_id", "msi_res_id")


class AzureOffer(Record):
    """One grant's tokens, as they are on offer to the child.

    Attributes:
        grant: the grant's name.
        target: what the grant is for.
        tokens: returns the tokens as they are now. It raises a `CiIdentityError` if there are none.
    """

    grant: str
    target: AzureTarget
    tokens: Callable[[], AzureTokens]

    @property
    def summary(self) -> str:
        """What the child finds, in a few words for people."""
        return f"tokens for {', '.join(self.target.resources)} at a loopback endpoint"

    @property
    def path(self) -> str:
        """Where the tokens are served."""
        return f"/azure/{self.grant}"

    def routes(self, door: Door) -> Mapping[str, Route]:
        """Return what is served, by path: the second one for clients that send no header."""
        route = Route(answer=self._answer, bearer_header=_HEADER, refusal=in_words)
        return {
            self.path: route,
            self._open_path(door): Route(answer=self._answer, bearer_header=None, refusal=in_words),
        }

    def files(self, door: Door, among: "Sequence[AzureOffer]") -> Mapping[str, str]:
        """Return nothing: Azure's clients need no file."""
        del door, among
        return {}

    def variables(self, door: Door, among: "Sequence[AzureOffer]") -> Mapping[str, Delivered]:
        """Return the variables of a child; the first grant of several is the one they lead to."""
        del among
        tenant, client = self.target.tenant, self.target.client
        return delivered(
            {
                # azure-identity in every language, azcopy, az login --identity
                "IDENTITY_ENDPOINT": door.address + self.path,
                "IDENTITY_HEADER": door.bearer,
                "AZURE_CLIENT_ID": client,
                "AZURE_TENANT_ID": tenant,
                # DefaultAzureCredential: or it would try, and wait for, other ways first
                "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
                "AZCOPY_AUTO_LOGIN_TYPE": "MSI",
                "AZCOPY_MSI_CLIENT_ID": client,
                # Terraform, whose older versions send no header
                "ARM_USE_MSI": "true",
                "ARM_MSI_ENDPOINT": Secret(door.address + self._open_path(door)),
                "ARM_CLIENT_ID": client,
                "ARM_TENANT_ID": tenant,
            }
        )

    def pointers(self, door: Door, bearer_file: Path) -> Mapping[str, str]:
        """Return nothing: the protocol has no file for the header's value."""
        del door, bearer_file
        return {}

    def _open_path(self, door: Door) -> str:
        return f"{self.path}/{door.bearer.reveal()}"

    def _answer(self, asked: Asked) -> Reply | Refused:
        query = parse_qs(asked.request.query, max_num_fields=16)
        match query.get("resource"):
            case [resource]:
                pass
            case _:
                detail = "it must name one resource"
                return Refused(reason=Reason.REQUEST, peer=asked.peer, detail=detail)
        if not self._is_meant(query):
            detail = f"the grant {self.grant} is for the client {self.target.client}"
            return Refused(reason=Reason.OTHER, peer=asked.peer, detail=detail)
        tokens = self.tokens()
        if token := tokens.of(resource):
            return Reply(status=200, body=answer(token, resource, client=tokens.client))
        detail = f"add {shortened(resource)} to `resources` of the grant {self.grant}"
        return Refused(reason=Reason.OTHER, peer=asked.peer, detail=detail)

    def _is_meant(self, query: Mapping[str, Sequence[str]]) -> bool:
        """Return whether the identity that is asked for, if one is named, is the grant's own."""
        named = {client.lower() for client in query.get("client_id", ())}
        return named <= {self.target.client.lower()} and not query.keys() & {*_OTHER_IDENTITIES}


def answer(token: AzureToken, resource: str, *, client: str) -> bytes:
    """Return what a client expects of a managed-identity endpoint, of whichever API version.

    Args:
        token: the token.
        resource: what was asked for, to the letter: @azure/identity keeps no other token.
        client: the id of the application that it is of.
    """
    left = (token.expires_at - datetime.now(UTC)).total_seconds()
    found = {
        "access_token": token.access_token.reveal(),
        "client_id": client,
        "expires_in": str(max(int(left), 0)),  # Terraform
        "expires_on": str(int(token.expires_at.timestamp())),
        "resource": resource,
        "token_type": "Bearer",
    }
    return json.dumps(found).encode()


def in_words(refused: Refused) -> Reply:
    """Return the 403 of a refusal as these clients show it: `statusCode` and `message`."""
    reply = refusal(refused)
    found = json.loads(reply.body) | {"statusCode": reply.status}
    return Reply(status=reply.status, body=json.dumps(found).encode())


def token_variables(tokens: AzureTokens) -> Mapping[str, Delivered]:
    """Return the variable of a child that is given the token of the first resource itself."""
    return delivered({TOKEN: tokens.tokens[0].access_token})
