"""Where one process tree is handed its credentials: a private folder and a loopback endpoint."""

import logging
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ci_identity.delivery import aws
from ci_identity.delivery.endpoint import Endpoint, Route
from ci_identity.delivery.environ import AWS_CONFIG, Environment, clean, private_files
from ci_identity.delivery.message import Reply
from ci_identity.delivery.peer import Peer, Peers, Tree, is_available
from ci_identity.delivery.refusal import Refused
from ci_identity.errors import DeliveryError
from ci_identity.model import Delivered
from ci_identity.secret import Secret

_log = logging.getLogger("ci_identity")

ADDRESS, BEARER = "CI_IDENTITY_ENDPOINT", "CI_IDENTITY_ENDPOINT_TOKEN"
"""Where `ci-identity credential` finds the endpoint, and what it shows there."""

_BUNDLE = Path(__file__).parents[2]
"""Where we are, if not installed but run from actions/dist; see actions/build.py."""

OURSELVES = (
    (sys.executable, "-IS", str(_BUNDLE))
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
    """

    def __init__(self, state_dir: Path, peers: Peers | None = None) -> None:
        self.folder = state_dir.absolute() / secrets.token_hex(8)
        self._offers: dict[str, aws.AwsOffer] = {}
        self._told: dict[str, Watch] = {}
        self._is_checked = is_available()
        peers = (peers or Tree(os.getpid())) if self._is_checked else None
        self._endpoint = Endpoint(peers=peers, accessed=self._on_access, refused=self._on_refusal)
        self._is_open = False

    def open(self) -> None:
        """Make the folder. The endpoint comes up with the first grant that needs it.

        Raises:
            DeliveryError: the folder cannot be made.
        """
        if not self._is_open:
            private_files(self.folder)
            self._is_open = True

    def offer_aws(
        self,
        offer: aws.AwsOffer,
        watch: Watch,
    ) -> None:
        """Serve a grant's AWS session from now on, until `withdraw`.

        Args:
            offer: what is on offer.
            watch: is told of who was served and who was refused.

        Raises:
            DeliveryError: the endpoint or the profile cannot be made.
        """
        if not self._is_checked:
            _log.warning(
                "%s: this system cannot tell which process asks: whoever has the bearer is served",
                offer.grant,
            )
        self._offers[offer.grant] = offer
        self._told[offer.grant] = watch
        try:
            self._endpoint.open()
            config = aws.profiles(tuple(self._offers.values()), OURSELVES)
            (self.folder / AWS_CONFIG).write_text(config, encoding="utf-8")
        except OSError as error:
            message = f"{offer.grant}: cannot be handed over: {error.strerror}"
            raise DeliveryError(message, hint="check the free space of the state folder") from None
        self._endpoint.add(
            _path(offer.grant),
            Route(answer=lambda _: Reply(status=200, body=aws.container_answer(offer.keys()))),
        )

    def withdraw(self, grant: str) -> None:
        """Serve `grant` no more."""
        if self._offers.pop(grant, None):
            self._endpoint.remove(_path(grant))

    @property
    def variables(self) -> Mapping[str, Delivered]:
        """What the child needs to be served; empty if nothing is on offer."""
        offers = tuple(self._offers.values())
        if not offers:
            return {}
        address = self._endpoint.address
        return {
            ADDRESS: Delivered(value=Secret(address), is_public=True),
            BEARER: Delivered(value=self._endpoint.bearer),
            **aws.variables(offers, address + _path(offers[0].grant), self._endpoint.bearer),
        }

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be seen in a log, once there is something on offer."""
        return (self._endpoint.bearer,) if self._offers else ()

    def environ(self, job: Mapping[str, str], given: Mapping[str, Delivered]) -> Environment:
        """Return the whole environment of a child: `job` cleaned, `given`, and the way to us."""
        added = {**self.variables, **given}
        revealed = {name: delivered.value.reveal() for name, delivered in added.items()}
        return Environment(clean(job, private=self.folder) | revealed)

    def close(self) -> None:
        """Serve nothing more, and remove the folder."""
        self._endpoint.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _on_access(self, path: str, peer: Peer) -> None:
        if watch := self._told.get(path.removeprefix(_path(""))):
            watch.on_access(peer)

    def _on_refusal(self, path: str | None, refusal: Refused) -> None:
        """Tell the grant that was asked for; where none can be told, the first one."""
        grant = (path or "").removeprefix(_path(""))
        if watch := self._told.get(grant) or next(iter(self._told.values()), None):
            watch.on_refusal(refusal)


def _path(grant: str) -> str:
    return f"/aws/{grant}"
