"""Prometheus metrics of the fleet, read from the database at each scrape in a constant number of queries.

Reads only. Figures by airline name the airline, so /metrics is for staff and the scraper alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet import usage
from fleet.choices import ServiceStatus, State, Status
from fleet.models import Anomaly, Load, Tail
from fleet.state.precedence import LOAD_STATE
from ifeportal.jobs import status
from ifeportal.live.feed import current_rev
from ifeportal.models import Job

ITEMS: Final = ("listed", "done", "failed")
CLAIMED: Final = "claimed"  # the proof of a complete load of which nothing is proven
logger = logging.getLogger(__name__)
Sample = tuple[str, tuple[str, ...], float]  # name of the family, values of its labels, value


@dataclass(frozen=True)
class Family:
    """A metric: its name without `ifeportal_`, its help, the names of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily

    def collect(self, samples: Iterable[Sample]) -> Metric:
        """The metric with those of the samples that are its own."""
        metric = self.kind(f"ifeportal_{self.name}", self.help, labels=self.labels)
        for name, labels, value in samples:
            if name == self.name:
                metric.add_metric(labels, value)
        return metric


# Items are counted from the sums of the loads: the transfers are too many to be counted at each scrape.
FAMILIES: Final = (
    Family("job_success_age_seconds", "Since the last success; absent before the first.", ("job",)),
    Family("job_overdue_seconds", "Past its time; 0 when not yet due or being done.", ("job",)),
    Family("job_failures", "Failures in a row.", ("job",)),
    Family("job_duration_seconds", "Of the last run that ended.", ("job",)),
    Family("jobs_late", "Jobs that are due for long and that nobody does."),
    Family("jobs_failing", "Jobs whose last attempt failed."),
    Family("calls_waiting", "Calls to wake up that wait for a worker."),
    Family("pacemaker_alive", "Whether a pacemaker wakes the workers."),
    Family("loads", "Loads on tails in service by their one state.", ("airline", "state")),
    Family("loads_at_risk", "Loads that may not be complete when their exhibition starts.", ("airline",)),
    Family("loads_complete", "Complete loads by what is proven of them.", ("airline", "proof")),
    Family("items", "Items of loads whose size is known: listed, done; and failed ones of all.", ("airline", "state")),
    Family("tails", "Tails known by their duty.", ("airline", "duty")),
    Family("tails_silent", "Tails in service of which nothing was heard for long.", ("airline",)),
    Family("last_heard_timestamp_seconds", "When any of its tails last wrote anything.", ("airline",)),
    Family("anomalies", "Keys that are not understood now.", ("bucket", "problem")),
    Family(
        "store_requests",
        "Requests to both buckets; without an airline those that look for new ones.",
        ("airline", "kind"),
        CounterMetricFamily,
    ),
    Family("store_received_bytes", "Bytes of the answers.", ("airline",), CounterMetricFamily),
    Family("store_price_usd", "The requests at S3's list price.", ("airline",), CounterMetricFamily),
    Family("feed_revision", "Newest revision of the change feed."),
)


class FleetCollector(Collector):
    """Asks the database anew at each scrape; every process would say the same."""

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All of it, or only that the database is away."""
        up = GaugeMetricFamily("ifeportal_database_up", "Whether the database answered this scrape.")
        try:
            samples = list(_samples(timezone.now()))
        except DatabaseTrouble as error:
            logger.warning("metrics: the database does not answer: %s", error)
            up.add_metric([], 0.0)
            return [up]
        up.add_metric([], 1.0)
        return [up, *(family.collect(samples) for family in FAMILIES)]


def _samples(now: datetime) -> Iterator[Sample]:
    yield from _jobs(now)
    yield from _alerts(now)
    yield from _loads()
    yield from _tails()
    yield from _anomalies()
    yield from _usage()
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


def _loads() -> Iterator[Sample]:
    """Of tails in service, as in every sum."""
    there = ~Q(status=Status.DELETED)
    known = there & Q(bytes_total__isnull=False)
    rows: Iterable[Any] = (
        Load.objects.filter(tail__duty=ServiceStatus.ACTIVE)
        .order_by()
        .values("tail__airline__name", "proof", word=LOAD_STATE)
        .annotate(
            n=Count("pk"),
            risky=Count("pk", there & Q(at_risk=True)),
            listed=Sum("items_total", filter=known),
            done=Sum("items_done", filter=known),
            failed=Sum("items_failed", filter=there),
        )
    )
    sums: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for row in rows:
        airline = row["tail__airline__name"]
        sums["loads", (airline, row["word"])] += row["n"]
        sums["loads_at_risk", (airline,)] += row["risky"]
        if row["word"] == State.COMPLETE:
            sums["loads_complete", (airline, row["proof"] or CLAIMED)] += row["n"]
        for state in ITEMS:
            sums["items", (airline, state)] += row[state] or 0
    return ((name, labels, number) for (name, labels), number in sums.items())


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
