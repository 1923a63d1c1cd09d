"""Prometheus metrics of the fleet, read from the database at each scrape in a constant number of queries.

Reads only. Figures by airline name the airline, so /metrics is for staff and the scraper alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
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


class FleetCollector(Collector):
    """Asks the database anew at each scrape; every process would say the same."""

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All of it, or only that the database is away."""
        up = GaugeMetricFamily("ifeportal_database_up", "Whether the database answered this scrape.")
        try:
            now = timezone.now()
            found = [*_jobs(now), *_alerts(now), *_loads(), *_tails(), *_anomalies(), *_usage(), *_feed()]
        except DatabaseTrouble as error:
            logger.warning("metrics: the database does not answer: %s", error)
            found = []
        up.add_metric([], float(bool(found)))
        return [up, *found]


def _jobs(now: datetime) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "ifeportal_job_success_age_seconds", "Since the last success; absent before the first.", labels=["job"]
    )
    overdue = GaugeMetricFamily(
        "ifeportal_job_overdue_seconds", "Past its time; 0 when not yet due or being done.", labels=["job"]
    )
    failures = GaugeMetricFamily("ifeportal_job_failures", "Failures in a row.", labels=["job"])
    took = GaugeMetricFamily("ifeportal_job_duration_seconds", "Of the last run that ended.", labels=["job"])
    for job in Job.objects.without_pacemaker().defer("error"):
        if job.succeeded_at:
            age.add_metric([job.name], (now - job.succeeded_at).total_seconds())
        if job.seconds is not None:
            took.add_metric([job.name], job.seconds)
        overdue.add_metric([job.name], job.lag(now))
        failures.add_metric([job.name], job.failures)
    yield from (age, overdue, failures, took)


def _alerts(now: datetime) -> Iterator[Metric]:
    found = status.current_alerts(now)
    for name, words, value in (
        ("jobs_late", "Jobs that are due for long and that nobody does.", found.jobs_late),
        ("jobs_failing", "Jobs whose last attempt failed.", found.jobs_failing),
        ("calls_waiting", "Calls to wake up that wait for a worker.", found.calls_waiting),
        ("pacemaker_alive", "Whether a pacemaker wakes the workers.", found.pacemaker),
    ):
        yield GaugeMetricFamily(f"ifeportal_{name}", words, value=float(value))


def _loads() -> Iterator[Metric]:
    """Of tails in service, as in every sum."""
    words = "Loads on tails in service by their one state."
    loads = GaugeMetricFamily("ifeportal_loads", words, labels=["airline", "state"])
    at_risk = GaugeMetricFamily(
        "ifeportal_loads_at_risk", "Loads that may not be complete when their exhibition starts.", labels=["airline"]
    )
    proven = GaugeMetricFamily(
        "ifeportal_loads_complete", "Complete loads by what is proven of them.", labels=["airline", "proof"]
    )
    # From the sums of the loads: the transfers are too many to be counted at each scrape.
    items = GaugeMetricFamily(
        "ifeportal_items",
        "Items of loads whose size is known: listed, done; and failed ones of all.",
        labels=["airline", "state"],
    )
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
    states: Counter[tuple[str, str]] = Counter()
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        airline = row["tail__airline__name"]
        states[airline, row["word"]] += row["n"]
        if row["word"] == State.COMPLETE:
            proven.add_metric([airline, row["proof"] or CLAIMED], row["n"])
        sums.setdefault(airline, Counter()).update({name: row[name] or 0 for name in ("risky", *ITEMS)})
    for (airline, word), number in states.items():
        loads.add_metric([airline, word], number)
    for airline, counts in sums.items():
        at_risk.add_metric([airline], counts["risky"])
        for state in ITEMS:
            items.add_metric([airline, state], counts[state])
    yield from (loads, at_risk, proven, items)


def _tails() -> Iterator[Metric]:
    tails = GaugeMetricFamily("ifeportal_tails", "Tails known by their duty.", labels=["airline", "duty"])
    silent = GaugeMetricFamily(
        "ifeportal_tails_silent", "Tails in service of which nothing was heard for long.", labels=["airline"]
    )
    heard = GaugeMetricFamily(
        "ifeportal_last_heard_timestamp_seconds",
        "When any of its tails last wrote anything.",
        labels=["airline"],
    )
    newest: dict[str, datetime] = {}
    counts = Tail.objects.order_by().values_list("airline__name", "duty")
    for name, duty, number, quiet, last in counts.annotate(
        n=Count("pk"), quiet=Count("pk", Q(silent=True)), newest=Max("heard_at")
    ):
        tails.add_metric([name, duty], number)
        if duty == ServiceStatus.ACTIVE:
            silent.add_metric([name], quiet)
        if last:
            newest[name] = max(last, newest.get(name, last))
    for name, last in newest.items():
        heard.add_metric([name], last.timestamp())
    yield from (tails, silent, heard)


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
    for name, counts in usage.by_airline().items():
        for kind in usage.PRICES:
            sent.add_metric([name, kind.removesuffix("_requests")], counts[kind])
        received.add_metric([name], counts["bytes_received"])
        price.add_metric([name], float(usage.price(counts)))
    yield from (sent, received, price)


def _feed() -> Iterator[Metric]:
    yield GaugeMetricFamily("ifeportal_feed_revision", "Newest revision of the change feed.", value=current_rev())
