"""A shop for each test: afterwards, whatever it was, nobody who got in is still in."""

from collections.abc import Iterator

import pytest

from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.openbao import OpenBao
from tests.audit import assert_all_revoked
from tests.exchangers.shop import Shop


@pytest.fixture
def shop(openbao: OpenBao, issuer: Issuer) -> Iterator[Shop]:
    """A role, two policies and a secret of the test's own; every login is revoked at the end."""
    before = len(openbao.logins())
    yield Shop(openbao, issuer)
    assert_all_revoked(openbao, logins_before=before)
