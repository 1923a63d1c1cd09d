"""The state file of an unfinished item, and which of its bytes can be trusted. Pure.

A torn or foreign state is ignored. Of a state from before the last boot only the durable bytes count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loader.storage.byte_ranges import Extent, union


@dataclass(frozen=True, slots=True)
class PartialState:
    """Of which object (ETag, size, SHA-256, manifest version) bytes are kept, and which.

    `durable`: so many from the start survive a power cut. `boot`: the start of the machine in which it was written.
    `extents`: where the bytes lie if they were written in several places at once; None if they have no gap.
    """

    etag: str
    size: int
    sha256: str | None
    version: int | None
    durable: int
    boot: str
    extents: tuple[Extent, ...] | None = None

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> PartialState | None:
        """None for a state that is not plainly one."""
        texts = [state.get(field) for field in ("etag", "boot")]
        numbers = [state.get(field) for field in ("size", "durable")]
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            return None
        values = {field: state.get(field) for field in cls.__slots__}
        try:
            values["extents"] = _extents(state.get("extents"))
        except (TypeError, ValueError):
            return None
        return cls(**values)  # type: ignore[arg-type]  # the other two are only compared

    def resumable_extents(self, length: int, boot: str) -> list[Extent]:
        """The bytes that are there in a file of so many bytes; those before the first gap are never none of several.

        After a power cut the length of a file says nothing about what lies in it. Nor does it ever where there may be
        gaps: then only what was noted counts.
        """
        if self.boot != boot:
            claimed: tuple[Extent, ...] = ((0, self.durable),)
        else:
            claimed = ((0, length),) if self.extents is None else self.extents
        found = union((start, min(end, length)) for start, end in claimed)
        return found if found and found[0][0] == 0 else []


def _extents(claimed: object) -> tuple[Extent, ...] | None:
    """Raises TypeError or ValueError."""
    if claimed is None:
        return None
    if not isinstance(claimed, list):
        raise TypeError
    extents = tuple((start, end) for start, end in claimed)
    if not all(type(number) is int and number >= 0 for extent in extents for number in extent):
        raise ValueError
    return extents
