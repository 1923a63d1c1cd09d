"""What a download does to a part, without a download."""

from __future__ import annotations

from loader.storage.partial_file import PartialFile


def append(part: PartialFile, data: bytes | memoryview, piece: int = 100_000, flush_after: float = 60.0) -> None:
    """Add bytes to a part in pieces of that size, at most."""
    rest = memoryview(data)
    while rest:
        room = part.write_buffer(flush_after)[:piece]
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        part.append(room[:count])
        rest = rest[count:]
