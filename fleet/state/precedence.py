"""The one state of a load or transfer: its status, or the weightiest flag on top of `loading`.

In Python (`state_of`) and in SQL (`STATE`, `TRANSFER_STATE`, `in_state`), side by side: both must say the same. Pure;
builds conditions and asks the database nothing.
"""

from __future__ import annotations


def state_of(
    status: str,
    *,
    silent: bool = False,
    stalled: bool = False,
    contradiction: str = "",
    waiting: bool = False,
    restarted: bool = False,
) -> str:
    """The one word for a row: its status, or what lies on top of `loading`, the weightiest first.

    `fleet.listing.STATE` says the same in SQL.
    """
    if status != "loading":
        return status
    on_top = {
        "silent": silent,
        "stalled": stalled,
        "contradiction": bool(contradiction),
        "waiting": waiting,
        "restarted": restarted,
    }
    return next((word for word, holds in on_top.items() if holds), status)
