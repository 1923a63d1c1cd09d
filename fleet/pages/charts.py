"""Charts: timestamps, series of numbers and a summary sentence, as JSON for scripts or as a file.

Reads the database only, for rows that the caller selected with `visible_to`. Numbers are None before the records begin
and after the buckets were last read. Browsers cache the JSON for some seconds and revalidate it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet.models import ProgressSample, Tail
from fleet.pages import freshness
from fleet.state.forecast import start_of_day
from fleet.stats.readiness import load_readiness
from fleet.stats.throughput import DAY, INTERVAL, Throughput, interval_start, throughput
from ifeportal import formatting
from ifeportal.access import visible_or_404
from ifeportal.exports.responses import export
from ifeportal.models import Airline
from ifeportal.tables.columns import Column, Table

Values = Sequence[int | None]


@dataclass(frozen=True)
class Series:
    """A series. `shape` is an area, steps, or the lower or upper edge of a band. `key` names it in files."""

    name: str
    key: str
    values: Values
    shape: str = "area"


@dataclass(frozen=True)
class Mark:
    """A time that is marked by a line."""

    at: datetime
    name: str


@dataclass(frozen=True)
class Limit:
    """The maximum of the numbers."""

    value: int
    name: str


@dataclass(frozen=True)
class Chart:
    """Numbers over time, in `bytes/s` or `tails`. `as_of`: when the buckets were last read, or None."""

    name: str
    unit: str
    at: Sequence[datetime]
    series: Sequence[Series]
    summary: str
    as_of: datetime | None
    marks: Sequence[Mark] = ()
    limit: Limit | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The JSON of the chart; times are seconds since 1970."""
        return {
            "unit": self.unit,
            "at": [int(moment.timestamp()) for moment in self.at],
            "series": [{"name": each.name, "shape": each.shape, "values": each.values} for each in self.series],
            "marks": [{"name": mark.name, "at": int(mark.at.timestamp())} for mark in self.marks],
            "limit": self.limit and {"name": self.limit.name, "value": self.limit.value},
            "summary": self.summary,
            "as_of": self.as_of and formatting.iso(self.as_of),
        }

    @property
    def table(self) -> Table:
        """The numbers as a table with one row per time."""
        unit = "_bps" if self.unit == "bytes/s" else ""
        columns = [Column("at", "At", _nth(0))]
        for index, each in enumerate(self.series, 1):
            columns.append(Column(each.key + unit, each.name.capitalize(), _nth(index)))
        return Table(self.name, columns, list(zip(self.at, *(each.values for each in self.series), strict=True)))


def _nth(index: int) -> Callable[[Sequence[Any]], object]:
    return lambda row: row[index]


def received_chart(airlines: Collection[Airline], now: datetime) -> Chart:
    """Return bytes per second received by the aircraft of these airlines in the last 24 hours; two queries."""
    read = [each.read_at for each in freshness.load_freshness(airlines, now).values() if each.read_at is not None]
    recorded_from = min((airline.created_at for airline in airlines), default=now)
    received = throughput([airline.pk for airline in airlines], now)
    name = f"{next(iter(airlines)).name} moved" if len(airlines) == 1 else "moved"
    return _throughput_chart(name, received, recorded_from, max(read, default=None))


def rate_chart(tail: Tail, now: datetime) -> Chart:
    """Return bytes per second received by an aircraft in the last 24 hours, from its samples; two queries."""
    fresh = freshness.airline_freshness(tail.airline, now)
    return _throughput_chart(f"{tail.name} rate", _sampled_throughput(tail, now), tail.created_at, fresh.read_at)


