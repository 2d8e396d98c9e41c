"""One child's way to what its grants give: files, variables and paths, of several clouds."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from ci_identity.delivery.aws import AwsOffer
from ci_identity.delivery.gcp import GcpOffer
from ci_identity.delivery.handover import Handover
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Reason, Refused
from ci_identity.model import AwsKeys, GcpTarget, GcpToken
from ci_identity.secret import Secret

ENDS = datetime.now(UTC) + timedelta(days=1)
KEYS = AwsKeys(
    access_key_id="ASIAEXAMPLE",
    secret_access_key=Secret("the-secret-key"),
    session_token=Secret("the-session-token"),
    expires_at=ENDS,
)
TOKEN = GcpToken(access_token=Secret("ya29.d.the-token"), expires_at=ENDS)
TARGET = GcpTarget(provider="projects/1/locations/global/workloadIdentityPools/ci/providers/x")


@dataclass
class Watch:
    """What was told of a grant."""

    served: list[Peer] = field(default_factory=list[Peer])
    refused: list[Refused] = field(default_factory=list[Refused])

    def on_access(self, peer: Peer) -> None:
        self.served.append(peer)

    def on_refusal(self, refusal: Refused) -> None:
        self.refused.append(refusal)


def aws(grant: str) -> AwsOffer:
    return AwsOffer(grant=grant, region="eu-west-1", is_default=True, keys=lambda: KEYS)


def gcp(grant: str) -> GcpOffer:
    return GcpOffer(grant=grant, target=TARGET, lease_id="1", token=lambda: TOKEN)


@pytest.fixture
def handover(tmp_path: Path) -> Iterator[Handover]:
    made = Handover(tmp_path)
    made.open()
    yield made
    made.close()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def values(handover: Handover) -> dict[str, str]:
    return {name: given.value.reveal() for name, given in handover.variables.items()}


def test_nothing_on_offer_is_no_variable(handover: Handover) -> None:
    """A child without such grants is led nowhere."""
    assert handover.variables == {}
    assert handover.secrets == ()


def test_each_kind_has_a_default_of_its_own(handover: Handover) -> None:
    """The first of a kind, whatever was offered between."""
    for offer in (aws("deploy"), gcp("push"), aws("read"), gcp("pull")):
        handover.offer(offer, Watch())
    given = values(handover)
    assert given["AWS_CONTAINER_CREDENTIALS_FULL_URI"].endswith("/aws/deploy")
    assert given["GOOGLE_APPLICATION_CREDENTIALS"] == str(handover.folder / "gcp-push.json")
    assert "AWS_REGION" not in given  # of two grants, each has its own in its profile
    assert [offer.grant for offer in handover.offers] == ["deploy", "push", "read", "pull"]


def test_files_are_for_this_user_only(handover: Handover) -> None:
    """Each grant's, and those that the grants of a kind share."""
    for offer in (aws("deploy"), gcp("push"), aws("read"), gcp("pull")):
        handover.offer(offer, Watch())
    files = [handover.folder / name for name in ("aws-config", "gcp-push.json", "gcp-pull.json")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert files[0].read_text().count("[profile") == 2


def test_a_file_is_not_written_through_a_link(handover: Handover, tmp_path: Path) -> None:
    """Whoever could put one there would choose what is overwritten."""
    (tmp_path / "theirs").write_text("theirs")
    (handover.folder / "gcp-push.json").symlink_to(tmp_path / "theirs")
    with pytest.raises(Exception, match="push: cannot be handed over"):
        handover.offer(gcp("push"), Watch())
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_what_an_offer_refuses_is_told_and_in_words(
    handover: Handover, http: requests.Session
) -> None:
    """A route's own refusal is a 403 as every other, and on record with its reason."""
    watch = Watch()
    handover.offer(gcp("push"), watch)
    answer = http.post(f"{handover.address}/gcp/push", data={"subject_token": "guessed"})
    handover.close()  # every report is made by then
    assert answer.status_code == 403
    assert Reason.BEARER.sentence in answer.json()["error_description"]
    assert [refused.reason for refused in watch.refused] == [Reason.BEARER]
    assert watch.served == []


def test_both_steps_of_an_exchange_are_one_access(
    handover: Handover, http: requests.Session
) -> None:
    """To be served is one thing, in however many requests."""
    watch = Watch()
    handover.offer(gcp("push"), watch)
    url = f"{handover.address}/gcp/push"
    bearer = {"Authorization": handover.bearer.reveal()}
    nonce = http.get(url, headers=bearer).text
    token = http.post(url, data={"subject_token": nonce}).json()["access_token"]
    handover.close()
    assert token == "ya29.d.the-token"
    assert len(watch.served) == 1


def test_what_is_withdrawn_is_served_no_more(handover: Handover, http: requests.Session) -> None:
    """At none of its paths; the others go on."""
    handover.offer(gcp("push"), Watch())
    handover.offer(gcp("pull"), Watch())
    handover.withdraw("push")
    bearer = {"Authorization": handover.bearer.reveal()}
    codes = [
        http.get(f"{handover.address}/gcp/{name}", headers=bearer).status_code
        for name in ("push", "pull")
    ]
    assert codes == [403, 200]
    assert http.post(f"{handover.address}/gcp/push/about").status_code == 403
