"""Budget of disk space during planning. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from loader.planning.model import DiskSpace
from loader.storage.inventory import CampaignOnDisk


class SpaceBudget:
    """Space that is left on each device, counted down as steps are planned. Directories on one device share it."""

    def __init__(self, spaces: Sequence[DiskSpace]) -> None:
        self._devices = [space.device for space in spaces]
        self._spaces = spaces
        self._free: dict[int, int] = {}
        for space in spaces:
            self._free[space.device] = min(space.free, self._free.get(space.device, space.free))
        self._reserved_links = dict.fromkeys(self._free, 0)

    def __len__(self) -> int:
        return len(self._devices)

    def available(self, store: int) -> int:
        """Return the bytes that a directory can still take."""
        return max(0, self._free[self._devices[store]])

    def lacks_inodes(self, store: int) -> bool:
        return self._spaces[store].lacks_inodes

    def why_refused(self, store: int, need: int) -> str:
        """Return why a directory cannot take `need` more bytes."""
        if self.lacks_inodes(store):
            return f"too few inodes are left for another file, although {self.available(store)} bytes are free"
        reserve = self._spaces[store].reserve
        kept_free = f" besides the reserve of {reserve} bytes" if reserve else ""
        return f"{need} bytes are still to be fetched and {self.available(store)} bytes may be used{kept_free}"

    def reserve(self, store: int, size: int) -> None:
        """Reserve bytes that will be written to a directory."""
        self._free[self._devices[store]] -= size

    def reserve_link(self, store: int, size: int) -> None:
        """Reserve bytes that will be hard-linked: deleting the source would not free them."""
        self._reserved_links[self._devices[store]] += size

    def release(self, campaign: CampaignOnDisk) -> None:
        """Count the space that the removal of a campaign frees."""
        for device in self._free:
            gained = self._freed_bytes([campaign], device)
            still_linked = min(gained, self._reserved_links[device])
            self._reserved_links[device] -= still_linked
            self._free[device] += gained - still_linked

    def choose_evictions(
        self, needs: Mapping[int, int], ended: Sequence[CampaignOnDisk]
    ) -> tuple[int, list[CampaignOnDisk]] | None:
        """Return the directory that needs the fewest removals, and the campaigns to remove for it.

        `needs`: missing bytes by directory, the best directory first. `ended`: removable campaigns, first choice first.
        Returns None if removing all of them would not free enough.
        """
        choices = [
            (store, chosen) for store, size in needs.items() if (chosen := self._choose(size, store, ended)) is not None
        ]
        return min(choices, key=lambda choice: len(choice[1])) if choices else None

    def _choose(self, size: int, store: int, ended: Sequence[CampaignOnDisk]) -> list[CampaignOnDisk] | None:
        device = self._devices[store]
        missing = size - self._free[device] + self._reserved_links[device]
        chosen: list[CampaignOnDisk] = []
        for campaign in ended:
            if self._freed_bytes(chosen, device) >= missing:
                break
            if self._freed_bytes([campaign], device):
                chosen.append(campaign)
        if self._freed_bytes(chosen, device) < missing:
            return None
        for campaign in reversed(list(chosen)):
            rest = [other for other in chosen if other is not campaign]
            if self._freed_bytes(rest, device) >= missing:
                chosen = rest
        return chosen

    def _freed_bytes(self, campaigns: Iterable[CampaignOnDisk], device: int) -> int:
        return sum(
            size
            for campaign in campaigns
            for other, size in zip(self._devices, campaign.bytes, strict=False)
            if other == device
        )
