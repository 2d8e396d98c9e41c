"""What was issued at Vault for one step, and its end."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from ci_identity._answer import Answer
from ci_identity._http import retry
from ci_identity.errors import CiIdentityError, ProviderUnavailableError, VaultTokenKindError
from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength, left_to_expire
from ci_identity.exchangers.vault.client import Refused, VaultClient
from ci_identity.exchangers.vault.issued import Issued, Request, lasting, listed
from ci_identity.exchangers.vault.rights import REVOKE_LEASE, REVOKE_SELF
from ci_identity.model import Delivered, Outcome, Served
from ci_identity.secret import Secret

STRENGTH = Strength(
    outcome=Outcome.REVOKED,
    meaning=(
        "every lease, then the login token and with it the step's; the server confirms each. A path"
        " whose engine takes nothing back is named, and the whole then `expires`"
    ),
)


class VaultCredential:
    """What was issued for one step: tokens and leases, the values read, and their end.

    Attributes:
        expires_at: when what the step has ends by itself, at the latest.
        login_expires_at: when the login token does, and with it everything.
        outlives: whether that is later, since the login token could not be shortened.
        login_policies: the policies that the login was given.
        issued: what each path gave, in the order it was asked.
        may_update: the paths at which certificates can be revoked, of those that were asked about.
        is_revocable: False for batch tokens, which only end by themselves.
    """

    def __init__(self) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.served: Served | None = None
        self.secrets: tuple[Secret, ...] = ()
        self.expires_at = self.login_expires_at = datetime.now(UTC)
        self.login_policies: frozenset[str] = frozenset()
        self.issued: list[Issued] = []
        self.may_update: frozenset[str] = frozenset()
        self.login: VaultClient | None = None
        self.login_in_namespace: VaultClient | None = None
        self.step: VaultClient | None = None
        self.is_revocable = True
        self.outlives = False
        self._ending: Ending | None = None

    def hold_login(self, login: VaultClient, in_namespace: VaultClient) -> None:
        """Keep the login token, and with it the duty to end it.

        Args:
            login: a client with the login token, in the namespace of the login.
            in_namespace: the same in the namespace of the secrets.
        """
        self.login = login
        self.login_in_namespace = self.step = in_namespace

    def add(self, one: Issued) -> None:
        """Keep what a path gave, and with it the duty to end it."""
        self.issued.append(one)
        self.expires_at = max(self.expires_at, one.ends_at or self.expires_at)

    def revoke(self, *, budget: float) -> Ending:
        """End every lease (synchronously), then the login token, which takes its child along."""
        if self._ending is None:
            self._ending = self._revoke(time.monotonic() + budget)
        return self._ending

    def _revoke(self, deadline: float) -> Ending:
        login, in_namespace = self.login, self.login_in_namespace
        if login is None or in_namespace is None:
            return NOTHING_ISSUED
        if not self.is_revocable:
            detail = "a batch token cannot be revoked"
            return Ending(outcome=Outcome.EXPIRES, reason=VaultTokenKindError.code, detail=detail)
        login.deadline = in_namespace.deadline = deadline
        others = [
            *(
                problem_of(f"lease {lease}", partial(revoke_lease, in_namespace, lease), deadline)
                for lease in self.leases
            ),
            *(
                problem_of(what, partial(revoke_certificate, in_namespace, *asked), deadline)
                for what, asked in self._certificates()
            ),
        ]
        of_login = problem_of("login token", partial(_revoke_token, login), deadline)
        failed = [problem for problem in (*others, of_login) if problem]
        if not failed:
            return self._ended()
        if datetime.now(UTC) >= self.login_expires_at:
            return left_to_expire(self.login_expires_at, STRENGTH)
        until = self.login_expires_at if of_login and self.outlives else None
        detail = "; ".join(failed)
        return Ending(outcome=Outcome.FAILED, reason="revocation", detail=detail, until=until)

    @property
    def leases(self) -> list[str]:
        """The ids of the leases."""
        return [one.lease for one in self.issued if one.lease]

    def _certificates(self) -> Iterator[tuple[str, Request]]:
        """Yield what is revoked by a request of its own, and that request."""
        now = datetime.now(UTC)
        for one in self.issued:
            asked = one.certificate and one.certificate.revocation(self.may_update)
            if one.certificate and asked and not one.lease and not one.is_over(now):
                yield f"certificate {one.certificate.serial}", asked

    def _ended(self) -> Ending:
        """Return how it ended, now that the server confirmed all that it can revoke."""
        now = datetime.now(UTC)
        alive = [one for one in self.issued if not one.is_over(now)]
        left = "; ".join(filter(None, (lasting(one, self.may_update) for one in alive)))
        if left:
            return Ending(outcome=Outcome.EXPIRES, reason="not-revocable", detail=left)
        revoked = "; ".join(filter(None, (listed(one, self.may_update) for one in alive)))
        return Ending(outcome=Outcome.REVOKED, detail=revoked)


def revoke_lease(client: VaultClient, lease: str) -> None:
    """Revoke a lease before this returns: without sync it would only be queued."""
    check_confirmed(client.post(REVOKE_LEASE, {"lease_id": lease, "sync": True}))


def revoke_certificate(client: VaultClient, path: str, body: Mapping[str, str]) -> None:
    """Have a certificate listed as revoked."""
    client.post(path, body).integer("data", "revocation_time")


def _revoke_token(client: VaultClient) -> None:
    # Where an answer was lost, and the next try is refused, the token is most likely gone. That is
    # not said: a server also refuses one whose policies or network (`bound_cidrs`) do not fit.
    check_confirmed(client.post(REVOKE_SELF))


def check_confirmed(answer: Answer) -> None:
    """Raise if it was not Vault that answered: it says nothing, or warns in its own words."""
    answer.text("request_id")


def problem_of(
    what: str,
    revoke: Callable[[], object],
    deadline: float,
    *,
    refused: str = "the server could not revoke it, or would not",
) -> str | None:
    """End `what` by `revoke` before `deadline`; return why it could not be ended, or `None`.

    Args:
        what: what is ended, to begin the problem with.
        revoke: ends it.
        deadline: as `time.monotonic()` has it.
        refused: what to say when the server says no.
    """
    budget = max(deadline - time.monotonic(), 0.0)
    try:
        retry(revoke, budget=budget, pause=time.sleep)
    except Refused:
        return f"{what}: {refused}"
    except ProviderUnavailableError as error:
        return f"{what}: {error}"
    except CiIdentityError as error:
        return f"{what}: {error.code}"
    return None
