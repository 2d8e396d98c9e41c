"""A token that a CI hands over in a variable, made for whom the CI or its configuration says."""

from collections.abc import Mapping

from ci_identity._record import Record
from ci_identity.errors import AudienceError, IdTokenMissingError
from ci_identity.model import SourceName, SubjectToken
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import Clock, read


class HandOver(Record):
    """How one CI hands its tokens over.

    Attributes:
        ci: the source's name.
        variables: where the token is; the first that is set is taken.
        missing: why there may be none, in a sentence.
        add: what to do about it, in a sentence.
        audience: how a job gets a token for another audience, in a sentence.
    """

    ci: SourceName
    variables: tuple[str, ...]
    missing: str
    add: str
    audience: str

    def receive(
        self, environ: Mapping[str, str], audience: str | None, *, now: Clock
    ) -> SubjectToken:
        """Return the token that the variables hold.

        Raises:
            IdTokenMissingError: none does.
            AudienceError: it is made for somebody else than `audience`.
            MalformedTokenError, ExpiredTokenError: it cannot be used.
        """
        name = next((name for name in self.variables if environ.get(name)), None)
        if name is None:
            message = f"the job has no id token: no {' and no '.join(self.variables)}"
            raise IdTokenMissingError(message, cause=self.missing, hint=self.add)
        token = Secret(environ[name].strip())
        try:
            claims = read(token, origin=name, audience=audience, now=now())
        except AudienceError as error:
            raise AudienceError(str(error), hint=self.audience) from None
        return SubjectToken(token=token, claims=claims, source=self.ci)
