"""The state of a partial file, and which of its bytes can be trusted. Pure.

A torn or foreign state is ignored. Of a state from before the last boot only the durable bytes count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from loader.frozen import frozen
from loader.storage.byte_ranges import Extent, union


@frozen
class PartialState:
    """The object that the bytes are from (ETag, size, SHA-256, manifest version), and which bytes were written.

    `last_modified`: of the object, as text; empty or None if unknown. `durable`: so many bytes from the start survive a
    power cut. `boot`: the id of the boot in which the state was written. `extents`: the ranges that were written; None
    for a file without gaps.
    """

    etag: str
    size: int
    sha256: str | None
    version: int | None
    durable: int
    boot: str
    extents: tuple[Extent, ...] | None = None
    last_modified: str | None = None

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> PartialState | None:
        """Return None for a state that is torn or foreign."""
        texts = [state.get(field) for field in ("etag", "boot")]
        numbers = [state.get(field) for field in ("size", "durable")]
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            return None
        values = {field.name: state.get(field.name) for field in fields(cls)}
        try:
            values["extents"] = _extents(state.get("extents"))
        except (TypeError, ValueError):
            return None
        return cls(**values)  # type: ignore[arg-type]  # the others are only compared

    def resumable_extents(self, length: int, boot: str) -> list[Extent]:
        """Return the extents that can be trusted in a file of `length` bytes; empty unless one starts at 0.

        The length of the file counts only within the same boot and without gaps: after a power cut a file may have
        its length without its bytes.
        """
        if self.boot != boot:
            claimed: tuple[Extent, ...] = ((0, self.durable),)
        else:
            claimed = ((0, length),) if self.extents is None else self.extents
        found = union((start, min(end, length)) for start, end in claimed)
        return found if found and found[0][0] == 0 else []


def _extents(claimed: object) -> tuple[Extent, ...] | None:
    """Check the extents of a state file. Raises TypeError or ValueError."""
    if claimed is None:
        return None
    if not isinstance(claimed, list):
        raise TypeError
    extents = tuple((start, end) for start, end in claimed)
    if not all(type(number) is int and number >= 0 for extent in extents for number in extent):
        raise ValueError
    return extents
