"""Where in a file a login stands: one small reader a format, none of which yields the login."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

from ci_identity.doctor.shapes import has_password, is_open_key

Reader = Callable[[str], Iterator[str]]
"""Yields where in a file's text a login stands: a host, a key, or nothing if it is the whole."""


def read_whole(text: str) -> Iterator[str]:
    """A file that is a login, or a database of them, if it is not empty."""
    if text.strip():
        yield ""


def read_key(text: str) -> Iterator[str]:
    """A private key that needs no passphrase."""
    if is_open_key(text):
        yield ""


def read_netrc(text: str) -> Iterator[str]:
    """The hosts of a netrc that have a password."""
    words = text.split()
    host = ""
    for word, value in pairwise(words):
        if word == "machine":
            host = value
        elif word == "default":
            host = word
        elif word == "password":
            yield _without_secrets(host)


def read_addresses(text: str) -> Iterator[str]:
    """The addresses with a password, one a line, as git's `store` helper keeps them."""
    return (_without_secrets(line.strip()) for line in text.splitlines() if has_password(line))


def read_git_config(text: str) -> Iterator[str]:
    """The stored headers of git's requests, and the addresses with a password."""
    for section, key, value in _lines(text):
        if key.lower() == "extraheader" or has_password(f"{section} {value}"):
            yield _without_secrets(f"{section} {key}")


def read_servers(text: str) -> Iterator[str]:
    """The servers of Maven's settings.xml that have a password.

    Not parsed as XML: an entity in a planted file could make that endless.
    """
    for rest in text.split("<server>")[1:]:
        server = rest.partition("</server>")[0]
        if re.search(r"<(password|passphrase)>\s*[^\s$<]", server):
            yield _without_secrets(server.partition("<id>")[2].partition("</id>")[0])


def ini(keys: str, is_secret: Callable[[str], bool] = bool) -> Reader:
    """Make a reader of `key = value` lines: the section and key of every secret.

    Args:
        keys: a regular expression for the whole key.
        is_secret: tells by the value; a value that only names a variable is none anyway.
    """

    def read(text: str) -> Iterator[str]:
        for section, key, value in _lines(text):
            if re.fullmatch(keys, key) and not value.startswith("$") and is_secret(value):
                yield _without_secrets(f"{section} {key}".strip())

    return read


def tree(keys: str, load: Callable[[str], object]) -> Reader:
    """Make a reader of JSON, YAML or TOML: the path of every secret.

    Args:
        keys: a regular expression for the whole last key.
        load: parses the text; what it raises is the reader's to raise.
    """

    def read(text: str) -> Iterator[str]:
        for path, value in _leaves(load(text), (), set()):
            if re.fullmatch(keys, path[-1]) and value and not value.startswith("$"):
                yield _without_secrets(" ".join(path))

    return read


def _without_secrets(place: str) -> str:
    """Strip user and password, since an address may be a key; nothing if a token is left in it."""
    stripped = re.sub(r"//[^/\s]*@", "//", place)
    return "" if has_password(stripped) else stripped


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of each `key = value` line: ini files, .npmrc, git's config."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        key, found, value = line.partition("=")
        if line.startswith("["):
            section = line.strip("[]")
        elif found and not line.startswith(("#", ";")):
            yield section, key.strip(), value.strip(" \t\"'")


def _leaves(
    node: object, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield path and text of each leaf once: YAML's aliases could make a tree grow without end."""
    if isinstance(node, str) and path:
        yield path, node
    if not isinstance(node, dict | list):
        return
    branch = cast("dict[object, object] | list[object]", node)
    if id(branch) not in seen:  # the document outlives the walk, so no id is used again
        seen.add(id(branch))
        for key, value in _children(branch):
            yield from _leaves(value, (*path, key), seen)


def _children(node: dict[object, object] | list[object]) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        return ((str(key), value) for key, value in node.items())
    return ((_name(item), item) for item in node)


def _name(item: object) -> str:
    """The name by which an item of a list goes, as a kubeconfig's users do."""
    named = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    return str(named.get("name", ""))
