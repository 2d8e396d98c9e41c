"""What an agent holds: a session for each grant, and who may have what of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from ci_identity import _log
from ci_identity._record import Record, replace
from ci_identity.agent.asked_for import AskedFor
from ci_identity.agent.instance import Held, Instance
from ci_identity.agent.order import Order, is_for, named, steps_of
from ci_identity.agent.runner import Runner
from ci_identity.delivery.endpoint import Asked, Route
from ci_identity.delivery.handover import Handover
from ci_identity.delivery.message import Reply
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.steps import Steps
from ci_identity.ending import close_all
from ci_identity.errors import NotRenewedError
from ci_identity.model import Delivered, Grant
from ci_identity.session import Session


class Granted(Record):
    """A grant that an agent holds.

    Attributes:
        session: its session.
        steps: the steps that may use it; `None` stands for any.
    """

    session: Session
    steps: frozenset[str] | None


class Holding:
    """The sessions of an agent, and the endpoint that serves them to the steps of a job.

    Args:
        order: what is asked of the agent.
        instance: its folder.
        runner: whose job it serves.
        job: the job's variables.

    Attributes:
        handover: how what is held reaches the steps.
        held: the leases, by what the agent's folder says of them.
    """

    def __init__(
        self, order: Order, instance: Instance, runner: Runner, job: Mapping[str, str]
    ) -> None:
        self._order = order
        self._instance = instance
        self._runner = runner
        self._job = job
        self._granted: dict[str, Granted] = {}
        self._is_closed = False
        self.held: tuple[Held, ...] = ()
        self.handover = Handover(
            instance.path,
            Steps(runner.pid),
            serves=self._serves,
            whom=lambda grant: named(self._granted[grant].steps),
        )

    @property
    def sessions(self) -> Sequence[Session]:
        """The sessions, in the order of the grants."""
        return [granted.session for granted in self._granted.values()]

    @property
    def stories(self) -> list[dict[str, object]]:
        """What there is to tell of each grant that was issued; nothing of it is secret."""
        from ci_identity.agent.story import story  # noqa: PLC0415  # when somebody asks

        how = str(self._order.delivery)
        return [
            story(granted.session, named(granted.steps), how)
            for granted in self._granted.values()
            if granted.session.is_open or granted.session.revocation
        ]

    # ── from nothing to served ───────────────────────────────────────────────────────────────

    def prepare(self, asked_for: AskedFor, pause: Callable[[float], None]) -> None:
        """Make the sessions; none of them is open."""
        for grant in asked_for.grants:
            steps = steps_of(grant, self._order.steps)
            session = Session(
                # Who may have it is looked at when somebody asks: we are of another step.
                replace(grant, steps=()),
                self._job,
                step=" ".join(sorted(steps or {"all"})),
                ttl=self._order.ttl,
                delivery=self._order.delivery,
                handover=self.handover,
                candidates=asked_for.candidates,
                pause=pause,
            )
            self._granted[grant.name] = Granted(session=session, steps=steps)
            self.held += (_held(grant, session),)

    def open(self) -> None:
        """Open every session, and serve it from then on."""
        self.handover.open()
        self.handover.listen()
        self._instance.write_door(self.handover.address, self.handover.bearer)
        self._say_who_is_checked()
        for name, granted in self._granted.items():
            granted.session.open()
            route = Route(answer=partial(self._answer, granted.session))
            self.handover.serve(name, f"/grant/{name}", route, granted.session.recorder)
        self.handover.tell("/step", self._step)
        self.handover.tell("/status", lambda _: _reply({"grants": self.stories}))

    def close(self, *, is_pressing: bool) -> None:
        """Serve nothing more; then end every session that is open, all at once. Once only."""
        if not self._is_closed:
            self._is_closed = True
            self.handover.close()
        close_all(self.sessions, is_pressing=is_pressing)

    def _say_who_is_checked(self) -> None:
        if not self.handover.is_checked:
            _log.warning("which step asks cannot be told here: whoever has the bearer is served")
        elif self._runner.pid == 1:
            _log.warning(
                "the runner is process 1, to which what a step leaves behind comes back: such a "
                "process passes for one of the step it says it is"
            )

    # ── who is served what ───────────────────────────────────────────────────────────────────

    def _serves(self, grant: str, peer: Peer) -> bool:
        return not self.handover.is_checked or is_for(self._granted[grant].steps, peer)

    def _step(self, asked: Asked) -> Reply:
        """Answer who asks, and which grants it can have."""
        now = datetime.now(UTC)
        grants = [
            name
            for name, granted in self._granted.items()
            if self._serves(name, asked.peer) and granted.session.lease.expires_at > now
        ]
        return _reply({"step": asked.peer.step, "grants": grants})

    def _answer(self, session: Session, _: Asked) -> Reply:
        """Answer with a grant's variables.

        Raises:
            NotRenewedError: it has ended.
        """
        name, lease = session.grant.name, session.lease
        if not session.is_open or lease.expires_at <= datetime.now(UTC):
            message = f"{name}: it has ended"
            raise NotRenewedError(message)
        given: dict[str, Delivered] = dict(session.variables)
        for offer in self.handover.offers:
            if offer.grant == name:
                given |= offer.variables(self.handover.door, [offer])
        variables = {
            key: {"value": one.value.reveal(), "public": one.is_public}
            for key, one in given.items()
        }
        ends = lease.expires_at.isoformat()
        return _reply(
            {"grant": name, "lease": lease.id, "expires_at": ends, "variables": variables}
        )


def _held(grant: Grant, session: Session) -> Held:
    step = min(grant.steps) if grant.steps else None
    return Held(lease=session.lease.id, grant=grant.name, step=step)


def _reply(answer: Mapping[str, object]) -> Reply:
    return Reply(status=200, body=json.dumps(answer).encode())
