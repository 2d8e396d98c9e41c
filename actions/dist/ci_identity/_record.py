"""Frozen values, as `@dataclass(frozen=True, slots=True, kw_only=True)` makes them, at no cost.

A dataclass compiles six functions when it is imported: 0.7 ms, seventy times on the way to a
credential, and 20 ms for `dataclasses` itself (docs/adr/0021-the-cost-of-a-start.md).
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Self, TypeVar, cast, dataclass_transform

R = TypeVar("R", bound="Record")

_MISSING: Any = object()


class _Field:
    """What a field has beside its name."""

    __slots__ = ("default", "is_keyword", "is_shown", "make")

    def __init__(
        self, default: Any, make: Callable[[], Any] | None, *, is_shown: bool, is_keyword: bool
    ) -> None:
        self.default = default
        self.make = make
        self.is_shown = is_shown
        self.is_keyword = is_keyword


def field(
    *,
    default: Any = _MISSING,
    default_factory: Callable[[], Any] | None = None,
    repr: bool = True,  # noqa: A002  # the names of `dataclasses.field`, which checkers know
    kw_only: bool = True,
) -> Any:
    """Return the default of a field that needs to say more, as `dataclasses.field` does."""
    return _Field(default, default_factory, is_shown=repr, is_keyword=kw_only)


class _Kind(type):
    """Makes a class of values of its annotations."""

    fields_: Mapping[str, _Field]

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any
    ) -> "_Kind":
        own = {name: _described(namespace.pop(name, _MISSING)) for name in _annotated(namespace)}
        made = super().__new__(cls, name, bases, {"__slots__": tuple(own), **namespace}, **kwargs)
        bases_fields = [base.fields_ for base in bases if isinstance(base, _Kind)]
        made.fields_ = MappingProxyType({**(bases_fields[0] if bases_fields else {}), **own})
        return made


def _annotated(namespace: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names that a class body annotates (PEP 649: from Python 3.14 by a function)."""
    if "__annotations__" in namespace or not (annotate := namespace.get("__annotate_func__")):
        return tuple(namespace.get("__annotations__", ()))
    annotationlib = import_module("annotationlib")  # Python's own, from 3.14 on
    forward_references = annotationlib.Format.FORWARDREF
    return tuple(annotationlib.call_annotate_function(annotate, forward_references))


def _described(default: Any) -> _Field:
    if isinstance(default, _Field):
        return default
    return _Field(default, None, is_shown=True, is_keyword=True)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Record(metaclass=_Kind):
    """A value: made by keywords, never changed, equal to another of its class by its fields."""

    __slots__ = ()

    def __init__(self, /, *args: Any, **given: Any) -> None:
        kind = type(self)
        if args:
            given |= _by_position(kind, args, given)
        for name, one in kind.fields_.items():
            if name in given:
                value = given.pop(name)
            elif one.make:
                value = one.make()
            elif one.default is not _MISSING:
                value = one.default
            else:
                message = f"{kind.__name__} is made without {name}"
                raise TypeError(message)
            object.__setattr__(self, name, value)
        if given:
            message = f"{kind.__name__} has no {', '.join(given)}"
            raise TypeError(message)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check what was given; for subclasses."""

    def __setattr__(self, name: str, value: object) -> None:
        message = f"{type(self).__name__}.{name} cannot be changed"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        message = f"{type(self).__name__}.{name} cannot be removed"
        raise AttributeError(message)

    def __repr__(self) -> str:
        shown = (name for name, one in type(self).fields_.items() if one.is_shown)
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({fields})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def __replace__(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; `copy.replace` from Python 3.13 on."""
        return type(self)(**{**_by_name(self), **changes})

    def __reduce__(self) -> tuple[object, ...]:
        """For `copy`; a secret inside refuses, as ever."""
        return _restored, (type(self), _by_name(self))


def replace(record: R, /, **changes: Any) -> R:
    """Return a copy of `record` with some fields changed."""
    return record.__replace__(**changes)


def asdict(record: Record) -> dict[str, Any]:
    """Return the fields by name as JSON has them: records are objects there, sequences arrays."""
    return {name: _plain(value) for name, value in _by_name(record).items()}


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Iterable[object]", value)]
    if isinstance(value, Mapping):
        found = cast("Mapping[str, object]", value)
        return {name: _plain(one) for name, one in found.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    from copy import deepcopy  # noqa: PLC0415  # seldom needed

    return deepcopy(value)  # a secret refuses that, and so to become JSON


def _restored(kind: type[R], fields: dict[str, Any]) -> R:
    return kind(**fields)


def _by_position(kind: _Kind, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name, one in kind.fields_.items() if not one.is_keyword]
    if len(args) > len(names) or not given.keys().isdisjoint(names[: len(args)]):
        message = (
            f"{kind.__name__} takes {', '.join(names) or 'nothing'} by position, and only once"
        )
        raise TypeError(message)
    return dict(zip(names, args, strict=False))


def _by_name(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).fields_}


def _values(record: Record) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in type(record).fields_)
