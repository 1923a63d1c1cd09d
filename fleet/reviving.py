"""What becomes of the rows of an archived load of which there is news again. May only update rows."""

from __future__ import annotations

from collections.abc import Collection

from fleet.models import Load, Transfer


def forget_objects(loads: Collection[int]) -> None:
    """Have the rows of these loads rest on no object any more, so that none is missed and each that is there is read.

    What the objects said stays. To be called in the transaction in which the loads come back to life.
    """
    transfers = Transfer.objects.filter(load__in=loads)
    transfers.exclude(progress_etag="").update(progress_etag="", progress_at=None)
    transfers.exclude(error_etag="").update(error_etag="", error_at=None)
    Load.objects.filter(pk__in=loads).exclude(error_etag="").update(error_etag="", error_at=None)
