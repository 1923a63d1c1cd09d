"""Limits on the rows that are created from objects of third parties."""

from __future__ import annotations

from dataclasses import dataclass

from loader.contract import manifest


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is made by itself from what strangers write; above it there is an anomaly instead of rows."""

    airlines: int = 1_000
    tails: int = 5_000  # of one airline
    tails_in_all: int = 300_000
    campaigns: int = 2_000  # of one airline
    campaigns_in_all: int = 50_000
    objects: int = 3 * manifest.ITEMS_LIMIT  # of one load: its rows, and the objects new in one poll
    pending_objects: int = 10_000  # objects seen that wait to be read and written: bounds the memory of a first poll
    keys: int = 200_000  # of one listing, which takes some seconds; twice what an airline has that is not cut
    anomalies: int = 500  # open ones of one part of an airline
