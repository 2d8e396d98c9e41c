"""A grants file as an editor reads it before it asks the schema: YAML 1.2's core schema."""

import re

import yaml


class _CoreLoader(yaml.SafeLoader):
    """PyYAML is YAML 1.1, where `on` and `yes` are booleans, also as keys, and `<<` merges."""


_CoreLoader.yaml_implicit_resolvers = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]*", "-+0123456789"),
    ("null", r"~|null|", "~n"),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first, ""]
    )


def read(text: str) -> object:
    """Return what the schema is asked about.

    Raises:
        yaml.YAMLError: it is not YAML at all.
    """
    return yaml.load(text, Loader=_CoreLoader)  # noqa: S506  # a SafeLoader that knows less
