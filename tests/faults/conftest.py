"""The job of this room."""

from tests.faults.stage import faulty as faulty
