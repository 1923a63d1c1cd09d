"""The portal's numbers for Prometheus, read from the database when somebody asks: a constant number of queries.

Read only. What is counted by airline names it, so that /metrics is for staff and the scraper alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime

from django.db import Error as DatabaseTrouble
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet import ledger
from fleet.models import Anomaly, Load, Tail, Transfer
from ifeportal.live.feed import current_rev
from ifeportal.models import Job

logger = logging.getLogger(__name__)


class FleetCollector(Collector):
    """Asks the database anew at each scrape; every process would say the same."""

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All of it, or only that the database is away."""
        up = GaugeMetricFamily("ifeportal_database_up", "Whether the database answered this scrape.")
        try:
            found = [*_jobs(timezone.now()), *_measured(), *_tails(), *_anomalies(), *_usage(), *_feed()]
        except DatabaseTrouble as error:
            logger.warning("metrics: the database does not answer: %s", error)
            found = []
        up.add_metric([], float(bool(found)))
        return [up, *found]


def _jobs(now: datetime) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "ifeportal_job_success_age_seconds", "Since the last success; absent before the first.", labels=["job"]
    )
    overdue = GaugeMetricFamily("ifeportal_job_overdue_seconds", "Past its time; 0 when not yet due.", labels=["job"])
    failures = GaugeMetricFamily("ifeportal_job_failures", "Failures in a row.", labels=["job"])
    for job in Job.objects.only("name", "due_at", "succeeded_at", "failures"):
        if job.succeeded_at:
            age.add_metric([job.name], (now - job.succeeded_at).total_seconds())
        overdue.add_metric([job.name], max((now - job.due_at).total_seconds(), 0.0))
        failures.add_metric([job.name], job.failures)
    yield from (age, overdue, failures)


def _measured() -> Iterator[Metric]:
    yield from _by_status("transfers", Transfer.objects.all(), "load__tail__airline__name")
    yield from _by_status("loads", Load.objects.all(), "tail__airline__name")


def _by_status(what: str, rows: QuerySet[Load] | QuerySet[Transfer], airline: str) -> Iterator[Metric]:
    counted = GaugeMetricFamily(f"ifeportal_{what}", f"{what.capitalize()} by status.", labels=["airline", "status"])
    stalled = GaugeMetricFamily(f"ifeportal_{what}_stalled", f"{what.capitalize()} standing still.", labels=["airline"])
    standing: dict[str, int] = {}
    counts = rows.order_by().values_list(airline, "status").annotate(n=Count("pk"), still=Count("pk", Q(stalled=True)))
    for name, status, number, still in counts:
        counted.add_metric([name, status], number)
        standing[name] = standing.get(name, 0) + still
    for name, number in standing.items():
        stalled.add_metric([name], number)
    yield from (counted, stalled)


def _tails() -> Iterator[Metric]:
    tails = GaugeMetricFamily("ifeportal_tails", "Tails known.", labels=["airline"])
    heard = GaugeMetricFamily(
        "ifeportal_last_heard_timestamp_seconds",
        "When any of its tails last wrote anything.",
        labels=["airline"],
    )
    counts = Tail.objects.order_by().values_list("airline__name").annotate(n=Count("pk"), newest=Max("heard_at"))
    for name, number, newest in counts:
        tails.add_metric([name], number)
        if newest:
            heard.add_metric([name], newest.timestamp())
    yield from (tails, heard)


def _anomalies() -> Iterator[Metric]:
    family = GaugeMetricFamily("ifeportal_anomalies", "Keys that are not understood now.", labels=["bucket", "problem"])
    open_ones = Anomaly.objects.filter(resolved_at=None).order_by()
    for bucket, problem, number in open_ones.values_list("bucket", "problem").annotate(n=Count("pk")):
        family.add_metric([bucket, problem], number)
    yield family


def _usage() -> Iterator[Metric]:
    words = "Requests to both buckets; without an airline those that look for new ones."
    sent = CounterMetricFamily("ifeportal_store_requests", words, labels=["airline", "kind"])
    received = CounterMetricFamily("ifeportal_store_received_bytes", "Bytes of the answers.", labels=["airline"])
    price = CounterMetricFamily("ifeportal_store_price_usd", "The requests at S3's list price.", labels=["airline"])
    for name, counts in ledger.by_airline().items():
        for kind in ledger.PRICES:
            sent.add_metric([name, kind.removesuffix("_requests")], counts[kind])
        received.add_metric([name], counts["bytes_received"])
        price.add_metric([name], float(ledger.price(counts)))
    yield from (sent, received, price)


def _feed() -> Iterator[Metric]:
    yield GaugeMetricFamily("ifeportal_feed_revision", "Newest revision of the change feed.", value=current_rev())
