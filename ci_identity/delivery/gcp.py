"""How Google's clients are handed a token: as an external account whose provider is our endpoint.

The credential file says where a subject token is fetched and where it is swapped for an access
token; both are the endpoint. What it fetches is a nonce of ours: neither the job's own token nor
what mints it comes near the child. Source: https://google.aip.dev/auth/4117.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from ci_identity._record import Record, field
from ci_identity.delivery.endpoint import Asked, Refused, Reply, Route
from ci_identity.delivery.interface import Door, delivered
from ci_identity.delivery.refusal import Reason
from ci_identity.model import Delivered, GcpTarget, GcpToken
from ci_identity.secret import Secret

TOKENS = ("GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")
"""A bare token: as Terraform reads it, and as gcloud does."""

CREDENTIAL_FILE = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
"""The file: as client libraries and Terraform find it, and as gcloud does."""

UNIVERSE = ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "CLOUDSDK_CORE_UNIVERSE_DOMAIN")
PROJECT = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")

_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # RFC 8693, section 3
_SUBJECT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
_ABOUT = "/about"
_DOMAIN = ".iam.gserviceaccount.com"

MAX_NONCES = 64
"""Nonces that wait to be used; beyond it the oldest is forgotten."""


class Nonces:
    """Texts that are good for one exchange each: what a client shows that it had the bearer."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}

    def make(self) -> Secret:
        """Return a new one."""
        nonce = Secret(os.urandom(32).hex())
        self._waiting[nonce.fingerprint()] = None  # so that no comparison tells how far it got
        if len(self._waiting) > MAX_NONCES:
            del self._waiting[next(iter(self._waiting))]
        return nonce

    def use(self, nonce: Secret) -> bool:
        """Return whether it is one of ours, and not yet used; now it is."""
        fingerprint = nonce.fingerprint()
        is_ours = fingerprint in self._waiting
        self._waiting.pop(fingerprint, None)
        return is_ours


class GcpOffer(Record):
    """One grant's access token, as it is on offer to the child.

    Attributes:
        grant: the grant's name.
        target: what the grant is for.
        lease_id: our id of the lease, which gcloud writes into the audit log.
        token: returns the token as it is now. It raises a `CiIdentityError` if there is none.
        universe: the domain whose token it is, where that is not Google's public one.
        nonces: what was given out to be swapped for it.
    """

    grant: str
    target: GcpTarget
    lease_id: str
    token: Callable[[], GcpToken]
    universe: str | None = None
    nonces: Nonces = field(default_factory=Nonces)

    @property
    def summary(self) -> str:
        """What the child finds, in a few words for people."""
        return "a Google Cloud token at a loopback endpoint"

    @property
    def path(self) -> str:
        """Where a nonce is given (GET) and swapped (POST): to be served is one thing."""
        return f"/gcp/{self.grant}"

    @property
    def file(self) -> str:
        """The name of the credential file in the private folder."""
        return f"gcp-{self.grant}.json"

    def routes(self, door: Door) -> Mapping[str, Route]:
        """Return what is served, by path."""

        def answer(asked: Asked) -> Reply | Refused:
            return (
                _swap(self, asked) if asked.request.method == "POST" else _begin(self, door, asked)
            )

        # No header of ours comes with a POST: there the nonce, or the token, is what is asked for.
        methods = frozenset({"GET", "POST"})
        told = Route(
            answer=lambda asked: _tell(self, asked), methods=frozenset({"POST"}), bearer_header=None
        )
        return {
            self.path: Route(answer=answer, methods=methods, bearer_header=None),
            self.path + _ABOUT: told,
        }

    def files(self, door: Door, among: "Sequence[GcpOffer]") -> Mapping[str, str]:
        """Return a credential file for each grant."""
        return {offer.file: json.dumps(offer.account(door), indent=2) for offer in among}

    def account(self, door: Door) -> Mapping[str, object]:
        """Return the external account. The audience has no project number: clients would look it
        up at Google before anything else.
        """  # noqa: D205  # one thought over two lines
        url = door.address + self.path
        found: dict[str, object] = {
            "type": "external_account",
            "audience": f"//ci-identity/grant/{self.grant}",
            "subject_token_type": _SUBJECT_TYPE,
            "token_url": url,
            "token_info_url": url + _ABOUT,
            "credential_source": {
                "url": url,
                "headers": {"Authorization": door.bearer.reveal()},
                "format": {"type": "text"},
            },
        }
        if self.universe:
            found["universe_domain"] = self.universe
        return found

    def variables(self, door: Door, among: "Sequence[GcpOffer]") -> Mapping[str, Delivered]:
        """Return the variables of a child; the first grant of several is the default."""
        del among
        reason = {"CLOUDSDK_CORE_REQUEST_REASON": request_reason(self.lease_id)}
        return delivered({**self._found(door), **reason})

    def pointers(self, door: Door, bearer_file: Path) -> Mapping[str, str]:
        """Return the variables of a whole job: where the file is."""
        del bearer_file
        return self._found(door)

    def _found(self, door: Door) -> dict[str, str]:
        return dict.fromkeys(CREDENTIAL_FILE, str(door.folder / self.file)) | _around(
            self.target, self.universe
        )


