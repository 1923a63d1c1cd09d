"""The campaigns of the fixtures: item contents are generated from names, so that no fixture stores them."""

from __future__ import annotations

import hashlib
from typing import Final

AIRLINE: Final = "ACME"
TAIL: Final = "D-ABCD"
MIB: Final = 1024 * 1024
BLOCK: Final = 16 * 1024  # bytes: each repeats one digest, so that a fixture with parts of them is small

# (campaign, content): seed and size in bytes. Equal seeds give equal contents.
FIRST: Final = {
    ("show", "feature"): ("feature, first version", 300_000),
    ("show", "news"): ("news, first version", 50_000),
    ("show", "short"): ("short", 64_000),
}
NEWEST: Final = {
    ("show", "feature"): ("feature, second version", 800_000),
    ("show", "news"): ("news, second version", 51_000),
    ("show", "short"): ("short", 64_000),
    ("next", "again"): ("short", 64_000),
    ("next", "clip"): ("clip", 90_000),
    ("next", "film"): ("film", 6 * MIB),
    ("next", "game"): ("game", 70_000),
    ("next", "song"): ("song", 850_000),
}


def build_body(made_of: str, size: int) -> bytes:
    """Return `size` bytes that differ from block to block and compress well."""
    blocks = (hashlib.sha256(f"{made_of} {start}".encode()).digest() for start in range(0, size, BLOCK))
    return b"".join(digest * (BLOCK // len(digest)) for digest in blocks)[:size]


def content_key(campaign: str, content: str) -> str:
    """Return the key of an item in the media bucket."""
    return f"{AIRLINE}/{campaign}/{content}.tgz"
