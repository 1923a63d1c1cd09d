"""Sentences on how many tails are complete and how many are not counted. Pure."""

from __future__ import annotations

from ifeportal.formatting import quantity


def coverage(ready: int, tails: int, tails_out: int) -> str:
    """Return how many of the tails in service have completed all their loads, and how many tails are not counted."""
    completed = f"{ready:,} of {quantity(tails, 'tail')} in service completed all loads."
    return f"{completed} {excluded(tails_out)}".rstrip()


def excluded(tails_out: int) -> str:
    """Return how many tails are not counted; empty for none."""
    if not tails_out:
        return ""
    return f"{quantity(tails_out, 'stored or retired tail')} {'is' if tails_out == 1 else 'are'} not counted."
