"""JSON state files, replaced atomically. A missing, torn or foreign file reads as empty. Raises OSError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from loader.errors import Code, WorldError
from loader.storage.directory import Directory, Durability
from loader.storage.layout import LOADER_DIR

STATE_LIMIT: Final = 16 * 1024


@cache
def boot_id() -> str:
    """Return an id that changes with each boot. Until the next boot, written bytes survive a killed process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_state(directory: Directory, name: str, limit: int = STATE_LIMIT) -> Mapping[str, object]:
    """Return the state; empty if the file is missing, longer than `limit` bytes, torn, or not a JSON object."""
    return _parse(directory.read(name, limit)) or {}


def read_intact_state(directory: Directory, name: str, limit: int = STATE_LIMIT) -> Mapping[str, object]:
    """Return the state; empty only if the file is missing. Raises WorldError IO_ERROR for a file that is damaged."""
    state = _parse(directory.read(name, limit))
    if state is None and name in directory.list_names():
        raise WorldError(Code.IO_ERROR, f"{LOADER_DIR}/{name} is damaged")
    return state or {}


def _parse(body: bytes | None) -> Mapping[str, object] | None:
    try:
        state = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def write_state(
    directory: Directory, name: str, state: Mapping[str, object], *, durability: Durability = "name"
) -> None:
    """Replace the file atomically, see `Directory.write`."""
    body = json.dumps({"schema": 1, **state}, ensure_ascii=False).encode(errors="surrogatepass")
    directory.write(name, body, durability=durability)
