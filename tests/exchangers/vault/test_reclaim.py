"""What is left at Vault is ended by its handles, in the namespace where it was issued."""

from ci_identity.exchangers.interface import Ending
from ci_identity.exchangers.vault.reclaim import VaultReclaimer
from ci_identity.exchangers.vault.rights import REVOKE_ACCESSOR, policy_text
from ci_identity.model import Handle, Outcome
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from tests.audit import is_alive
from tests.exchangers.shop import CREATE, REVOKE_LEASE, Exchange, Shop

MAY = f"{CREATE}\n{REVOKE_LEASE}\n{policy_text(REVOKE_ACCESSOR, 'update')}"


def reclaim(shop: Shop, left: Exchange, *handles: Handle) -> Ending:
    """End what an exchange left, with a login that is ended when it is over."""
    held, request = left.held[:], left.request
    try:
        return VaultReclaimer(shop.target(), {}).reclaim(request, handles or left.handles)
    finally:
        for credential in left.held[len(held) :]:
            credential.revoke(budget=5.0)


def test_in_a_namespace(openbao: OpenBao, issuer: Issuer, openbao_namespace: str) -> None:
    """Tokens of a namespace are ended there."""
    shop = Shop(openbao, issuer, namespace=openbao_namespace)
    shop.policy("ci", MAY)
    with shop.exchange() as left:
        accessors = left.accessors()
        assert reclaim(shop, left).outcome is Outcome.REVOKED
        alive = [is_alive(openbao, one, namespace=openbao_namespace) for one in accessors]
        assert alive == [False, False]


def test_once_more(shop: Shop) -> None:
    """Ending what has ended is no failure: who was killed may have been revoking."""
    shop.policy("ci", MAY)
    with shop.exchange() as left:
        handles = left.handles[:2]
        assert reclaim(shop, left, *handles).outcome is Outcome.REVOKED
        assert reclaim(shop, left, *handles).outcome is Outcome.REVOKED


def test_each_problem_is_named_once(shop: Shop) -> None:
    """Without the right, what stays alive is said with the policy that lacks, and only once."""
    with shop.exchange() as left:
        ending = reclaim(shop, left, *left.handles[:2])
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "revocation")
    lacks = policy_text(REVOKE_ACCESSOR, "update")
    assert ending.detail == f"token: refused; a policy of the role must have: {lacks}"


def test_the_lease_is_named_that_could_not_be_ended(shop: Shop) -> None:
    """A lease that the server refuses to end is a failure, although the tokens are ended."""
    shop.policy("ci", f"{CREATE}\n{policy_text(REVOKE_ACCESSOR, 'update')}")
    with shop.exchange() as left:
        lease = Handle(kind="lease", value="database/creds/shop/x")
        ending = reclaim(shop, left, *left.handles[:2], lease)
        assert not is_alive(shop.openbao, left.accessors()[0])
    assert ending.outcome is Outcome.FAILED
    assert ending.detail.startswith("lease database/creds/shop/x: refused; ")
