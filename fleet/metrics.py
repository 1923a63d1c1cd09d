"""Prometheus metrics of the fleet, read from the database at each scrape in a constant number of queries.

Reads the database only. Labels name airlines, so only staff and the scraper may read /metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import Error as DatabaseTrouble
from django.db.models import Count, Max, Q
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet import usage
from fleet.choices import ServiceStatus, State
from fleet.models import AirlineTotals, Anomaly, Tail
from fleet.stats.totals import PROOFS
from ifeportal.jobs import status
from ifeportal.live.feed import current_rev
from ifeportal.models import Job
from ifeportal.operations import status as operations
from ifeportal.operations.models import OperationState

_ITEM_COLUMNS: Final = {"listed": "items_total", "done": "items_done", "failed": "items_failed"}
CLAIMED: Final = "claimed"  # proof label of a complete load that is not verified
logger = logging.getLogger(__name__)
Sample = tuple[str, tuple[str, ...], float]  # name of the family, label values, value


@dataclass(frozen=True)
class Family:
    """A metric: its name without the prefix `ifeportal_`, its help text and the names of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily

    def collect(self, samples: Iterable[Sample]) -> Metric:
        """Return the metric with its own samples."""
        metric = self.kind(f"ifeportal_{self.name}", self.help, labels=self.labels)
        for name, labels, value in samples:
            if name == self.name:
                metric.add_metric(labels, value)
        return metric


# Items come from the totals of loads: there are too many transfers to count at each scrape.
FAMILIES: Final = (
    Family("job_success_age_seconds", "Seconds since the last success; absent before the first.", ("job",)),
    Family("job_overdue_seconds", "Seconds that the job is overdue; 0 if not due or running.", ("job",)),
    Family("job_failures", "Consecutive failures.", ("job",)),
    Family("job_duration_seconds", "Duration of the last completed run.", ("job",)),
    Family("jobs_late", "Jobs that are overdue and not running."),
    Family("jobs_failing", "Jobs whose last attempt failed."),
    Family("calls_waiting", "Wake-up messages waiting for a worker."),
    Family("pacemaker_alive", "Whether a pacemaker is running."),
    Family("operations", "Operations that have not ended, by state.", ("kind", "lane", "state")),
    Family("operations_failed", "Operations that failed within the last 24 hours.", ("kind", "lane")),
    Family("operations_oldest_queued_seconds", "Age of the oldest operation in the queue.", ("kind", "lane")),
    Family("loads", "Loads on tails in service, by state.", ("airline", "state")),
    Family("loads_at_risk", "Loads that may be incomplete when their exhibition starts.", ("airline",)),
    Family("loads_complete", "Complete loads by verification.", ("airline", "proof")),
    Family("items", "Items: listed and done of loads of known size, failed of all loads.", ("airline", "state")),
    Family("tails", "Tails by service status.", ("airline", "duty")),
    Family("tails_silent", "Tails in service that have not reported for a long time.", ("airline",)),
    Family("last_heard_timestamp_seconds", "Time of the newest object of any of its tails.", ("airline",)),
    Family("anomalies", "Objects in the buckets that cannot be read.", ("bucket", "problem")),
    Family(
        "store_requests",
        "Requests to both buckets; without an airline, those that look for new airlines.",
        ("airline", "kind"),
        CounterMetricFamily,
    ),
    Family("store_received_bytes", "Bytes of the responses.", ("airline",), CounterMetricFamily),
    Family("store_price_usd", "Price of the requests at the S3 list price.", ("airline",), CounterMetricFamily),
    Family(
        "totals_corrections",
        "Stored rows of totals that the job check_totals had to correct.",
        ("airline",),
        CounterMetricFamily,
    ),
    Family("totals_checked_timestamp_seconds", "Time of the last check of all stored totals.", ("airline",)),
    Family("feed_revision", "Newest revision of the change feed."),
)


