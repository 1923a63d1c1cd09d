"""Named kill points for tests: `LOADER_CRASH_AT=renamed`, or `chunk-kept:3` for the third time.

If it is unset, as on every aircraft, `failpoint` costs one look-up in an empty dictionary.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Final

VARIABLE: Final = "LOADER_CRASH_AT"
FAILPOINTS: Final = (
    "part-begun",  # its empty file exists
    "chunk-kept",  # each time that bytes were written to a part
    "last-byte",
    "size-checked",
    "hash-checked",
    "part-synced",
    "part-closed",
    "renamed",
    "folder-synced",
    "held-written",  # the state that says that the file under its final name is complete
    "progress-sent",  # each time that a .progress was sent
    "error-removed",
    "heartbeat-sent",  # each time that the store has the heartbeat, before the loader records its ETag
    "switch-begun",  # a new version is staged completely beside the old one
    "switch-halfway",  # one of its items has its final name
    "switch-done",
    "link-made",  # a second link to the same content exists, not yet under its final name
    "linked",  # the link has its final name, which no state records yet
    "purge-begun",  # the campaign is no longer marked as complete, its files exist
    "purge-halfway",  # each time that one of its files was removed
)

_enabled: dict[str, Iterator[int]] = {}


def enable_failpoints(environment: Mapping[str, str]) -> None:
    """Enable the failpoint that the variable names. Raises ValueError if there is none of that name."""
    _enabled.clear()
    wanted = environment.get(VARIABLE, "")
    if not wanted:
        return
    name, _, times = wanted.partition(":")
    if name not in FAILPOINTS or not (times or "1").isdecimal():
        raise ValueError(f"{VARIABLE} must be one of {', '.join(FAILPOINTS)}.")
    _enabled[name] = itertools.count(int(times or "1") - 1, -1)


def failpoint(name: str) -> None:
    """Kill this process with SIGKILL if the failpoint is enabled."""
    countdown = _enabled.get(name)
    if countdown is not None and next(countdown) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
