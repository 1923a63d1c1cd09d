"""Write to a partial file as a download does."""

from __future__ import annotations

from loader.storage.partial_file import PartialFile


def append(part: PartialFile, data: bytes | memoryview, piece: int = 100_000, flush_after: float = 60.0) -> None:
    """Append bytes to a partial file in pieces of at most `piece` bytes."""
    rest = memoryview(data)
    while rest:
        room = part.write_buffer(flush_after)[:piece]
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        part.append(room[:count])
        rest = rest[count:]
