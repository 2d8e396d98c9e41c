"""Strict YAML: a tree of text and line numbers, so that no surprise of YAML reaches a grant."""

from collections.abc import Iterator

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from ci_identity.grants.nodes import Node, Place, Scalar, Sequence, Table

MAX_DEPTH = 12
"""Levels of nesting. The format has nine; more is a slip, or an attempt to exhaust the stack."""

MAX_KEY = 200
"""Characters of a key. Messages name keys, and none of ours is as long."""


def compose(text: str, file: str) -> Node:
    """Return the one document in `text` as a tree.

    Args:
        text: YAML 1.1 as PyYAML reads it, without anchors, aliases, merge keys, tags, directives,
            tabs and characters that cannot be seen.
        file: its name, for messages.

    Raises:
        GrantsFileError: it is not YAML, or uses what is left out; the message names the line.
    """
    _check_characters(text, file)
    composer = _Composer(yaml.parse(text, Loader=yaml.SafeLoader), file)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file=file, line=mark.line + 1 if mark else 1)
        place.refuse(
            f"is not valid YAML: {error.problem or error.context}",
            hint="quote values that hold `: ` or begin with a sign; indent with two spaces",
        )
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML hands what a file says to int() and chr(): "\UFFFFFFFF", %YAML 1.<5000 digits>
        place = Place(file=file, line=composer.line)
        place.refuse("is not valid YAML here or on the next line")


def _check_characters(text: str, file: str) -> None:
    """Refuse what a reviewer cannot see: controls, bidirectional marks, odd spaces, lone CRs."""
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.removesuffix("\r")
        if content.isprintable():
            continue
        place = Place(file=file, line=number)
        odd = next(character for character in content if not character.isprintable())
        if odd == "\t":
            place.refuse("has a tab; indent and separate with spaces")
        place.refuse(f"has the character U+{ord(odd):04X}, which cannot be seen in a review")


class _Composer:
    """Builds the tree from PyYAML's events: its own composer would follow aliases and recurse."""

    def __init__(self, events: Iterator[Event], file: str) -> None:
        self._events = events
        self._file = file
        self._depth = 0
        self.line = 1

    def document(self) -> Node:
        self._next()  # the start of the stream
        start = self._next()
        if not isinstance(start, DocumentStartEvent):
            self._place().refuse("holds no YAML document")
        if start.version or start.tags:
            self._place().refuse("has a YAML directive (`%`); the format has none")
        event = self._next()
        root = self._node(event, self._place())
        self._next()  # the end of the document
        if not isinstance(self._next(), StreamEndEvent):
            self._place().refuse("has a second YAML document; a grants file is one")
        return root

    def _next(self) -> Event:
        event = next(self._events)
        if event.start_mark and not isinstance(event, StreamStartEvent):
            self.line = event.start_mark.line + 1
        return event

    def _place(self, keys: tuple[str, ...] = ()) -> Place:
        return Place(file=self._file, line=self.line, keys=keys)

    def _node(self, event: Event, place: Place) -> Node:
        _check_properties(event, place)
        if isinstance(event, ScalarEvent):
            if not event.value.replace("\n", "").isprintable():
                place.refuse("holds an escaped character that cannot be seen")
            return Scalar(place=place, text=event.value)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            place.refuse("is nested too deeply")
        node = (
            Table(place=place, entries=dict(self._entries(place)))
            if isinstance(event, MappingStartEvent)
            else Sequence(place=place, items=tuple(self._items(place)))
        )
        self._depth -= 1
        return node

    def _items(self, place: Place) -> Iterator[Node]:
        while not isinstance(event := self._next(), SequenceEndEvent):
            yield self._node(event, self._place(place.keys))

    def _entries(self, place: Place) -> Iterator[tuple[str, Node]]:
        lines: dict[str, int] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, place)
            here = self._place((*place.keys, key))
            if key in lines:
                here.refuse(f"stands here twice, first on line {lines[key]}")
            lines[key] = here.line
            yield key, self._node(self._next(), here)

    def _key(self, event: Event, place: Place) -> str:
        here = self._place(place.keys)
        _check_properties(event, here)
        if not isinstance(event, ScalarEvent):
            here.refuse("has a list or a mapping where a key must be")
        if not event.value or not event.value.isprintable():
            here.refuse("has a key that is empty or cannot be printed")
        if len(event.value) > MAX_KEY:
            here.refuse(f"has a key of more than {MAX_KEY} characters")
        if event.value == "<<":
            here.refuse("has a merge key (`<<`); write each grant out, so it can be reviewed")
        return event.value


def _check_properties(event: Event, place: Place) -> None:
    if isinstance(event, AliasEvent):
        place.refuse("is an alias (`*`); write each grant out, so it can be reviewed")
    if isinstance(event, NodeEvent) and event.anchor:
        place.refuse("has an anchor (`&`); write each grant out, so it can be reviewed")
    if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag:
        place.refuse("has a tag (`!`); every value is text as written")
