"""The status objects of a simulated airline: keys, current values and changes, all calculated. Pure."""

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
MIN_SIZE: Final = 64  # MiB, size of the smallest item
ObjectValue = tuple[str, int]  # key, bytes done


@dataclass
class Fleet:
    """`tails` tails that each load `items` items. Objects are numbered from 0; `values` are their current bytes done.

    All random numbers come from `seed`.
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
        """Return the registration of an object's tail."""
        return f"N{number // self.items:04}"

    def key(self, number: int) -> str:
        """Return an object's key in the status bucket."""
        return progress_key(AIRLINE, self.tail(number), CAMPAIGN, _item(number % self.items))

    def size(self, number: int) -> int:
        """Return the size of an object's item in bytes; never a whole number of MiB."""
        return (MIN_SIZE + number % self.items) * MIB + 12_345

    def manifest(self) -> bytes:
        """Return the manifest of the campaign."""
        return build_manifest(Manifest(tuple(Item(_item(number), self.size(number)) for number in range(self.items))))

    def objects(self) -> Iterator[ObjectValue]:
        """Return all objects with their current values."""
        return ((self.key(number), value) for number, value in enumerate(self.values))

    def finish(self) -> list[ObjectValue]:
        """Complete every item."""
        return self._set_values({number: self.size(number) for number in range(len(self))})

    def load_half(self) -> list[ObjectValue]:
        """Reset every second item to a random value that our loader would report."""
        draw = random.Random(f"half {self.seed}")
        return self._set_values({number: draw.randrange(MIN_SIZE) * MIB for number in range(0, len(self), 2)})

    def advance(self, count: int, turn: int, *, foreign: float = 0.0) -> list[ObjectValue]:
        """Advance `count` random unfinished items; half of them to completion.

        Our loader reports whole MiB and the size. The share `foreign` (0 to 1) gets any other number, as other loaders
        report. Each `turn` draws other items.
        """
        draw = random.Random(f"turn {turn} of {self.seed}")
        moving = [number for number, value in enumerate(self.values) if value < self.size(number) - 2 * MIB]
        chosen = draw.sample(moving, count)
        others = round(count * foreign)
        foreign_values = {number: self._foreign_value(number, draw) for number in chosen[:others]}
        return self._set_values(foreign_values | {number: self._next_value(number, draw) for number in chosen[others:]})

    def round_robin(self, count: int) -> list[ObjectValue]:
        """Return `count` changes of one MiB each, over all objects in turn, in a random but constant order."""
        order = list(range(len(self)))
        random.Random(f"order {self.seed}").shuffle(order)
        return [self._step(order[turn % len(order)]) for turn in range(count)]

    def count_missed(self, rows: Mapping[str, int]) -> int:
        """Return for how many objects there is no row, or one with another value."""
        return sum(rows.get(key) != value for key, value in self.objects())

    def _set_values(self, values: Mapping[int, int]) -> list[ObjectValue]:
        for number, value in values.items():
            self.values[number] = value
        return [(self.key(number), value) for number, value in values.items()]

    def _step(self, number: int) -> ObjectValue:
        [changed] = self._set_values({number: self.values[number] + MIB})
        return changed

    def _next_value(self, number: int, draw: random.Random) -> int:
        if draw.random() < 0.5:
            return self.size(number)
        return draw.randint(self.values[number] // MIB + 1, self.size(number) // MIB) * MIB

    def _foreign_value(self, number: int, draw: random.Random) -> int:
        mebibytes = draw.randint(self.values[number] // MIB + 1, self.size(number) // MIB - 1) * MIB
        return mebibytes + draw.randrange(1, MIB)


def tails_of(written: Sequence[ObjectValue]) -> int:
    """Return the number of tails these objects belong to."""
    return len({key.split("/")[1] for key, _ in written})


def _item(number: int) -> str:
    return f"item-{number:03}"
