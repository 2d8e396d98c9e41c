"""GitHub Actions: the job asks the runner's token endpoint for an id token, for any audience.

The exchange is that of `getIDToken` in actions/toolkit (`packages/core/src/oidc-utils.ts`); the
issuers are those of docs.github.com, "OpenID Connect reference".
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests

from ci_identity._address import check_address, is_loopback
from ci_identity._http import Answer, HttpSession, Network, retry
from ci_identity.errors import (
    ForkIdentityError,
    IdTokenPermissionError,
    IssuerError,
    ProviderUnavailableError,
    TlsError,
    TokenRequestError,
)
from ci_identity.model import SubjectToken, UnverifiedClaims
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import Clock, issuer, quoted, read, utc_now

REQUEST_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105  # the variable's name
PROBE_AUDIENCE = "ci-identity"
"""The audience of a token that is only looked at: nobody's, so that it opens nothing."""

MINT_BUDGET = 10.0
"""Seconds for asking, with its retries. Apart from the exchange's own, so neither starves."""

_ORIGIN = "the token from GitHub's token endpoint"
_PULL_REQUEST_EVENTS = {"pull_request", "pull_request_review", "pull_request_review_comment"}
"""Events that give a fork's run no id token; `pull_request_target` runs with the base's rights."""


@dataclass(frozen=True, slots=True)
class GitHubSource:
    """The id token of a GitHub Actions job, on github.com, ghe.com or Enterprise Server."""

    environ: Mapping[str, str] = field(repr=False)
    now: Clock = field(default=utc_now, repr=False, kw_only=True)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """The source's name."""
        return "github"

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return a new token for `audience`, or `None` outside GitHub Actions.

        Raises:
            IdTokenPermissionError: the job may not ask for one.
            ForkIdentityError: nor can it, as it runs for a fork's pull request.
            TokenRequestError: the endpoint gave none.
            MalformedTokenError, AudienceError, ExpiredTokenError: it gave one that cannot be used.
            IssuerError: the token is not from the server that the job runs on.
            InsecureAddressError: the endpoint's or the server's address is not https.
        """
        url, bearer = self.environ.get(REQUEST_URL), self.environ.get(REQUEST_TOKEN)
        if not url and not bearer and self.environ.get("GITHUB_ACTIONS") != "true":
            return None
        if not url or not bearer:
            raise _no_permission(self.environ)
        check_address(url, what=REQUEST_URL)
        asked = PROBE_AUDIENCE if audience is None else audience
        network = Network.from_environ(url, self.environ)
        token = self._mint(network, _with_audience(url, asked), Secret(bearer))
        claims = read(token, origin=_ORIGIN, audience=asked, now=self.now())
        # A token endpoint on this very machine is a sandbox, whose issuer may have any name; no
        # GitHub runner has one. The provider still decides whom it trusts.
        if not is_loopback(urlsplit(url).hostname or ""):
            _check_issuer(claims, self.environ.get("GITHUB_SERVER_URL") or "https://github.com")
        return SubjectToken(
            token=token,
            claims=claims,
            source=self.name,
            step=self.environ.get("GITHUB_ACTION") or None,
            debug=self.environ.get("RUNNER_DEBUG") == "1",
            steered_by=network.variables,
        )

    def _mint(self, network: Network, url: str, bearer: Secret) -> Secret:
        with HttpSession(network) as session:
            session.deadline = time.monotonic() + MINT_BUDGET
            return retry(
                lambda: _request(session, url, bearer), budget=MINT_BUDGET, pause=self.pause
            )


def _request(session: HttpSession, url: str, bearer: Secret) -> Secret:
    host = urlsplit(url).netloc
    try:
        response = session.get(url, headers={"Authorization": f"bearer {bearer.reveal()}"})
        if response.status_code != HTTPStatus.OK:
            message = f"GitHub's token endpoint: {host} answered {response.status_code}"
            raise TokenRequestError(message)
        return Secret(Answer(_json(response.content), host).text("value"))
    except ProviderUnavailableError as error:
        message = f"GitHub's token endpoint: {error}"
        hint = "name the CA's file in REQUESTS_CA_BUNDLE" if isinstance(error, TlsError) else None
        raise TokenRequestError(message, hint=hint, retry_after=error.retry_after) from None
    except (requests.RequestException, UnicodeError):  # its text would show the header's value
        message = f"no request can be made of {REQUEST_URL} and {REQUEST_TOKEN}"
        raise TokenRequestError(message) from None


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _with_audience(url: str, audience: str) -> str:
    parts = urlsplit(url)
    query = f"audience={quote(audience, safe='')}"
    # GitHub's address comes with a query of its own, which must stay.
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def _check_issuer(claims: UnverifiedClaims, server: str) -> None:
    host = urlsplit(check_address(server, what="GITHUB_SERVER_URL")).netloc.lower()
    if host == "github.com":
        expected = "https://token.actions.githubusercontent.com"
        # An enterprise may have its slug in the issuer (`include_enterprise_slug`).
        fits = rf"{re.escape(expected)}(/[A-Za-z0-9_-]+)?"
    elif host.endswith(".ghe.com"):
        expected = f"https://token.actions.{host}"
        fits = re.escape(expected)
    else:
        expected = f"https://{host}/_services/token"
        fits = re.escape(expected)
    found = issuer(claims, origin=_ORIGIN)
    if not re.fullmatch(fits, found):
        message = (
            f"{_ORIGIN} is issued by {quoted(found)}; "
            f"a job on {quoted(server)} has {quoted(expected)}"
        )
        raise IssuerError(message)


def _no_permission(environ: Mapping[str, str]) -> IdTokenPermissionError | ForkIdentityError:
    missing = " and ".join(name for name in (REQUEST_URL, REQUEST_TOKEN) if not environ.get(name))
    message = f"GitHub gave this job no way to ask for an id token: no {missing}"
    if _is_fork_pull_request(environ):
        return ForkIdentityError(message)
    return IdTokenPermissionError(
        message,
        cause=(
            "the job has no `permissions: id-token: write` (a run that Dependabot started is "
            "read-only unless the workflow says so), or this runs inside `ci-identity exec`, "
            "which takes these variables away"
        ),
    )


def _is_fork_pull_request(environ: Mapping[str, str]) -> bool:
    if environ.get("GITHUB_EVENT_NAME") not in _PULL_REQUEST_EVENTS:
        return False
    try:
        body = Path(environ.get("GITHUB_EVENT_PATH", "")).read_bytes()
    except (OSError, ValueError):
        return False
    event = Answer(_json(body), "the event")
    base = event.get("pull_request", "base", "repo", "id")
    # A head without a repository is that of a fork that was deleted since.
    return base is not None and base != event.get("pull_request", "head", "repo", "id")