def request_reason(lease_id: str) -> str:
    """Return what Cloud Audit Logs keep beside a request (`X-Goog-Request-Reason`)."""
    return f"ci-identity lease {lease_id}"


def token_variables(token: GcpToken, target: GcpTarget) -> Mapping[str, Delivered]:
    """Return the variables of a child that is given the token itself."""
    return delivered(
        {**dict.fromkeys(TOKENS, token.access_token), **_around(target, token.universe)}
    )


def project(target: GcpTarget) -> str | None:
    """Return the project that clients work in: the grant's own, else the service account's."""
    if target.project:
        return target.project
    _, _, domain = (target.service_account or "").partition("@")
    return domain.removesuffix(_DOMAIN) if domain.endswith(_DOMAIN) else None


def _around(target: GcpTarget, universe: str | None) -> dict[str, str]:
    given: dict[str, str] = {}
    if name := project(target):
        given |= dict.fromkeys(PROJECT, name)
    if universe:
        given |= dict.fromkeys(UNIVERSE, universe)
    return given


def _begin(offer: GcpOffer, door: Door, asked: Asked) -> Reply | Refused:
    if Secret(asked.request.headers.get("authorization", "")) != door.bearer:
        return Refused(reason=Reason.BEARER, peer=asked.peer)
    nonce = offer.nonces.make().reveal()
    return Reply(status=200, body=nonce.encode(), content_type="text/plain")


def _swap(offer: GcpOffer, asked: Asked) -> Reply | Refused:
    shown = _field(asked, "subject_token")
    if shown is None or not offer.nonces.use(shown):
        return Refused(reason=Reason.BEARER, peer=asked.peer)
    return Reply(status=200, body=exchange_answer(offer.token(), now=datetime.now(UTC)))


def _tell(offer: GcpOffer, asked: Asked) -> Reply:
    """Say whose the token is (RFC 7662), as gcloud asks before anything else.

    It would ask Google, where a service account's token is none of a federation's.
    """
    shown = _field(asked, "token")
    is_ours = shown is not None and shown == offer.token().access_token
    whose = {"username": offer.target.service_account or offer.grant} if is_ours else {}
    return Reply(status=200, body=json.dumps({"active": is_ours, **whose}).encode())


def _field(asked: Asked, name: str) -> Secret | None:
    form = parse_qs(asked.request.body.decode("latin-1"), max_num_fields=32)
    return Secret(form[name][0]) if len(form.get(name, [])) == 1 else None


def exchange_answer(token: GcpToken, *, now: datetime) -> bytes:
    """Return what a client expects of a token endpoint (RFC 8693, section 2.2.1)."""
    answer = {
        "access_token": token.access_token.reveal(),
        "issued_token_type": _TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": int((token.expires_at - now).total_seconds()),
    }
    return json.dumps(answer).encode()
