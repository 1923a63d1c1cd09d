"""Limits on the rows that are created from objects of third parties."""

from __future__ import annotations

from dataclasses import dataclass

from loader.contract import manifest


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the rows created from objects that third parties write. Above them an anomaly is recorded instead."""

    airlines: int = 1_000
    tails: int = 5_000  # of one airline
    tails_in_all: int = 300_000
    campaigns: int = 2_000  # of one airline
    campaigns_in_all: int = 50_000
    objects: int = 3 * manifest.ITEMS_LIMIT  # of one load: its rows, and its new objects in one poll
    pending_objects: int = 10_000  # changed objects not written yet: bounds the memory of a first poll
    tail_objects: int = 2_000  # changed objects of one tail that are read before those of the others
    waiting_objects: int = 50_000  # changed objects that wait until the listing is read: about 30 MB
    keys: int = 200_000  # of one listing: some seconds, and twice the size at which an airline is partitioned
    anomalies: int = 500  # open, of one partition of an airline
