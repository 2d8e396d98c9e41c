"""Kubernetes: a projected service-account token, which names a pod and its account, and no CI job.

kubernetes.io/docs/tasks/configure-pod-container/configure-service-account, "ServiceAccount token
volume projection". Taken only for a grant that says `source: kubernetes`.
"""

from collections.abc import Mapping
from pathlib import Path

from ci_identity._record import Record, field, replace
from ci_identity.errors import TokenFileError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.subject_token import Clock, utc_now
from ci_identity.sources.token_file import FILE_VARIABLE, TokenFileSource

DIALECT = Dialect(
    ci=SourceName.KUBERNETES,
    mark="`kubernetes.io`",
    is_workload=True,
)


class KubernetesSource(Record):
    """The token in the file that `CI_IDENTITY_TOKEN_FILE` names: a kubelet writes it anew in time.

    Not the pod's default token: that one is for the cluster's own API server, and whoever gets it
    can act there as the pod.
    """

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.KUBERNETES

    def fetch(self, audience: str | None) -> SubjectToken:
        """Read the file again and return its token.

        Raises:
            TokenFileError: no file is named, or it cannot be used.
            MalformedTokenError, AudienceError, ExpiredTokenError: its token cannot be used.
        """
        if not (path := self.environ.get(FILE_VARIABLE)):
            message = f"{FILE_VARIABLE} does not name the pod's token"
            hint = (
                "mount a `serviceAccountToken` volume with the grant's audience, and set "
                f"{FILE_VARIABLE} to its file"
            )
            raise TokenFileError(message, cause="the variable is not set", hint=hint)
        found = TokenFileSource(Path(path), now=self.now).fetch(audience)
        return replace(found, source=self.name)
