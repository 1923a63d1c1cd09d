"""`loader.frozen.frozen` gives the same classes as the standard library's `dataclass(frozen=True, slots=True)`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import loader
from loader.frozen import frozen


class _Plain:
    """Every kind of field."""

    KIND: ClassVar[str] = "plain"
    name: str
    size: int = 0
    note: str = field(default="", compare=False)
    secret: str = field(default="", repr=False)
    extra: dict[str, int] = field(default_factory=dict, hash=False)
    checked: bool = field(default=False, kw_only=True)


@frozen
class Item:
    """A class that can be pickled."""

    name: str
    size: int = 0


@frozen
class Film(Item):
    """A subclass, with a text of its own."""

    title: str = ""

    def __str__(self) -> str:
        return self.title


@frozen
class Empty:
    """No fields."""


def _pair() -> tuple[Any, Any]:
    """Return the class of the standard library and ours, made of the same attributes."""
    attributes = {name: value for name, value in vars(_Plain).items() if name not in ("__dict__", "__weakref__")}
    theirs, ours = (type("Value", (), dict(attributes)) for _ in range(2))
    return dataclass(frozen=True, slots=True)(theirs), frozen(ours)


CALLS: list[Callable[[Any], object]] = [
    lambda cls: cls("a"),
    lambda cls: cls("a", 1, "note", "secret", {"b": 2}, checked=True),
    lambda cls: cls(name="a", extra={"c": 3}),
    lambda cls: replace(cls("a"), size=7),
    lambda cls: asdict(cls("a", extra={"d": 4})),
    lambda cls: [(each.name, each.compare) for each in fields(cls)],
    lambda cls: cls("a") == cls("a", note="another"),
    lambda cls: cls("a") == cls("a", 1),
    lambda cls: cls("a") == ("a", 0),
    lambda cls: hash(cls("a", extra={"e": 5})) == hash(cls("a")),
    lambda cls: (cls("a").extra is cls("a").extra, cls.KIND, cls.__match_args__, cls.__slots__),
    lambda cls: hasattr(cls("a"), "__dict__"),
]


@pytest.mark.parametrize("call", CALLS)
def test_behaves_as_the_standard_dataclass(call: Callable[[Any], object]) -> None:
    theirs, ours = _pair()

    assert repr(call(ours)) == repr(call(theirs))


@pytest.mark.parametrize("arguments", [(), ("a", 1, "", "", {}, True)])
def test_refuses_wrong_arguments(arguments: tuple[object, ...]) -> None:
    for cls in _pair():
        with pytest.raises(TypeError):
            cls(*arguments)


def test_refuses_changes() -> None:
    item = Film("a")

    with pytest.raises(FrozenInstanceError):
        item.title = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del item.name
    assert item == Film("a")


def test_copies_and_pickles() -> None:
    item = Film("a", 2, "b")

    assert copy.copy(item) == copy.deepcopy(item) == pickle.loads(pickle.dumps(item)) == item


def test_keeps_methods_of_the_class_and_its_bases() -> None:
    film = Film("a", 2, title="b")

    assert (str(film), repr(film)) == ("b", "Film(name='a', size=2, title='b')")
    assert film != Item("a", 2)
    assert Empty() == Empty()
    assert repr(Empty()) == "Empty()"


def test_the_loader_makes_its_immutable_classes_with_it() -> None:
    sources = [path for path in Path(loader.__file__).parent.rglob("*.py") if path.name != "frozen.py"]

    assert [path.name for path in sources if "@dataclass(frozen=True, slots=True)" in path.read_text()] == []
