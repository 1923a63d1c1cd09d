"""`frozen`: the class decorator of immutable values. Standard library only; pure.

The same as `dataclass(frozen=True, slots=True)`, in a quarter of the time: that compiles six methods for every class,
which was 40% of the loader's start. Only `__init__` is compiled here. The classes are dataclasses: `replace`, `fields`
and `asdict` work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import Any, Final, TypeVar, dataclass_transform

T = TypeVar("T")
_DEFAULTS: Final = "_default_"  # prefix of names in the code of `__init__` that no field has


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[T]) -> type[T]:
    """Return the class with slots, `__init__`, `__repr__`, `__eq__` and `__hash__`. Its objects cannot be changed."""
    own = cls.__dict__
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    fields = dataclasses.fields(made)
    methods = {
        "__init__": _make_init(fields),
        "__repr__": _make_repr([field.name for field in fields if field.repr]),
        "__eq__": _make_eq(_getter([field.name for field in fields if field.compare])),
        "__hash__": _make_hash(_getter([field.name for field in fields if _is_hashed(field)])),
        "__reduce__": _make_reduce([field.name for field in fields]),
        "__setattr__": _refuse_assignment,
        "__delattr__": _refuse_deletion,
    }
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made  # type: ignore[no-any-return]


def _is_hashed(field: Field[Any]) -> bool:
    return field.compare if field.hash is None else field.hash


def _make_init(fields: Sequence[Field[Any]]) -> Callable[..., None]:
    arguments = [_argument(field) for field in fields if not field.kw_only]
    keywords = [_argument(field) for field in fields if field.kw_only]
    signature = ", ".join(["self", *arguments, *(["*", *keywords] if keywords else [])])
    lines = [f"    _set(self, {field.name!r}, {_value(field)})" for field in fields] or ["    pass"]
    names: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    names |= {f"{_DEFAULTS}{field.name}": _default(field) for field in fields}
    exec("\n".join([f"def __init__({signature}):", *lines]), names)  # noqa: S102  the names of fields, as dataclasses do
    init: Callable[..., None] = names["__init__"]
    return init


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory


def _argument(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return f"{field.name}=_MISSING"
    return field.name if field.default is MISSING else f"{field.name}={_DEFAULTS}{field.name}"


def _value(field: Field[Any]) -> str:
    name = field.name
    return name if field.default_factory is MISSING else f"{_DEFAULTS}{name}() if {name} is _MISSING else {name}"


def _getter(names: Sequence[str]) -> Callable[[object], object]:
    return attrgetter(*names) if names else lambda value: ()


def _make_repr(names: Sequence[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return __repr__


def _make_eq(key: Callable[[object], object]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _make_hash(key: Callable[[object], object]) -> Callable[[object], int]:
    def __hash__(self: object) -> int:
        return hash(key(self))

    return __hash__


def _make_reduce(names: Sequence[str]) -> Callable[[object], tuple[object, ...]]:
    """Return the method for `copy` and `pickle`, which otherwise set attributes."""

    def __reduce__(self: object) -> tuple[object, ...]:
        return _rebuild, (type(self), {name: getattr(self, name) for name in names})

    return __reduce__


def _rebuild(cls: type[T], values: dict[str, object]) -> T:
    return cls(**values)


def _refuse_assignment(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
