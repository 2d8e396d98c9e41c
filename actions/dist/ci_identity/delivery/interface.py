"""What an offer is: how the clients of one cloud ask for a grant's credential at the endpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from ci_identity._record import Record
from ci_identity.delivery.endpoint import Route
from ci_identity.model import Delivered
from ci_identity.secret import Secret


class Door(Record):
    """Where a child finds what is on offer.

    Attributes:
        address: the endpoint's, `http://127.0.0.1:PORT`.
        bearer: what the endpoint asks for.
        folder: the child's private folder, absolute.
        command: how a child runs this very ci-identity.
    """

    address: str
    bearer: Secret
    folder: Path
    command: Sequence[str]


ADDRESS_FILE, BEARER_FILE = "address", "bearer"
"""The files of a folder that leads to an endpoint: where it is, and what it asks for."""


class Offer(Protocol):
    """One grant's credential, as it is on offer to the child in its cloud's own protocol.

    A child may have several offers of one kind. Where they share a variable or a file, the first
    one is asked, and is told of all: `among` are those of its kind, itself included, in order.
    """

    @property
    def grant(self) -> str:
        """The grant's name."""
        ...

    @property
    def summary(self) -> str:
        """What the child finds, in a few words for people; no secret."""
        ...

    def routes(self, door: Door) -> Mapping[str, Route]:
        """Return what is served, by path; who is served is not for the offer to say."""
        ...

    def files(self, door: Door, among: Sequence[Self]) -> Mapping[str, str]:
        """Return the texts of the files in the private folder, by name."""
        ...

    def variables(self, door: Door, among: Sequence[Self]) -> Mapping[str, Delivered]:
        """Return the variables of a child, which lead its clients to the endpoint."""
        ...

    def pointers(self, door: Door, bearer_file: Path) -> Mapping[str, str]:
        """Return the variables of a whole job, which must hold no secret; empty if there are none.

        They are the weakest of their kind: what a step sets by itself goes before them.

        Args:
            door: where the endpoint is.
            bearer_file: the file with what the endpoint asks for.
        """
        ...


def delivered(given: Mapping[str, str | Secret]) -> Mapping[str, Delivered]:
    """Return variables of which those that are no `Secret` are public."""
    return {
        name: Delivered(value=value)
        if isinstance(value, Secret)
        else Delivered(value=Secret(value), is_public=True)
        for name, value in given.items()
    }
