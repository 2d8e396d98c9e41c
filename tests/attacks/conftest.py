"""Whom this room attacks: a job of the sandbox's world."""

from tests.faults.stage import faulty  # noqa: F401  # a fixture
