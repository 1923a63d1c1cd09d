"""Locks on tails, and the stored object versions of loads."""

from __future__ import annotations

from collections.abc import Collection

from fleet.models import Load, Tail, Transfer
from ifeportal.bulk import where_pk_in
from ifeportal.models import Airline


def lock_tails(airline: Airline, pks: Collection[int]) -> dict[int, Tail]:
    """Return the tails by id, locked until the transaction ends."""
    rows = Tail.objects.filter(where_pk_in(Tail, pks)).locked()
    tails = {row.pk: row for row in rows}
    for row in tails.values():
        row.airline = airline
    return tails


def clear_object_versions(loads: Collection[int]) -> None:
    """Clear the stored object versions of these loads, so that the next poll reads every object again.

    The values read from the objects stay. Call it in the transaction in which archived loads become active again.
    """
    transfers = Transfer.objects.filter(load__in=loads)
    transfers.exclude(progress_etag="").update(progress_etag="", progress_at=None)
    transfers.exclude(error_etag="").update(error_etag="", error_at=None)
    Load.objects.filter(pk__in=loads).exclude(error_etag="").update(error_etag="", error_at=None)