def _sampled_throughput(tail: Tail, now: datetime) -> Throughput:
    """Add up, by interval, the increases between consecutive samples of each load."""
    first, last = interval_start(now - DAY), interval_start(now)
    rows = ProgressSample.objects.filter(load__tail=tail, at__gte=first, at__lte=now).order_by("load", "at")
    at = [first + INTERVAL * number for number in range((last - first) // INTERVAL + 1)]
    received = [0] * len(at)
    load, previous = None, 0
    for pk, moment, number in rows.values_list("load", "at", "bytes_done"):
        if pk == load and number > previous:
            received[(moment - first) // INTERVAL] += number - previous
        load, previous = pk, number
    return Throughput(at, received, now)


def _throughput_chart(name: str, received: Throughput, recorded_from: datetime, read_at: datetime | None) -> Chart:
    known = [read_at is not None and interval_start(recorded_from) <= moment <= read_at for moment in received.at]
    rates = [rate if is_known else None for rate, is_known in zip(received.rates(), known, strict=True)]
    known_rates = [rate for rate in rates if rate is not None]
    if not known_rates:
        summary = "No data was recorded in the last 24 hours."
    elif not any(known_rates):
        summary = "Nothing was received in the last 24 hours."
    else:
        peak = max(known_rates)
        when = received.at[rates.index(peak)]
        summary = (
            f"{formatting.size(received.bytes)} received in the last 24 hours. "
            f"Peak: {formatting.rate(peak)} at about {when:%H:%M} UTC."
        )
    return Chart(name, "bytes/s", received.at, [Series("received", "received", rates)], summary, read_at)


def readiness_chart(campaign: Campaign, now: datetime) -> Chart:
    """Return how many tails in service completed a campaign and are expected to; three queries.

    `now` is rounded down to the minute, so that an unchanged chart has the same ETag.
    """
    now = now.replace(second=0, microsecond=0)
    fresh = freshness.airline_freshness(campaign.airline, now)
    readiness = load_readiness(campaign, now)
    series = [
        Series("complete", "hold_it", readiness.observed, "step"),
        Series("expected at least", "expected_at_least", readiness.fewest, "low"),
        Series("expected at most", "expected_at_most", readiness.most, "high"),
    ]
    marks = [Mark(now, "now")] if readiness.at[-1] > now else []
    if readiness.starts is not None:
        marks.append(Mark(start_of_day(readiness.starts), "exhibition starts"))
    limit = Limit(readiness.tails, "tails in service")
    name = f"{campaign.name} readiness"
    return Chart(name, "tails", readiness.at, series, readiness.summary(now), fresh.read_at, marks, limit)


BROWSER_CACHE_SECONDS: Final = 10  # in the browser; then it revalidates


@require_safe
def fleet_received(request: HttpRequest) -> HttpResponseBase:
    return _answer(request, received_chart(list(Airline.objects.visible_to(request.user)), timezone.now()))


@require_safe
def airline_received(request: HttpRequest, airline: str) -> HttpResponseBase:
    row = visible_or_404(Airline.objects.all(), request.user, name=airline)
    return _answer(request, received_chart([row], timezone.now()))


@require_safe
def tail_rate(request: HttpRequest, airline: str, tail: str) -> HttpResponseBase:
    row = visible_or_404(Tail.objects.select_related("airline"), request.user, airline__name=airline, name=tail)
    return _answer(request, rate_chart(row, timezone.now()))


@require_safe
def campaign_readiness(request: HttpRequest, airline: str, campaign: str) -> HttpResponseBase:
    rows = Campaign.objects.select_related("airline")
    row = visible_or_404(rows, request.user, airline__name=airline, name=campaign)
    return _answer(request, readiness_chart(row, timezone.now()))


def _answer(request: HttpRequest, chart: Chart) -> HttpResponseBase:
    file = export(request, chart.table)
    if file is not None:
        return file
    response = JsonResponse(chart.data)
    etag = f'"{sha256(response.content).hexdigest()[:32]}"'
    response["ETag"] = etag
    patch_cache_control(response, private=True, max_age=BROWSER_CACHE_SECONDS)
    conditional = get_conditional_response(request, etag=etag, response=response)
    return response if conditional is None else conditional
