"""CircleCI: tokens in variables, and any audience by the `circleci` command of the job's image.

circleci.com/docs, "Using OpenID Connect tokens in jobs" and "OIDC tokens with custom claims".
Read, not run.
"""

import json
from collections.abc import Mapping

from ci_identity._record import Record, field, replace
from ci_identity.errors import AudienceError, TokenCommandError
from ci_identity.model import SourceName, SubjectToken, UnverifiedClaims
from ci_identity.sources.dialect import Dialect, text
from ci_identity.sources.handed_over import HandOver
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, read, utc_now
from ci_identity.sources.token_command import find, run

CLI = "circleci"
_CLAIM = "oidc.circleci.com"
_ORIGIN = f"{_CLAIM}/vcs-origin"

DIALECT = Dialect(
    ci=SourceName.CIRCLECI,
    mark=f"`{_CLAIM}/project-id`",
    fields={
        "repository": (_ORIGIN,),
        "repository_id": (f"{_CLAIM}/project-id",),
        "ref": (f"{_CLAIM}/vcs-ref",),
        "run": (f"{_CLAIM}/pipeline-id",),
        "job": (f"{_CLAIM}/job-id",),
    },
    forks=(
        f"by `{_ORIGIN}`, which names the fork, and `CIRCLE_PROJECT_USERNAME`, "
        "`CIRCLE_PROJECT_REPONAME` and `CIRCLE_PR_USERNAME`"
    ),
    # Anything but a plain no: who reruns with SSH has a shell in the job.
    debug=lambda claims: claims.get(f"{_CLAIM}/ssh-rerun", False) not in {False, "false"},
    debugs="`oidc.circleci.com/ssh-rerun`",
)
_VARIABLES = HandOver(
    ci=SourceName.CIRCLECI,
    variables=("CIRCLE_OIDC_TOKEN_V2", "CIRCLE_OIDC_TOKEN"),
    missing="a fork's pull request gets no token, unless the project passes secrets to forks",
    add="run the job for a branch of the project itself",
    audience=(
        "CircleCI's own tokens are for the organization's id: write that id as the grant's "
        f"`audience`, or have the `{CLI}` command in the job's image, which can ask for any"
    ),
)


class CircleCiSource(Record):
    """The id token of a CircleCI job."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.CIRCLECI

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the variable's token if it is for `audience`, else a new one; `None` elsewhere.

        Raises:
            IdTokenMissingError: the job has none.
            AudienceError: it is for somebody else, and there is no `circleci` to ask for another.
            TokenCommandError: `circleci` gave none.
            MalformedTokenError, ExpiredTokenError: the token cannot be used.
        """
        if not is_on(SourceName.CIRCLECI, self.environ):
            return None
        try:
            found = _VARIABLES.receive(self.environ, audience, now=self.now)
        except AudienceError:
            if audience is None or find(CLI, self.environ) is None:
                raise
            found = self._mint(audience)
        return replace(found, fork=_fork(found.claims, self.environ))

    def _mint(self, audience: str) -> SubjectToken:
        try:
            asked = json.dumps({"aud": audience}, separators=(",", ":"))
            token = run((CLI, "run", "oidc", "get", "--claims", asked), self.environ)
        except TokenCommandError as error:
            hint = "is it CircleCI's own command? one from elsewhere has no `run oidc get`"
            raise TokenCommandError(str(error), hint=hint) from None
        origin = f"what {CLI} prints"
        claims = read(token, origin=origin, audience=audience, now=self.now())
        return SubjectToken(token=token, claims=claims, source=self.name)


def _fork(claims: UnverifiedClaims, environ: Mapping[str, str]) -> bool | None:
    # circleci.com/docs/reference/variables: the first two are there for a fork's pull request only.
    if environ.get("CIRCLE_PR_USERNAME") or environ.get("CIRCLE_PR_REPONAME"):
        return True
    owner, name = environ.get("CIRCLE_PROJECT_USERNAME"), environ.get("CIRCLE_PROJECT_REPONAME")
    origin = (text(claims, _ORIGIN) or "").lower()
    is_own = bool(owner and name) and origin.endswith(f"/{owner}/{name}".lower())
    return False if is_own else None
