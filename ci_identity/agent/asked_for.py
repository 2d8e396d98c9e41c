"""The grants that an agent is asked for: those of a file, or the one that the inputs describe."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from threading import Thread

from ci_identity._record import Record
from ci_identity.agent.inputs import for_this_job
from ci_identity.agent.order import Inline, Order
from ci_identity.exchangers import exchanger_for
from ci_identity.model import Grant, SubjectToken
from ci_identity.sources import fetch, sources
from ci_identity.sources.interface import Source

_TICK = 0.1
"""Seconds between two looks at whether the job is cancelled."""


class AskedFor(Record):
    """The grants, and where whoever ends their leases after us finds them.

    Attributes:
        grants: never empty.
        candidates: where their sessions look for the job's token; `None` for the usual places.
        file: the grants file that has them.
        text: what is to be in that file, where it is ours to write.
    """

    grants: Sequence[Grant]
    candidates: Sequence[Source] | None = None
    file: str = ""
    text: str = ""


def find_grants(order: Order, job: Mapping[str, str], pause: Callable[[float], None]) -> AskedFor:
    """Return the grants that are asked for.

    Args:
        order: what is asked for.
        job: the job's variables.
        pause: sleeps that many seconds, and raises if the job is cancelled.

    Raises:
        ConfigurationError: there is none of that name, or its target cannot be used.
        IdentityError: an inline grant is for this very job, but the job has no token to tell.
    """
    if order.inline:
        return _inline(order.inline, job, pause)
    from ci_identity.session import load_grants  # noqa: PLC0415  # see `_fetched`

    found = load_grants(order.grants_file, job)
    grants = [found.grant(name) for name in dict.fromkeys(order.grants)]
    return AskedFor(grants=grants, file=found.name)


def _inline(inline: Inline, job: Mapping[str, str], pause: Callable[[float], None]) -> AskedFor:
    audience = inline.grant.audience or exchanger_for(inline.grant, job).audience
    others = sources(job)
    token = _fetched(others, audience, pause)
    grant, text = for_this_job(inline, token)
    return AskedFor(grants=[grant], candidates=(_Once(token), *others), text=text)


def _fetched(
    candidates: Sequence[Source], audience: str, pause: Callable[[float], None]
) -> SubjectToken:
    """Return the job's token. What comes next is imported while the CI works on it.

    Raises:
        IdentityError: there is none.
    """
    done: list[SubjectToken] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(fetch(candidates, audience))
        except BaseException as error:  # noqa: BLE001  # carried over to who asked
            failed.append(error)

    thread = Thread(target=run, name="the job's token", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more may be started: one after the other, then
        run()
    import_module("ci_identity.agent.holding")
    while thread.is_alive():
        thread.join(_TICK)
        pause(0.0)
    if failed:
        raise failed[0]
    return done[0]


class _Once:
    """The token that an inline grant was made with: it is exchanged, too, and no second one."""

    def __init__(self, token: SubjectToken) -> None:
        self._token: SubjectToken | None = token

    @property
    def name(self) -> str:
        """The name of the source that it came from."""
        return "inline"

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return it the first time."""
        token, self._token = self._token, None
        return token if audience is not None else None
