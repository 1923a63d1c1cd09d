"""Small JSON state files, replaced in one step; torn or foreign ones read as empty. Raises OSError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from loader.storage.directory import Directory, Durability

STATE_LIMIT: Final = 16 * 1024


@cache
def boot_id() -> str:
    """Changes when the machine starts anew: until then written bytes survive even a killed process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_state(directory: Directory, name: str) -> Mapping[str, object]:
    """A small state file; empty if it is missing, torn or no JSON object."""
    body = directory.read(name, STATE_LIMIT)
    try:
        state = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(
    directory: Directory, name: str, state: Mapping[str, object], *, durability: Durability = "name"
) -> None:
    """In one step, see `Directory.write`. Raises OSError."""
    body = json.dumps({"schema": 1, **state}, ensure_ascii=False).encode(errors="surrogatepass")
    directory.write(name, body, durability=durability)
