"""Which rights a grant needs at Vault, which are missing, and which are too many. Pure.

Reading is not enumerating: a step that may read one path should not be able to list its
neighbours, nor to read them through a wildcard.
"""

from collections.abc import Iterable, Mapping, Sequence
from posixpath import dirname

from ci_identity._record import Record
from ci_identity.model import SecretReference, VaultTarget

CREATE = "auth/token/create"
REVOKE_SELF = "auth/token/revoke-self"
REVOKE_LEASE = "sys/leases/revoke"
REVOKE_ACCESSOR = "auth/token/revoke-accessor"

Capabilities = Mapping[str, Sequence[str]]
"""Path to capabilities, as `sys/capabilities-self` answers."""

_WORDS: Mapping[frozenset[str], tuple[str, str]] = {
    frozenset({"read"}): ("reading it", "read"),
    frozenset({"update"}): ("writing to it", "written to"),
}


class Probe(Record):
    """The paths to ask about, for one path that the grant asks for.

    Attributes:
        path: the path itself.
        uses: the capabilities that the grant needs there.
        neighbours: paths that nobody has, by the wildcard that covers them and the path: whoever
            may read one may read all that the wildcard covers.
        folders: the folders in which `list` would show the path's neighbours.
    """

    path: str
    uses: frozenset[str] = frozenset({"read"})
    neighbours: Mapping[str, str]
    folders: tuple[str, ...]

    @classmethod
    def of(cls, path: str, nonce: str, uses: Iterable[str] = ("read",)) -> "Probe":
        """Return the probe for `path`; `nonce` makes names that nobody has."""
        folder, parts = dirname(path), path.split("/")
        neighbours = {f"{folder}/*": f"{folder}/{nonce}"}
        for at in range(len(parts) - 1):  # `+` is any one part (openbao.org/docs/concepts/policies)
            wildcard, neighbour = [*parts], [*parts]
            wildcard[at], neighbour[at] = "+", nonce
            neighbours["/".join(wildcard)] = "/".join(neighbour)
        neighbours[f"{path}*"] = f"{path}{nonce}"
        # KV version 2 reads at MOUNT/data/PATH and lists at MOUNT/metadata/FOLDER.
        listed = {f"{folder}/", f"{folder}/".replace("/data/", "/metadata/", 1)}
        return cls(
            path=path, uses=frozenset(uses), neighbours=neighbours, folders=tuple(sorted(listed))
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path to ask about."""
        return (self.path, *self.neighbours.values(), *self.folders)


def right(reference: SecretReference) -> str:
    """Return the capability that is needed to ask for a value."""
    return "read" if reference.parameters is None else "update"


def uses(target: VaultTarget) -> Mapping[str, frozenset[str]]:
    """Return the capabilities that the grant needs, by path."""
    found: dict[str, frozenset[str]] = {}
    for reference in target.secrets.values():
        found[reference.path] = found.get(reference.path, frozenset()) | {right(reference)}
    return dict(sorted(found.items()))


def needed(*, has_child: bool) -> tuple[str, ...]:
    """Return the paths that the login token must be able to update."""
    return (CREATE, REVOKE_SELF) if has_child else (REVOKE_SELF,)


def auth_namespace(target: VaultTarget) -> str | None:
    """Return the namespace of the login."""
    return target.auth_namespace if target.auth_namespace is not None else target.namespace


def prefix(target: VaultTarget) -> str:
    """Return what every path of the secrets' namespace begins with in the login's policies.

    A policy's paths are relative to its own namespace, which is the login's
    (https://openbao.org/docs/concepts/namespaces/).
    """
    if target.auth_namespace is None:
        return ""
    login = target.auth_namespace.strip("/").removeprefix("root")
    own = (target.namespace or "").strip("/")
    return "" if own in {"", login} else f"{own}/".removeprefix(f"{login}/")


def missing(
    capabilities: Capabilities, *, update: Iterable[str], read: Iterable[str], prefix: str = ""
) -> str:
    """Return the policy text to add so that every path is covered; empty if none is missing."""
    wanted = [(path, "update") for path in update] + [(path, "read") for path in read]
    return "\n".join(
        policy_text(prefix + path, capability)
        for path, capability in wanted
        if not {capability, "root"} & set(capabilities.get(path, ()))
    )


def turned_around(
    capabilities: Capabilities, *, update: Iterable[str], read: Iterable[str]
) -> tuple[str, str] | None:
    """Return likely cause and cure where a path may be written to and is read, or the reverse."""
    for path in read:
        if "update" in capabilities.get(path, ()) and missing(capabilities, update=(), read=[path]):
            cause = f"the role may write to {path}, not read it, and the grant has no `with` there"
            return cause, "add `with: {...}` in the grant if that path issues something"
    for path in update:
        if "read" in capabilities.get(path, ()) and missing(capabilities, update=[path], read=()):
            cause = f"the role may read {path}, not write to it, and the grant has a `with` there"
            return cause, "leave `with` out of the grant if that path is to be read"
    return None


def policy_text(path: str, capability: str) -> str:
    """Return the line of a policy that gives `capability` on `path`."""
    return f'path "{path}" {{ capabilities = ["{capability}"] }}'


def excess(capabilities: Capabilities, probe: Probe) -> tuple[str, ...]:
    """Return a sentence for each right around `probe.path` that the grant does not need."""
    found: list[str] = []
    extra = sorted(set(capabilities.get(probe.path, ())) - probe.uses - {"deny"})
    doing, done = _WORDS.get(probe.uses, ("reading and writing to it", "read and written to"))
    if extra:
        needs = " and ".join(sorted(probe.uses))
        found.append(f"has {', '.join(extra)} on {probe.path}; {doing} needs {needs} only")
    found += [
        f"a wildcard covers {probe.path}: all of {wildcard} can be {done}"
        for wildcard, neighbour in probe.neighbours.items()
        if {*probe.uses, "root"} & set(capabilities.get(neighbour, ()))
    ][:1]
    found += [
        f"may list {folder}: reading is not enumerating"
        for folder in probe.folders
        if {"list", "root"} & set(capabilities.get(folder, ()))
    ]
    return tuple(found)
