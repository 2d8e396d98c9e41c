"""Forgejo Actions: GitHub's exchange and claims, with the instance itself as the issuer.

forgejo.org/docs/next/user/actions/security-openid-connect. Read, not run.
"""

import time
from collections.abc import Callable, Mapping

from ci_identity._record import Record, field
from ci_identity.errors import IdTokenPermissionError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources import actions
from ci_identity.sources.actions import REQUEST_TOKEN, REQUEST_URL, Forge, mint
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, utc_now

_ISSUER = "/api/actions"
"""What an instance's address is followed by in `iss`."""


DIALECT = Dialect(
    ci=SourceName.FORGEJO,
    mark="`repository`, and `iss` ends in `/api/actions`",
    fields=actions.FIELDS,
    joined=actions.JOINED,
    fork=actions.fork,
    forks=actions.FORKS,
    debugs=actions.DEBUGS,
)


class ForgejoSource(Record):
    """The id token of a Forgejo Actions job."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.FORGEJO

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return a new token for `audience`, or `None` outside Forgejo and Gitea Actions.

        Raises:
            IdTokenPermissionError: the job may not ask for one; on Gitea no job may yet.
            TokenRequestError, MalformedTokenError, AudienceError, ExpiredTokenError, IssuerError,
            InsecureAddressError: see `actions.mint`.
        """
        if not is_on(SourceName.FORGEJO, self.environ):
            return None
        missing = [name for name in (REQUEST_URL, REQUEST_TOKEN) if not self.environ.get(name)]
        if missing:
            raise _no_permission(self.environ, missing)
        return mint(FORGEJO, self.environ, audience, now=self.now, pause=self.pause)


def _expected_issuer(server: str) -> tuple[str, Callable[[str], bool]]:
    expected = f"{server.rstrip('/')}{_ISSUER}"
    return expected, lambda found: found == expected


FORGEJO = Forge(source=SourceName.FORGEJO, name="Forgejo", expected=_expected_issuer)


def _no_permission(environ: Mapping[str, str], missing: list[str]) -> IdTokenPermissionError:
    is_gitea = not environ.get("FORGEJO_ACTIONS")
    forge = "Gitea" if is_gitea else "Forgejo"
    message = f"{forge} gave this job no way to ask for an id token: no {' and '.join(missing)}"
    if is_gitea:
        return IdTokenPermissionError(
            message,
            cause="Gitea has no id tokens for its jobs (go-gitea/gitea#26383)",
            hint="hand a token over in CI_IDENTITY_TOKEN, or use a Forgejo that has them",
        )
    return IdTokenPermissionError(
        message,
        cause=(
            "the job has no `enable-openid-connect: true`, the instance is older than that, or "
            "this runs inside `ci-identity exec`, which takes these variables away"
        ),
        hint="add `enable-openid-connect: true` to the job",
    )
