"""Aggregates over the transfers of loads: sums, errors and rates, one query each for any number of loads.

Reads transfers, loads and samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, OuterRef, Q, Subquery, Window
from django.db.models.functions import Lag, Lead

from fleet.choices import Status
from fleet.models import Load, ProgressSample, Transfer
from fleet.state import forecast, rates
from fleet.state.load import ItemError, TransferTotals
from fleet.stats import rollup
from ifeportal.bulk import where_fk_in, where_pk_in


def aggregate_transfers(loads: Mapping[int, bool]) -> dict[int, TransferTotals]:
    """Return the totals of each load: of listed transfers, or of all where the manifest is not known (False)."""
    unknown = [pk for pk, is_known in loads.items() if not is_known]
    counted = Q(listed=True) | Q(where_fk_in(Transfer, "load", unknown)) if unknown else Q(listed=True)
    found = (
        Transfer.objects.filter(where_fk_in(Transfer, "load", loads))
        .filter(counted)
        .order_by()
        .values("load")
        .annotate(
            items=Count("pk"),
            done=Count("pk", filter=Q(status=Status.COMPLETE)),
            failed=Count("pk", filter=Q(status=Status.FAILED)),
            loading=Count("pk", filter=Q(status=Status.LOADING)),
            deleted=Count("pk", filter=Q(status=Status.DELETED)),
            reported=Count("pk", filter=~Q(progress_etag="")),
            restarted=Count("pk", filter=Q(restarted=True)),
            oversized=Count("pk", filter=Q(oversized=True)),
            errors_left=Count("pk", filter=Q(error_past=True)),
            newest=Max("as_of"),
            first=Min("started_at"),
            last=Max("finished_at"),
            **rollup.split_sum("sum_done", "bytes_done", default=0),
            **rollup.split_sum("sum_total", "bytes_total", default=0),
        )
    )
    totals = {row["load"]: _totals(row, known=loads[row["load"]]) for row in found}
    return {pk: totals.get(pk) or TransferTotals(bytes_total=0 if is_known else None) for pk, is_known in loads.items()}


def _totals(row: Mapping[str, Any], *, known: bool) -> TransferTotals:
    total = rollup.join_sum(row["sum_total_high"], row["sum_total_low"]) or 0
    return TransferTotals(
        items=row["items"],
        done=row["done"],
        failed=row["failed"],
        loading=row["loading"],
        deleted=row["deleted"],
        reported=row["reported"],
        restarted=row["restarted"],
        oversized=row["oversized"],
        errors_left=row["errors_left"],
        bytes_done=rollup.join_sum(row["sum_done_high"], row["sum_done_low"]) or 0,
        bytes_total=total if known else None,
        as_of=row["newest"],
        started_at=row["first"],
        finished_at=row["last"],
    )


def latest_errors(loads: Collection[int]) -> dict[int, ItemError]:
    """Return the newest error among the failed items of each load."""
    if not loads:
        return {}
    failed = Transfer.objects.filter(load=OuterRef("pk"), status=Status.FAILED).order_by("-listed", "-error_at", "pk")
    failing = Load.objects.filter(where_pk_in(Load, loads)).order_by()
    newest = failing.annotate(newest=Subquery(failed.values("pk")[:1])).values_list("newest", flat=True)
    rows = Transfer.objects.filter(where_pk_in(Transfer, newest)).order_by()
    found = rows.values_list("load_id", "content", "error_code", "error")
    return {load: ItemError(content, code, text) for load, content, code, text in found}


def windowed_rates(moved: Collection[Load], done: Mapping[int, TransferTotals], now: datetime) -> dict[int, int | None]:
    """Return the rate of each load over the last minute of change, this change included."""
    if not moved:
        return {}
    samples = _rate_samples(moved, now)
    for row in moved:
        window = samples[row.pk]
        if not window and row.moved_at is not None and row.moved_at < now:
            window.append(rates.RateSample(row.moved_at, row.bytes_done))
        window.append(rates.RateSample(now, done[row.pk].bytes_done))
    return {load: rates.windowed_rate(window) for load, window in samples.items()}


def baseline_samples(moved: Collection[Load], now: datetime) -> dict[int, rates.RateSample]:
    """Return the sample from which the effective rate is counted, for loads whose span has become too long."""
    aged = {row.pk for row in moved if row.effective_since and now - row.effective_since > forecast.SPAN_AT_MOST}
    if not aged:
        return {}
    span = ProgressSample.objects.filter(where_fk_in(ProgressSample, "load", aged))
    rows = span.filter(at__gte=now - forecast.SPAN).order_by("load", "at").values_list("load", "at", "bytes_done")
    samples: dict[int, list[rates.RateSample]] = {}
    for load, at, bytes_done in rows:
        samples.setdefault(load, []).append(rates.RateSample(at, bytes_done))
    baselines = {load: forecast.baseline_sample(found, now) for load, found in samples.items()}
    return {load: first for load, first in baselines.items() if first is not None}


def _rate_samples(loads: Collection[Load], now: datetime) -> dict[int, list[rates.RateSample]]:
    """Return the samples that decide a rate: the newest, and the oldest since the bytes last went down."""
    theirs = where_fk_in(ProgressSample, "load", (row.pk for row in loads))
    recent = ProgressSample.objects.filter(theirs, at__gt=now - rates.WINDOW, at__lt=now).annotate(
        previous=Window(Lag("bytes_done"), partition_by="load", order_by="at"),
        following=Window(Lead("at"), partition_by="load", order_by="at"),
    )
    deciding = recent.filter(Q(previous=None) | Q(previous__gt=F("bytes_done")) | Q(following=None)).order_by("at")
    samples: dict[int, list[rates.RateSample]] = {row.pk: [] for row in loads}
    for load, at, bytes_done, previous in deciding.values_list("load_id", "at", "bytes_done", "previous"):
        if previous is not None and previous > bytes_done:
            samples[load].clear()
        samples[load].append(rates.RateSample(at, bytes_done))
    return samples
