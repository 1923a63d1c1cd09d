"""Named kill points for tests: `LOADER_CRASH_AT=renamed`, or `chunk-kept:3` for the third time.

Unset, as always on an aircraft, `failpoint` costs one look-up in an empty dictionary. Touches nothing else.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Final

VARIABLE: Final = "LOADER_CRASH_AT"
FAILPOINTS: Final = (
    "part-begun",  # its file is there, empty
    "chunk-kept",  # each time bytes were written to a part
    "last-byte",
    "size-checked",
    "hash-checked",
    "part-synced",
    "part-closed",
    "renamed",
    "folder-synced",
    "held-written",  # the state that says the final name is whole
    "progress-sent",  # each time a .progress left
    "error-removed",
    "heartbeat-sent",  # each time the heartbeat arrived, before anybody here knows
    "switch-begun",  # a new version is whole beside the old one
    "switch-halfway",  # one of its items has taken its final name
    "switch-done",
    "link-made",  # a second name of the same content is made, not yet under its final name
    "linked",  # it has its final name, no state says so
    "purge-begun",  # the campaign is no longer marked as whole, its files are there
    "purge-halfway",  # each time one of its files was removed
)

_enabled: dict[str, Iterator[int]] = {}


def enable_failpoints(environment: Mapping[str, str]) -> None:
    """Read the variable. Raises ValueError if it names no crash point."""
    _enabled.clear()
    wanted = environment.get(VARIABLE, "")
    if not wanted:
        return
    name, _, times = wanted.partition(":")
    if name not in FAILPOINTS or not (times or "1").isdecimal():
        raise ValueError(f"{VARIABLE} must be one of {', '.join(FAILPOINTS)}, not {wanted!r}.")
    _enabled[name] = itertools.count(int(times or "1") - 1, -1)


def failpoint(name: str) -> None:
    """Die here, as if the power of the process were cut, if a test asked for it."""
    countdown = _enabled.get(name)
    if countdown is not None and next(countdown) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
