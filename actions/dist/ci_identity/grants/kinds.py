"""The kinds of value that the grants file has: how each is read, and how a JSON Schema says it."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from ci_identity._record import Record, field
from ci_identity.grants.nodes import Node, Scalar, Sequence, Table

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, Any]


class Kind(Protocol[T_co]):
    """Reads one kind of value."""

    def read(self, node: Node) -> T_co:
        """Return the value of `node`.

        Raises:
            GrantsFileError: it is not of this kind; the message says what it must be.
        """
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of what `read` accepts, as far as JSON Schema can say it."""
        ...


class Text(Record):
    """One value as text, that matches a pattern in full.

    Attributes:
        expected: what it must be, for the message.
        pattern: a regular expression that Python and ECMA-262 read alike.
        maximum: characters.
    """

    expected: str
    pattern: str = ".+"
    maximum: int = 1024

    def read(self, node: Node) -> str:
        """Return the text."""
        if not isinstance(node, Scalar):
            node.place.refuse(f"must be {self.expected}, not a list or a mapping")
        if not node.text:
            node.place.refuse(f"has no value; it must be {self.expected}")
        if len(node.text) > self.maximum:
            node.place.refuse(f"is longer than {self.maximum} characters")
        if not re.fullmatch(self.pattern, node.text):
            node.place.refuse(f"must be {self.expected}")
        return node.text

    def schema(self) -> Schema:
        """Return its pattern, for the types that an editor may read it as."""
        # An editor reads 42 as a number and true as a boolean where we read text.
        samples = {"string": "", "number": "42", "boolean": "true"}
        types = [
            name for name, text in samples.items() if not text or re.fullmatch(self.pattern, text)
        ]
        return {
            "type": types if len(types) > 1 else "string",
            "pattern": f"^(?:{self.pattern})$",
            "maxLength": self.maximum,
        }


class Word(Record, Generic[T]):
    """One of a few words, each of which stands for a value."""

    words: Mapping[str, T]

    def read(self, node: Node) -> T:
        """Return the value that the word stands for."""
        if not isinstance(node, Scalar) or node.text not in self.words:
            node.place.refuse(f"must be {' or '.join(self.words)}")
        return self.words[node.text]

    def schema(self) -> Schema:
        """Return the words, also as the number or boolean that an editor may read them as."""
        typed = {"1": 1, "true": True, "false": False}
        return {"enum": [*self.words, *(typed[word] for word in self.words if word in typed)]}


class Made(Record, Generic[T]):
    """What `make` makes of a value of another kind; its `ValueError` says why not."""

    of: Kind[Any]
    make: Callable[[Any], T]

    def read(self, node: Node) -> T:
        """Return what is made of the value."""
        value = self.of.read(node)
        try:
            return self.make(value)
        except ValueError as error:
            node.place.refuse(str(error))

    def schema(self) -> Schema:
        """Return what the other kind says: what `make` refuses is not in it."""
        return self.of.schema()


class List(Record, Generic[T]):
    """A list of values of one kind, never empty unless `minimum` says so."""

    of: Kind[T]
    maximum: int
    minimum: int = 1

    def read(self, node: Node) -> tuple[T, ...]:
        """Return the items."""
        if not isinstance(node, Sequence):
            node.place.refuse("must be a list")
        if len(node.items) < self.minimum:
            node.place.refuse("is an empty list; leave the key out, or name something")
        if len(node.items) > self.maximum:
            node.place.refuse(f"has more than {self.maximum} items")
        return tuple(self.of.read(item) for item in node.items)

    def schema(self) -> Schema:
        """Return an array of what the items say."""
        items = self.of.schema()
        return {
            "type": "array",
            "items": items,
            "minItems": self.minimum,
            "maxItems": self.maximum,
        }


class Names(Record, Generic[T]):
    """A mapping whose keys are the author's own names.

    Attributes:
        of: the kind of the values.
        pattern: what a name must match in full.
        refusal: why a name is refused, or `None` if it is not.
        minimum: how many there must be.
    """

    of: Kind[T]
    pattern: str
    refusal: Callable[[str], str | None]
    minimum: int = 1

    def read(self, node: Node) -> Mapping[str, T]:
        """Return the values by name."""
        if not isinstance(node, Table):
            node.place.refuse("must be a mapping")
        if len(node.entries) < self.minimum:
            node.place.refuse("is empty")
        for name, value in node.entries.items():
            if reason := self.refusal(name):
                value.place.refuse(f"is not a name that can be used: {reason}")
        return MappingProxyType({name: self.of.read(value) for name, value in node.entries.items()})

    def schema(self) -> Schema:
        """Return an object with such names."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.pattern})$"},
            "additionalProperties": self.of.schema(),
            "minProperties": self.minimum,
        }


class Key(Record):
    """One key of a mapping: the kind of its value, and what it means."""

    of: Kind[Any]
    doc: str
    required: bool = False


class Keys(Record, Generic[T]):
    """A mapping with these keys and no others.

    Attributes:
        keys: every key there is.
        make: makes the value of the mapping and of its keys' values, by name.
        also: what the schema must say beside that, for rules in `make`.
    """

    keys: Mapping[str, Key]
    make: Callable[[Table, dict[str, Any]], T]
    also: Schema = field(default_factory=dict[str, Any])

    def read(self, node: Node) -> T:
        """Return what is made of the values."""
        if not isinstance(node, Table):
            node.place.refuse(f"must be a mapping with {_listed(self._required())}")
        for name, value in node.entries.items():
            if name not in self.keys:
                guess = nearest(name, self.keys) or f"; the keys here are {_listed(self.keys)}"
                value.place.refuse(f"is not a key that is known here{guess}")
        missing = [name for name in self._required() if name not in node.entries]
        if missing:
            node.place.refuse(f"lacks {_listed(missing)}")
        return self.make(
            node,
            {
                name: key.of.read(node.entries[name])
                for name, key in self.keys.items()
                if name in node.entries
            },
        )

    def _required(self) -> list[str]:
        return [name for name, key in self.keys.items() if key.required]

    def schema(self) -> Schema:
        """Return a closed object."""
        return {
            "type": "object",
            "properties": {
                name: {"description": key.doc} | key.of.schema() for name, key in self.keys.items()
            },
            "required": self._required(),
            "additionalProperties": False,
            **self.also,
        }


class ByShape(Record, Generic[T]):
    """A value that may be written in more than one shape."""

    expected: str
    text: Kind[T] | None = None
    items: Kind[T] | None = None
    table: Kind[T] | None = None

    def read(self, node: Node) -> T:
        """Return what the kind for its shape reads."""
        shapes = {Scalar: self.text, Sequence: self.items, Table: self.table}
        kind = shapes[type(node)]
        if kind is None:
            node.place.refuse(f"must be {self.expected}")
        return kind.read(node)

    def schema(self) -> Schema:
        """Return any of the shapes."""
        kinds = (self.text, self.items, self.table)
        return {"anyOf": [kind.schema() for kind in kinds if kind is not None]}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known name nearest to `name`, or nothing."""
    import difflib  # noqa: PLC0415  # on demand

    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
