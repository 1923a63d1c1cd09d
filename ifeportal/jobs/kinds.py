"""Kinds of periodic work, as the settings define them. Pure: imports nothing, so that the settings can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AirlineJob:
    """Work that is done for each airline. `function` is its dotted path.

    `urgent_when_viewed`: an open page of the airline makes the work due sooner, and puts it before other work.
    """

    function: str
    urgent_when_viewed: bool = False
