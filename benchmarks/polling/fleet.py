"""The status objects of an invented airline, as arithmetic: which there are, what each says now, what changes. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.shared.goals import MIB
from loader.contract.keys import progress_key
from loader.contract.manifest import Item, Manifest, build_manifest

AIRLINE: Final = "ACME"
CAMPAIGN: Final = "2026-12"
MIN_SIZE: Final = 64  # MiB, of the smallest item
ObjectValue = tuple[str, int]  # key, bytes held so far


@dataclass
class Fleet:
    """`tails` that each load `items`. Objects have numbers from 0; `values` are the bytes each of them says now.

    Everything that is drawn comes from `seed`.
    """

    tails: int
    items: int
    seed: int
    values: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.values = [0] * len(self)

    def __len__(self) -> int:
        return self.tails * self.items

    def tail(self, number: int) -> str:
        """The registration of the tail an object is of."""
        return f"N{number // self.items:04}"

    def key(self, number: int) -> str:
        """Of an object in the status bucket."""
        return progress_key(AIRLINE, self.tail(number), CAMPAIGN, _item(number % self.items))

    def size(self, number: int) -> int:
        """Of the item an object is about, in bytes: no whole MiB."""
        return (MIN_SIZE + number % self.items) * MIB + 12_345

    def manifest(self) -> bytes:
        """What the media bucket says."""
        return build_manifest(Manifest(tuple(Item(_item(number), self.size(number)) for number in range(self.items))))

    def objects(self) -> Iterator[ObjectValue]:
        """All objects as they are now."""
        return ((self.key(number), value) for number, value in enumerate(self.values))

    def finish(self) -> list[ObjectValue]:
        """Every item is aboard."""
        return self._set_values({number: self.size(number) for number in range(len(self))})

    def load_half(self) -> list[ObjectValue]:
        """Every second item is on its way, somewhere: what our loader reports of it."""
        draw = random.Random(f"half {self.seed}")
        return self._set_values({number: draw.randrange(MIN_SIZE) * MIB for number in range(0, len(self), 2)})

    def advance(self, count: int, turn: int, *, foreign: float = 0.0) -> list[ObjectValue]:
        """`count` items that are on their way, of any tails, get further; half of them to the end.

        Our loader reports whole MiB and the size. The share `foreign` (0 to 1) reports some other number, as the
        loaders of others do. Each `turn` draws anew.
        """
        draw = random.Random(f"turn {turn} of {self.seed}")
        moving = [number for number, value in enumerate(self.values) if value < self.size(number) - 2 * MIB]
        chosen = draw.sample(moving, count)
        others = round(count * foreign)
        foreign_values = {number: self._foreign_value(number, draw) for number in chosen[:others]}
        return self._set_values(foreign_values | {number: self._next_value(number, draw) for number in chosen[others:]})

    def round_robin(self, count: int) -> list[ObjectValue]:
        """`count` changes, one object after the other in an order that is drawn once: each gets a MiB further."""
        order = list(range(len(self)))
        random.Random(f"order {self.seed}").shuffle(order)
        return [self._step(order[turn % len(order)]) for turn in range(count)]

    def count_missed(self, rows: Mapping[str, int]) -> int:
        """Of how many objects there is no row, or one with another value."""
        return sum(rows.get(key) != value for key, value in self.objects())

    def _set_values(self, values: Mapping[int, int]) -> list[ObjectValue]:
        for number, value in values.items():
            self.values[number] = value
        return [(self.key(number), value) for number, value in values.items()]

    def _step(self, number: int) -> ObjectValue:
        [written] = self._set_values({number: self.values[number] + MIB})
        return written

    def _next_value(self, number: int, draw: random.Random) -> int:
        if draw.random() < 0.5:
            return self.size(number)
        return draw.randint(self.values[number] // MIB + 1, self.size(number) // MIB) * MIB

    def _foreign_value(self, number: int, draw: random.Random) -> int:
        mebibytes = draw.randint(self.values[number] // MIB + 1, self.size(number) // MIB - 1) * MIB
        return mebibytes + draw.randrange(1, MIB)


def tails_of(written: Sequence[ObjectValue]) -> int:
    """On how many tails these objects are."""
    return len({key.split("/")[1] for key, _ in written})


def _item(number: int) -> str:
    return f"item-{number:03}"