class FleetCollector(Collector):
    """Read the database at each scrape. Every process returns the same values."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing, because registering must not query the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return all metrics, or only `ifeportal_database_up` if the database does not answer."""
        up = GaugeMetricFamily("ifeportal_database_up", "Whether the database answered this scrape.")
        try:
            samples = list(_samples(timezone.now()))
        except DatabaseTrouble as error:
            logger.warning("metrics: the database is not responding: %s", error)
            up.add_metric([], 0.0)
            return [up]
        up.add_metric([], 1.0)
        return [up, *(family.collect(samples) for family in FAMILIES)]


def _samples(now: datetime) -> Iterator[Sample]:
    yield from _jobs(now)
    yield from _alerts(now)
    yield from _operations(now)
    yield from _loads()
    yield from _tails()
    yield from _anomalies()
    yield from _usage()
    yield from _corrections()
    yield "feed_revision", (), current_rev()


def _jobs(now: datetime) -> Iterator[Sample]:
    for job in Job.objects.without_pacemaker().defer("error"):
        if job.succeeded_at:
            yield "job_success_age_seconds", (job.name,), (now - job.succeeded_at).total_seconds()
        if job.seconds is not None:
            yield "job_duration_seconds", (job.name,), job.seconds
        yield "job_overdue_seconds", (job.name,), job.lag(now)
        yield "job_failures", (job.name,), job.failures


def _alerts(now: datetime) -> Iterator[Sample]:
    found = status.current_alerts(now)
    yield "jobs_late", (), found.jobs_late
    yield "jobs_failing", (), found.jobs_failing
    yield "calls_waiting", (), found.calls_waiting
    yield "pacemaker_alive", (), found.pacemaker


def _operations(now: datetime) -> Iterator[Sample]:
    for found in operations.current_figures(now):
        if found.state == OperationState.FAILED:
            yield "operations_failed", (found.kind, found.lane), found.number
            continue
        yield "operations", (found.kind, found.lane, found.state), found.number
        if found.state == OperationState.QUEUED:
            yield "operations_oldest_queued_seconds", (found.kind, found.lane), found.oldest_age


def _loads() -> Iterator[Sample]:
    """Yield samples of loads on tails in service, which all totals are restricted to. A word without loads has none."""
    for totals in AirlineTotals.objects.select_related("airline").filter(newest_load__gt=0):
        airline = totals.airline.name
        counts = [("loads", state, getattr(totals, state)) for state in State.values]
        counts += [("loads_complete", proof or CLAIMED, getattr(totals, name)) for name, proof in PROOFS.items()]
        for family, word, number in counts:
            if number:
                yield family, (airline, word), number
        yield "loads_at_risk", (airline,), totals.at_risk
        for state, column in _ITEM_COLUMNS.items():
            yield "items", (airline, state), getattr(totals, column) or 0


def _corrections() -> Iterator[Sample]:
    for name, number, at in AirlineTotals.objects.values_list("airline__name", "corrections", "checked_at"):
        yield "totals_corrections", (name,), number
        if at:
            yield "totals_checked_timestamp_seconds", (name,), at.timestamp()


def _tails() -> Iterator[Sample]:
    newest: dict[str, datetime] = {}
    counts = Tail.objects.order_by().values_list("airline__name", "duty")
    for name, duty, number, quiet, last in counts.annotate(
        n=Count("pk"), quiet=Count("pk", Q(silent=True)), newest=Max("heard_at")
    ):
        yield "tails", (name, duty), number
        if duty == ServiceStatus.ACTIVE:
            yield "tails_silent", (name,), quiet
        if last:
            newest[name] = max(last, newest.get(name, last))
    for name, last in newest.items():
        yield "last_heard_timestamp_seconds", (name,), last.timestamp()


def _anomalies() -> Iterator[Sample]:
    open_ones = Anomaly.objects.filter(resolved_at=None).order_by()
    for bucket, problem, number in open_ones.values_list("bucket", "problem").annotate(n=Count("pk")):
        yield "anomalies", (bucket, problem), number


def _usage() -> Iterator[Sample]:
    for name, counts in usage.by_airline().items():
        for kind in usage.PRICES:
            yield "store_requests", (name, kind.removesuffix("_requests")), counts[kind]
        yield "store_received_bytes", (name,), counts["bytes_received"]
        yield "store_price_usd", (name,), float(usage.price(counts))
