"""What a download does to a part, without a download."""

from __future__ import annotations

from loader.storage.partial_file import Part


def append(part: Part, data: bytes | memoryview, piece: int = 100_000, flush_after: float = 60.0) -> None:
    """Add bytes to a part in pieces of that size, at most."""
    rest = memoryview(data)
    while rest:
        room = part.room(flush_after)[:piece]
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        part.add(room[:count])
        rest = rest[count:]
