"""Room on the content directories, and which campaigns may be removed for it. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from loader.facts import Room, Wanted
from loader.storage.inventory import Aboard


class Rooms:
    """What may still be taken, while steps are planned one after the other."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._devices = [room.device for room in rooms]
        self._free: dict[int, int] = {}
        for room in rooms:
            self._free[room.device] = min(room.free, self._free.get(room.device, room.free))
        self._owed = dict.fromkeys(self._free, 0)

    def __len__(self) -> int:
        return len(self._devices)

    def left(self, store: int) -> int:
        """Bytes that this directory may still take."""
        return max(0, self._free[self._devices[store]])

    def take(self, store: int, size: int) -> None:
        """So much will be written there."""
        self._free[self._devices[store]] -= size

    def owe(self, store: int, size: int) -> None:
        """So much may be linked to there; to purge where it is linked from would not free it."""
        self._owed[self._devices[store]] += size

    def give(self, one: Aboard) -> None:
        """This campaign is removed."""
        for device in self._free:
            gained = self._gain([one], device)
            owed = min(gained, self._owed[device])
            self._owed[device] -= owed
            self._free[device] += gained - owed

    def make_for(self, needs: Mapping[int, int], ended: Sequence[Aboard]) -> tuple[int, list[Aboard]] | None:
        """The directory for which the fewest of `ended` (the first ones first) need go, and which; None if all of
        them would not be enough. `needs`: bytes by directory, the best directory first.
        """
        ways = [
            (store, chosen) for store, size in needs.items() if (chosen := self._enough(size, store, ended)) is not None
        ]
        return min(ways, key=lambda way: len(way[1])) if ways else None

    def _enough(self, size: int, store: int, ended: Sequence[Aboard]) -> list[Aboard] | None:
        device = self._devices[store]
        missing = size - self._free[device] + self._owed[device]
        chosen: list[Aboard] = []
        for one in ended:
            if self._gain(chosen, device) >= missing:
                break
            if self._gain([one], device):
                chosen.append(one)
        if self._gain(chosen, device) < missing:
            return None
        for one in reversed(list(chosen)):
            rest = [other for other in chosen if other is not one]
            if self._gain(rest, device) >= missing:
                chosen = rest
        return chosen

    def _gain(self, campaigns: Iterable[Aboard], device: int) -> int:
        return sum(
            size for one in campaigns for at, size in zip(self._devices, one.bytes, strict=False) if at == device
        )


def with_days(aboard: Iterable[Aboard], wanted: Iterable[Wanted]) -> list[Aboard]:
    """The days of a manifest that can be read are newer than those that were kept."""
    days = {one.campaign: one.manifest.exhibition for one in wanted}
    return [
        replace(one, starts=days[one.campaign].starts, ends=days[one.campaign].ends) if one.campaign in days else one
        for one in aboard
    ]


def in_use(aboard: Iterable[Aboard], wanted: Collection[str], today: date) -> dict[str, str]:
    """The campaigns that may not be removed, and why: somebody may be watching them."""
    lying = list(aboard)
    dated = [one for one in lying if one.starts or one.ends]
    shown = [one for one in dated if (one.starts or today) <= today <= (one.ends or today)]
    used = {one.campaign: "it is in use: its exhibition is on" for one in shown}
    begun = [one for one in dated if (one.starts or date.min) <= today]
    if begun and not shown:
        last = max(_start(one) for one in begun)
        used = {one.campaign: "it is in use: no later exhibition is aboard" for one in begun if _start(one) == last}
    for one in lying:
        if one.whole and one.campaign in wanted and not (one.starts or one.ends):
            used[one.campaign] = "it is in use: it may be shown on any day"
    return used


def _start(one: Aboard) -> tuple[date, date]:
    return one.starts or date.min, one.ends or date.min


def removable(aboard: Iterable[Aboard], kept: Collection[str], today: date) -> list[Aboard]:
    """Those whose exhibition has ended and that are not among `kept`, the longest ended first."""
    ended = [(one.ends, one.campaign, one) for one in aboard if one.ends and one.ends < today]
    return [one for _, campaign, one in sorted(ended, key=lambda entry: entry[:2]) if campaign not in kept]
