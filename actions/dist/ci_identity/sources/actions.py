"""What GitHub Actions and Forgejo Actions share: the runner's token endpoint, and its claims.

The exchange is that of `getIDToken` in actions/toolkit (`packages/core/src/oidc-utils.ts`).
"""

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from ci_identity._address import check_address, is_loopback
from ci_identity._network import Network
from ci_identity._record import Record
from ci_identity.errors import IssuerError
from ci_identity.model import SourceName, SubjectToken, UnverifiedClaims
from ci_identity.sources.dialect import is_own_ref, text
from ci_identity.sources.endpoint import request_token
from ci_identity.sources.subject_token import Clock, issuer, quoted, read, utc_now

REQUEST_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105  # the variable's name
PROBE_AUDIENCE = "ci-identity"
"""The audience of a token that is only looked at: nobody's, so that it opens nothing."""

FIELDS = {
    "repository": ("repository",),
    "repository_id": ("repository_id",),
    "ref": ("ref",),
    "environment": ("environment",),
    "job": ("check_run_id",),
    "event": ("event_name",),
    "actor": ("actor",),
}
JOINED = {"run": ("run_id", "run_attempt")}
OWN_EVENTS = {
    "push",
    "create",
    "release",
    "schedule",
    "workflow_dispatch",
    "repository_dispatch",
    "merge_group",
    "pull_request_target",
    "workflow_run",
}
"""Events that only somebody with write access causes, and that run a branch or tag of the
repository itself (docs.github.com, "Events that trigger workflows").

`merge_group` too: what runs may come from a fork, but a maintainer has put it in the queue.
`pull_request_target` and `workflow_run` run the base's own code; that an outsider can cause them
is what they have refusals of their own for. Not here are the other events that an outsider can
cause (`issue_comment`), and `deployment`, which may run any commit that GitHub has, a fork's
included.
"""
FORKS = "no for events that run the repository's own branches and tags; else it cannot be told"
DEBUGS = "by `RUNNER_DEBUG`"


def fork(claims: UnverifiedClaims) -> bool | None:
    """Return whether the run comes from a fork."""
    # No claim names the head repository of a pull request, so `pull_request*` stays unknown: a
    # fork's run has no id token today, but that is a rule of GitHub's and not a claim.
    is_own = text(claims, "event_name") in OWN_EVENTS and is_own_ref(text(claims, "ref"))
    return False if is_own else None


class Forge(Record):
    """One server of jobs that ask in this way.

    Attributes:
        source: its source's name.
        name: its own name, for messages.
        expected: by the server's address, the issuer that its tokens have and a test for one.
    """

    source: SourceName
    name: str
    expected: Callable[[str], tuple[str, Callable[[str], bool]]]


def mint(
    forge: Forge,
    environ: Mapping[str, str],
    audience: str | None,
    *,
    now: Clock = utc_now,
    pause: Callable[[float], None] = time.sleep,
) -> SubjectToken:
    """Return a new token for `audience`; the variables to ask with are there.

    Raises:
        TokenRequestError: the endpoint gave none.
        MalformedTokenError, AudienceError, ExpiredTokenError: it gave one that cannot be used.
        IssuerError: the token is not from the server that the job runs on.
        InsecureAddressError: the endpoint's or the server's address is not https.
    """
    url = check_address(environ[REQUEST_URL], what=REQUEST_URL)
    asked = PROBE_AUDIENCE if audience is None else audience
    network = Network.from_environ(url, environ)
    headers = {"Authorization": f"bearer {environ[REQUEST_TOKEN]}"}
    token = request_token(
        network,
        lambda session: session.get(_with_audience(url, asked), headers=headers),
        url=url,
        field="value",
        forge=forge.name,
        variables=f"{REQUEST_URL} and {REQUEST_TOKEN}",
        pause=pause,
    )
    origin = f"the token from {forge.name}'s token endpoint"
    claims = read(token, origin=origin, audience=asked, now=now())
    # A token endpoint on this very machine is a sandbox, whose issuer may have any name; no
    # runner of others has one. The provider still decides whom it trusts.
    if not is_loopback(urlsplit(url).hostname or ""):
        server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
        check_issuer(forge, claims, server, origin=origin)
    return SubjectToken(
        token=token,
        claims=claims,
        source=forge.source,
        step=environ.get("GITHUB_ACTION") or None,
        debug=environ.get("RUNNER_DEBUG") == "1",
        steered_by=network.variables,
    )


def _with_audience(url: str, audience: str) -> str:
    parts = urlsplit(url)
    query = f"audience={quote(audience, safe='')}"
    # The address comes with a query of its own, which must stay.
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def check_issuer(forge: Forge, claims: UnverifiedClaims, server: str, *, origin: str) -> None:
    """Pass if the token is issued as the server at `server` does, else raise `IssuerError`."""
    expected, fits = forge.expected(check_address(server, what="GITHUB_SERVER_URL"))
    found = issuer(claims, origin=origin)
    if not fits(found):
        message = (
            f"{origin} is issued by {quoted(found)}; "
            f"a job on {quoted(server)} has {quoted(expected)}"
        )
        raise IssuerError(message)
