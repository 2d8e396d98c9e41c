"""The job of this room."""

from tests.faults.stage import faulty  # noqa: F401  # a fixture
