"""A grant is for a job only if everything matches; each reason why not is found and explained."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.grants.decide import decide
from ci_identity.model import Accept, Grant, JobIdentity, Mismatch, VaultTarget, Wanted

from .conftest import MakeGrant, MakeJob
