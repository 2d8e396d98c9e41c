"""Where one process tree is handed its credentials: a private folder and a loopback endpoint."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from ci_identity import _log
from ci_identity._record import replace
from ci_identity.delivery.endpoint import Asked, Endpoint, Route
from ci_identity.delivery.environ import Environment, clean, private_files
from ci_identity.delivery.interface import Door, Offer
from ci_identity.delivery.message import Reply
from ci_identity.delivery.peer import Peer, Peers, Tree, is_available
from ci_identity.delivery.refusal import Refused
from ci_identity.errors import DeliveryError
from ci_identity.model import Delivered
from ci_identity.secret import Secret
from ci_identity.settings import remove_folder

ADDRESS, BEARER = "CI_IDENTITY_ENDPOINT", "CI_IDENTITY_ENDPOINT_TOKEN"
"""Where `ci-identity credential` finds the endpoint, and what it shows there."""

_BUNDLE = Path(__file__).parents[2]
"""Where we are, if not installed but run from actions/dist; see actions/build.py."""

OURSELVES = (
    (sys.executable, "-IS", str(_BUNDLE / "__main__.py"))
    if (_BUNDLE / "__main__.py").is_file()
    else (sys.executable, "-I", "-m", "ci_identity")
)
"""How a child runs this very ci-identity, whatever its PATH and its PYTHON variables say."""


class Watch(Protocol):
    """Who is told of what happens at the endpoint."""

    def on_access(self, peer: Peer) -> None:
        """A process was served for the first time."""
        ...

    def on_refusal(self, refusal: Refused) -> None:
        """A request was refused."""
        ...


class Handover:
    """What the sessions of one run share on the way to the child.

    Args:
        state_dir: our folder; the private one is made in it.
        peers: which processes are served; by default this one and those below it, where the
            system can tell who asks.
        serves: whether one of them is served a grant, by the grant's name.
        whom: who that is, for people.

    Attributes:
        is_checked: whether the system can tell who asks.
    """

    def __init__(
        self,
        state_dir: Path,
        peers: Peers | None = None,
        *,
        serves: Callable[[str, Peer], bool] = lambda _, __: True,
        whom: Callable[[str], str] = lambda _: "one process tree",
    ) -> None:
        self.folder = state_dir.absolute() / os.urandom(8).hex()
        self.whom = whom
        self._serves = serves
        self._offers: dict[str, Offer] = {}
        self._told: dict[str, Watch] = {}
        self._paths: dict[str, str] = {}
        self.is_checked = is_available()
        peers = (peers or Tree(os.getpid())) if self.is_checked else None
        self._endpoint = Endpoint(peers=peers, accessed=self._on_access, refused=self._on_refusal)
        self._is_open = False
        self._is_listening = False

    def open(self) -> None:
        """Make the folder. The endpoint comes up with the first grant that needs it.

        Raises:
            DeliveryError: the folder cannot be made.
        """
        if not self._is_open:
            private_files(self.folder)
            self._is_open = True

    def offer(self, offer: Offer, watch: Watch) -> None:
        """Serve a grant's credential from now on, until `withdraw`.

        Args:
            offer: what is on offer.
            watch: is told of who was served and who was refused.

        Raises:
            DeliveryError: the endpoint or a file cannot be made.
        """
        if not self.is_checked:
            _log.warning(
                "%s: this system cannot tell which process asks: whoever has the bearer is served",
                offer.grant,
            )
        self._offers[offer.grant] = offer
        self.listen()
        try:
            for among in self._by_kind():
                for name, text in among[0].files(self.door, among).items():
                    _write_private(self.folder / name, text)
        except OSError as error:
            message = f"{offer.grant}: cannot be handed over: {error.strerror}"
            raise DeliveryError(message, hint="check the free space of the state folder") from None
        for path, route in offer.routes(self.door).items():
            self.serve(offer.grant, path, route, watch)

    def serve(self, grant: str, path: str, route: Route, watch: Watch) -> None:
        """Serve something of a grant at `path` of the endpoint, until `withdraw`.

        Args:
            grant: the grant's name, by which it is decided who is served.
            path: where.
            route: what.
            watch: is told of who was served and who was refused.
        """
        self._told[grant] = watch
        self._paths[path] = grant
        self._endpoint.add(path, replace(route, serves=partial(self._serves, grant)))

    def tell(self, path: str, answer: Callable[[Asked], Reply]) -> None:
        """Serve at `path` what is no secret, to every process that is served anything."""
        self._endpoint.add(path, Route(answer=answer))

    def listen(self) -> None:
        """Bring the endpoint up, if it is not yet.

        Raises:
            DeliveryError: that cannot be done.
        """
        try:
            self._endpoint.open()
        except OSError as error:
            message = f"there can be no endpoint: {error.strerror}"
            raise DeliveryError(message, hint="check the limits on open files and ports") from None
        self._is_listening = True

    def withdraw(self, grant: str) -> None:
        """Serve `grant` no more."""
        self._offers.pop(grant, None)
        for path in [path for path, of in self._paths.items() if of == grant]:
            self._endpoint.remove(path)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What is on offer, in the order it was offered."""
        return tuple(self._offers.values())

    @property
    def door(self) -> Door:
        """Where a child finds what is on offer, once the endpoint listens."""
        return Door(address=self.address, bearer=self.bearer, folder=self.folder, command=OURSELVES)

    @property
    def address(self) -> str:
        """Where the endpoint is, once it listens."""
        return self._endpoint.address

    @property
    def bearer(self) -> Secret:
        """What the endpoint asks for."""
        return self._endpoint.bearer

    @property
    def variables(self) -> Mapping[str, Delivered]:
        """What the child needs to be served; empty if nothing is on offer."""
        if not self.offers:
            return {}
        given = {
            ADDRESS: Delivered(value=Secret(self.address), is_public=True),
            BEARER: Delivered(value=self.bearer),
        }
        for among in self._by_kind():
            given |= among[0].variables(self.door, among)
        return given

    def _by_kind(self) -> Collection[list[Offer]]:
        kinds: dict[type[Offer], list[Offer]] = {}
        for offer in self._offers.values():
            kinds.setdefault(type(offer), []).append(offer)
        return kinds.values()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be seen in a log, once the endpoint listens."""
        return (self.bearer,) if self._is_listening else ()

    def environ(self, job: Mapping[str, str], given: Mapping[str, Delivered]) -> Environment:
        """Return the whole environment of a child: `job` cleaned, `given`, and the way to us."""
        added = {**self.variables, **given}
        revealed = {name: delivered.value.reveal() for name, delivered in added.items()}
        return Environment(clean(job, private=self.folder) | revealed)

    def close(self) -> None:
        """Serve nothing more, and remove the folder."""
        self._endpoint.close()
        remove_folder(self.folder)

    def _on_access(self, path: str, peer: Peer) -> None:
        if watch := self._told.get(self._paths.get(path, "")):
            watch.on_access(peer)

    def _on_refusal(self, path: str | None, refusal: Refused) -> None:
        """Tell the grant that was asked for; where none can be told, the first one."""
        grant = self._paths.get(path or "", "")
        if watch := self._told.get(grant) or next(iter(self._told.values()), None):
            watch.on_refusal(refusal)


def _write_private(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
