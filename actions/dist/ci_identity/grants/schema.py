"""The JSON Schema of the grants file, for editors and other tools; made from the same tables.

`python -m ci_identity.grants.schema` writes it anew.
"""

import json
from pathlib import Path

from ci_identity.grants.format import FILE
from ci_identity.grants.kinds import Schema

PATH = Path(__file__).with_suffix(".json")
"""Where it ships."""


def schema() -> Schema:
    """Return the schema. What it cannot say, such as duplicates, the loader still refuses."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The grants file of ci-identity: which CI job may have which credential",
        **FILE.schema(),
    }


def as_text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(as_text(), encoding="utf-8")
