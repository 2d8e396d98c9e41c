"""Azure DevOps: the job asks its server for the pipeline's id token, which has one fixed audience.

learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create, version 7.1. The
claims are those of real tokens (sigstore/fulcio#1803; goteleport.com, RFD 211). Asked for without a
service connection, since a connection's token says nothing of the job. Read, not run.
"""

import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ci_identity._address import check_address
from ci_identity._network import Network
from ci_identity._record import Record, field
from ci_identity.errors import AudienceError, IdTokenPermissionError
from ci_identity.model import SourceName, SubjectToken, UnverifiedClaims
from ci_identity.secret import Secret
from ci_identity.sources.dialect import Dialect, is_own_ref, text
from ci_identity.sources.endpoint import request_token
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, read, utc_now

REQUEST_URI = "SYSTEM_OIDCREQUESTURI"
ACCESS_TOKEN = "SYSTEM_ACCESSTOKEN"  # noqa: S105  # the variable's name
AUDIENCE = "api://AzureADTokenExchange"
"""The audience of every token; no request can change it."""


def _fork_by_claims(claims: UnverifiedClaims) -> bool | None:
    return False if is_own_ref(text(claims, "rpo_ref")) else None


DIALECT = Dialect(
    ci=SourceName.AZURE_DEVOPS,
    mark="`prj_id` and `def_id`",
    fields={
        "repository": ("rpo_uri",),
        "repository_id": ("rpo_id",),
        "ref": ("rpo_ref",),
        "run": ("run_id",),
    },
    fork=_fork_by_claims,
    forks="no if `rpo_ref` is a branch or a tag; else by `SYSTEM_PULLREQUEST_ISFORK`",
    debugs="by `SYSTEM_DEBUG`",
)


class AzureDevOpsSource(Record):
    """The id token of an Azure Pipelines job."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.AZURE_DEVOPS

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return a new token, or `None` outside Azure Pipelines.

        Raises:
            IdTokenPermissionError: the step does not have the job's access token.
            AudienceError: `audience` is not the one that these tokens have.
            TokenRequestError: the server gave none.
            MalformedTokenError, ExpiredTokenError: it gave one that cannot be used.
            InsecureAddressError: the server's address is not https.
        """
        if not is_on(SourceName.AZURE_DEVOPS, self.environ):
            return None
        url, bearer = self.environ.get(REQUEST_URI), self.environ.get(ACCESS_TOKEN)
        if not url or not bearer:
            raise _no_permission(self.environ)
        check_address(url, what=REQUEST_URI)
        network = Network.from_environ(url, self.environ)
        headers = {"Authorization": f"Bearer {bearer}", "X-TFS-FedAuthRedirect": "Suppress"}
        token = request_token(
            network,
            lambda session: session.post(_versioned(url), headers=headers, json_body={}),
            url=url,
            field="oidcToken",
            forge="Azure DevOps",
            variables=f"{REQUEST_URI} and {ACCESS_TOKEN}",
            pause=self.pause,
        )
        return SubjectToken(
            token=token,
            claims=self._read(token, audience),
            source=self.name,
            debug=self.environ.get("SYSTEM_DEBUG", "").lower() == "true",
            fork=_fork_by_variables(self.environ),
            steered_by=network.variables,
        )

    def _read(self, token: Secret, audience: str | None) -> UnverifiedClaims:
        origin = "the token from Azure DevOps's token endpoint"
        try:
            return read(token, origin=origin, audience=audience, now=self.now())
        except AudienceError as error:
            hint = f"write `audience: {AUDIENCE}` in the grant: Azure DevOps makes no other tokens"
            raise AudienceError(str(error), hint=hint) from None


def _versioned(url: str) -> str:
    parts = urlsplit(url)
    query = "api-version=7.1-preview.1"
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def _fork_by_variables(environ: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(environ.get("SYSTEM_PULLREQUEST_ISFORK", "").lower())


def _no_permission(environ: Mapping[str, str]) -> IdTokenPermissionError:
    missing = " and ".join(name for name in (REQUEST_URI, ACCESS_TOKEN) if not environ.get(name))
    message = f"Azure DevOps gave this step no way to ask for an id token: no {missing}"
    return IdTokenPermissionError(
        message,
        cause=(
            "a step does not get the job's access token by itself; or this runs inside "
            "`ci-identity exec`, which takes it away"
        ),
        hint=f"add to the step: env: {{{ACCESS_TOKEN}: $(System.AccessToken)}}",
    )
