"""The JSON Schema that ships is the one that the loader's tables give."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it brings no types of its own

from ci_identity.grants import schema as module
from ci_identity.grants.schema import as_text, schema
from tests.grants.editor import read


def test_shipped_schema_is_up_to_date() -> None:
    """If this fails: python -m ci_identity.grants.schema."""
    assert module.PATH.read_text(encoding="utf-8") == as_text()


def test_schema_is_valid_and_takes_the_sample() -> None:
    """It is a 2020-12 schema, and the example of the documentation fits it."""
    jsonschema.Draft202012Validator.check_schema(schema())
    sample = Path(__file__).parents[2] / "examples" / ".ci-identity.yml"
    jsonschema.validate(read(sample.read_text()), schema())


def test_every_key_has_a_description() -> None:
    """An editor can tell what a key is for."""

    def walk(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        if isinstance(node, dict):
            for name, key in node.get("properties", {}).items():
                assert key["description"].endswith("."), name
            for item in node.values():
                walk(item)

    walk(json.loads(as_text()))
