"""The first page of the admin: what there is to do, by task. Other apps add their sections with `add_section`.

A section reads only rows that the user may see, with a number of statements that does not depend on the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest


@dataclass(frozen=True, slots=True)
class Link:
    """A link or button."""

    label: str
    address: str


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, with the list that shows them. `problem`: a number above 0 needs attention."""

    label: str
    number: int
    address: str = ""
    problem: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to do. `shape` is the `data-state` of portal pages that gives the state its shape and colour."""

    title: str
    address: str
    state: str
    shape: str
    detail: str = ""
    actions: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A task. `empty` explains what it means that there are no entries."""

    title: str
    empty: str
    entries: Sequence[Entry] = ()
    counts: Sequence[Count] = ()
    actions: Sequence[Link] = ()
    more: Link | None = None
    about: str = ""
    wide: bool = False


Builder = Callable[[HttpRequest], Section | None]
_builders: Final[dict[str, tuple[int, Builder]]] = {}


def add_section(name: str, position: int, build: Builder) -> None:
    """Add a section. `build` returns None for a user who may see nothing of it."""
    _builders[name] = (position, build)


def sections(request: HttpRequest) -> list[Section]:
    """Return the sections of the user, in their order."""
    built = [build(request) for _, build in sorted(_builders.values(), key=lambda pair: pair[0])]
    return [section for section in built if section is not None]
