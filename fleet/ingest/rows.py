"""Locks on tails, and the stored object versions of loads."""

from __future__ import annotations

from collections.abc import Collection

from fleet.models import Load, Tail, Transfer
from ifeportal.bulk import where_pk_in
from ifeportal.models import Airline


def lock_tails(airline: Airline, pks: Collection[int]) -> dict[int, Tail]:
    """The tails by id, locked until the transaction ends. All writers take them in order: none waits in a circle."""
    rows = Tail.objects.filter(where_pk_in(Tail, pks)).order_by("pk").select_for_update()
    tails = {row.pk: row for row in rows}
    for row in tails.values():
        row.airline = airline
    return tails


def clear_object_versions(loads: Collection[int]) -> None:
    """Have the rows of these loads rest on no object any more, so that none is missed and each that is there is read.

    What the objects said stays. To be called in the transaction in which the loads come back to life.
    """
    transfers = Transfer.objects.filter(load__in=loads)
    transfers.exclude(progress_etag="").update(progress_etag="", progress_at=None)
    transfers.exclude(error_etag="").update(error_etag="", error_at=None)
    Load.objects.filter(pk__in=loads).exclude(error_etag="").update(error_etag="", error_at=None)
