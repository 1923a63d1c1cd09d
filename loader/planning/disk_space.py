"""Budget of disk space while steps are planned one after the other. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from loader.planning.model import DiskSpace
from loader.storage.inventory import CampaignOnDisk


class SpaceBudget:
    """What may still be taken, while steps are planned one after the other."""

    def __init__(self, spaces: Sequence[DiskSpace]) -> None:
        self._devices = [room.device for room in spaces]
        self._free: dict[int, int] = {}
        for room in spaces:
            self._free[room.device] = min(room.free, self._free.get(room.device, room.free))
        self._reserved_links = dict.fromkeys(self._free, 0)

    def __len__(self) -> int:
        return len(self._devices)

    def available(self, store: int) -> int:
        """Bytes that this directory may still take."""
        return max(0, self._free[self._devices[store]])

    def reserve(self, store: int, size: int) -> None:
        """So much will be written there."""
        self._free[self._devices[store]] -= size

    def reserve_link(self, store: int, size: int) -> None:
        """So much may be linked to there; to purge where it is linked from would not free it."""
        self._reserved_links[self._devices[store]] += size

    def release(self, one: CampaignOnDisk) -> None:
        """This campaign is removed."""
        for device in self._free:
            gained = self._freed_bytes([one], device)
            owed = min(gained, self._reserved_links[device])
            self._reserved_links[device] -= owed
            self._free[device] += gained - owed

    def choose_evictions(
        self, needs: Mapping[int, int], ended: Sequence[CampaignOnDisk]
    ) -> tuple[int, list[CampaignOnDisk]] | None:
        """The directory for which the fewest of `ended` (the first ones first) need go, and which; None if all of
        them would not be enough. `needs`: bytes by directory, the best directory first.
        """
        ways = [
            (store, chosen) for store, size in needs.items() if (chosen := self._choose(size, store, ended)) is not None
        ]
        return min(ways, key=lambda way: len(way[1])) if ways else None

    def _choose(self, size: int, store: int, ended: Sequence[CampaignOnDisk]) -> list[CampaignOnDisk] | None:
        device = self._devices[store]
        missing = size - self._free[device] + self._reserved_links[device]
        chosen: list[CampaignOnDisk] = []
        for one in ended:
            if self._freed_bytes(chosen, device) >= missing:
                break
            if self._freed_bytes([one], device):
                chosen.append(one)
        if self._freed_bytes(chosen, device) < missing:
            return None
        for one in reversed(list(chosen)):
            rest = [other for other in chosen if other is not one]
            if self._freed_bytes(rest, device) >= missing:
                chosen = rest
        return chosen

    def _freed_bytes(self, campaigns: Iterable[CampaignOnDisk], device: int) -> int:
        return sum(
            size for one in campaigns for at, size in zip(self._devices, one.bytes, strict=False) if at == device
        )
