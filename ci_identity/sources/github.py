"""GitHub Actions: the job asks the runner's token endpoint for an id token, for any audience.

The issuers and claims are those of docs.github.com, "OpenID Connect reference".
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ci_identity._answer import Answer
from ci_identity._record import Record, field
from ci_identity.errors import ForkIdentityError, IdTokenPermissionError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources import actions
from ci_identity.sources.actions import REQUEST_TOKEN, REQUEST_URL, Forge, mint
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, utc_now

_PULL_REQUEST_EVENTS = {"pull_request", "pull_request_review", "pull_request_review_comment"}
"""Events that give a fork's run no id token; `pull_request_target` runs with the base's rights."""

DIALECT = Dialect(
    ci=SourceName.GITHUB,
    mark="`repository`",
    fields=actions.FIELDS,
    joined=actions.JOINED,
    fork=actions.fork,
    forks=actions.FORKS,
    debugs=actions.DEBUGS,
)


class GitHubSource(Record):
    """The id token of a GitHub Actions job, on github.com, ghe.com or Enterprise Server."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.GITHUB

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
        if not is_on(SourceName.GITHUB, self.environ):
            return None
        if not self.environ.get(REQUEST_URL) or not self.environ.get(REQUEST_TOKEN):
            raise _no_permission(self.environ)
        return mint(GITHUB, self.environ, audience, now=self.now, pause=self.pause)


def _expected_issuer(server: str) -> tuple[str, Callable[[str], bool]]:
    host = urlsplit(server).netloc.lower()
    if host == "github.com":
        expected = "https://token.actions.githubusercontent.com"
        # An enterprise may have its slug in the issuer (`include_enterprise_slug`).
        fits = re.compile(rf"{re.escape(expected)}(/[A-Za-z0-9_-]+)?")
        return expected, lambda found: fits.fullmatch(found) is not None
    is_ghe = host.endswith(".ghe.com")
    expected = f"https://token.actions.{host}" if is_ghe else f"https://{host}/_services/token"
    return expected, lambda found: found == expected


GITHUB = Forge(source=SourceName.GITHUB, name="GitHub", expected=_expected_issuer)


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
    event = Answer.from_json(body, "the event")
    base = event.get("pull_request", "base", "repo", "id")
    # A head without a repository is that of a fork that was deleted since.
    return base is not None and base != event.get("pull_request", "head", "repo", "id")
