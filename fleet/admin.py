"""Read-only admin of observed state: tails, loads, transfers, samples, anomalies, totals and usage."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.safestring import SafeString

from fleet import usage
from fleet.choices import Status
from fleet.models import AirlineTotals, Anomaly, Load, ProgressSample, Tail, Transfer, Usage
from fleet.pages import admin_overview
from fleet.state.precedence import CHOICES, in_state, transfer_in_state
from ifeportal.admin import columns
from ifeportal.admin.base import ReadOnlyAdmin, ReadOnlyScopedAdmin, page_link
from ifeportal.admin.overview import add_section
from ifeportal.exports.responses import direct
from ifeportal.tables.columns import Column, Table, fields


@admin.register(Tail)
class TailAdmin(ReadOnlyScopedAdmin[Tail]):
    """Aircraft and the last report of their loaders."""

    about = "Aircraft, and the last report of their loaders."
    names: ClassVar = {
        "heard_at": "last object at",
        "heartbeat_at": "last report at",
        "heartbeat_etag": "ETag of the last report",
        "rate_bps": "reported rate",
        "stores": "disks",
        "held": "campaigns on board",
        "keys": "objects in the bucket",
        "duty": "service status",
        "loader_reason": "reason of the loader",
        "awake_since": "seen without a gap since",
    }
    list_display = [
        "name",
        "airline",
        "duty",
        "heard",
        "heard_at",
        "loader_version",
        "loader_state",
        "loader_reason",
        "page",
    ]
    list_filter = ["duty", "silent", "loader_state", "signatures", "discovered", "loader_version", "airline"]
    list_select_related = ["airline"]
    search_fields = ["name", "airline__name", "aircraft_type"]
    date_hierarchy = "heard_at"

    @admin.display(description="contact", ordering="seen_at")
    def heard(self, tail: Tail) -> str:
        """Return a word: Django's icon for a false boolean would look like an error."""
        return "silent" if tail.silent else "in contact"


class LoadStateFilter(admin.SimpleListFilter):
    """Filter by the derived state that pages and the API show, or by `at_risk`."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word.replace("_", " ")) for word in CHOICES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        word = self.value()
        return queryset.filter(self.condition(word)) if word in CHOICES else queryset

    def condition(self, state: str) -> Q:
        return in_state(state)


class TransferStateFilter(LoadStateFilter):
    """Filter transfers by state."""

    def condition(self, state: str) -> Q:
        return transfer_in_state(state)


class ProgressAdmin(ReadOnlyScopedAdmin[Any]):
    """Columns shared by the lists of loads and transfers."""

    date_hierarchy = "as_of"

    @admin.display(description="state", ordering="status")
    def state_word(self, row: Load | Transfer) -> SafeString:
        return columns.state(row.state)

    @admin.display(description="progress")
    def percent(self, row: Load | Transfer) -> str:
        return "unknown" if row.percent is None else f"{row.percent}%"


@admin.register(Load)
class LoadAdmin(ProgressAdmin):
    """Loads: campaigns on tails."""

    about = "Campaigns on aircraft: how much is loaded, and what failed."
    list_display = [
        "tail",
        "airline",
        "campaign",
        "state_word",
        "risk",
        "percent",
        "proven",
        "items_done",
        "items_failed",
        "items_total",
        "error_code",
        "as_of",
        "page",
    ]
    list_filter = [LoadStateFilter, "proof", "contradiction", "tail__duty", "error_code", "tail__airline"]
    list_select_related = ["tail__airline", "campaign"]
    search_fields = ["tail__name", "campaign__name", "error"]

    @admin.display(description="risk", ordering="at_risk")
    def risk(self, load: Load) -> str:
        return "at risk" if load.at_risk else ""

    @admin.display(description="proof", ordering="proof")
    def proven(self, load: Load) -> str:
        return load.get_proof_display() if load.status == Status.COMPLETE else ""

    @admin.display(ordering="tail__airline__name")
    def airline(self, load: Load) -> str:
        return str(load.tail.airline)

    @admin.display(description="page")
    def page(self, row: Load) -> SafeString:
        return page_link(row.tail)


@admin.register(Transfer)
class TransferAdmin(ProgressAdmin):
    """Transfers: content items on tails."""

    about = "Content items on aircraft: one row for each item of each load."
    list_display = ["content", "tail", "campaign", "state_word", "percent", "error_code", "as_of", "page"]
    list_filter = [
        TransferStateFilter,
        "error_code",
        "unreadable",
        "oversized",
        "restarted",
        "listed",
        "load__tail__airline",
    ]
    list_select_related = ["load__tail__airline", "load__campaign"]
    search_fields = ["content", "load__tail__name", "load__campaign__name", "error"]

    @admin.display(ordering="load__tail__name")
    def tail(self, transfer: Transfer) -> str:
        return str(transfer.load.tail)

    @admin.display(ordering="load__campaign__name")
    def campaign(self, transfer: Transfer) -> str:
        return str(transfer.load.campaign)

    @admin.display(description="page")
    def page(self, row: Transfer) -> SafeString:
        return page_link(row.load.tail)


@admin.register(ProgressSample)
class ProgressSampleAdmin(ReadOnlyAdmin[ProgressSample]):
    """Bytes of a load over time."""

    group = "Observed data"
    about = "Bytes of a load over time. Charts are drawn from them."
    empty = "The poller adds a sample when a load makes progress."
    list_display = ["load", "at", columns.size("bytes_done", "received")]
    list_select_related = ["load__tail", "load__campaign"]
    search_fields = ["load__tail__name", "load__campaign__name"]
    date_hierarchy = "at"
    show_full_result_count = False


@admin.register(Anomaly)
class AnomalyAdmin(ReadOnlyScopedAdmin[Anomaly]):
    """Objects in the buckets that could not be read."""

    about = "Objects in the buckets that the portal cannot read, and why."
    empty = "All objects in the buckets follow the contract."
    list_display = [
        "problem",
        "bucket",
        columns.long_text("key", "key"),
        columns.long_text("detail", "detail"),
        "airline",
        "first_seen",
        "last_seen",
        "resolved_at",
    ]
    list_filter = ["bucket", "problem", ("resolved_at", admin.EmptyFieldListFilter), "airline"]
    list_select_related = ["airline"]
    search_fields = ["key", "detail", "problem"]
    date_hierarchy = "last_seen"


@admin.register(AirlineTotals)
class AirlineTotalsAdmin(ReadOnlyScopedAdmin[AirlineTotals]):
    """Stored totals of airlines, and what the last check corrected."""

    about = "Counts and sums of each airline, when they were last counted again, and what was corrected."
    empty = "A row appears for each airline with the first poll that finds something."
    list_display = ["airline", "tails", "loads", "ready", "checked_at", "corrections", "corrected_at", "correction"]
    list_select_related = ["airline"]
    search_fields = ["airline__name", "airline__title"]


def counts_of(row: Usage) -> dict[str, int]:
    return {name: getattr(row, name) for name in usage.COUNT_FIELDS}


def count_column(name: str) -> columns.Column:
    """Return the column of a count of requests or bytes."""
    words = name.replace("_requests", "").upper() if name.endswith("_requests") else name.replace("_", " ")
    return columns.size(name, words) if name.startswith("bytes") else columns.number(name, words)


USAGE: Final = Table(
    "usage",
    (
        *fields("day", get=attrgetter),
        Column("airline", "Airline", lambda row: row.airline.name if row.airline else ""),
        *fields(*usage.COUNT_FIELDS, get=attrgetter),
        Column("usd", "USD", lambda row: f"{usage.price(counts_of(row)):f}"),
    ),
)


@admin.register(Usage)
class UsageAdmin(ReadOnlyScopedAdmin[Usage]):
    """Requests to the buckets by airline and day, with totals and price."""

    about = "Requests to the buckets by airline and day, and their price."
    empty = "A row appears for each airline on each day with a poll."
    list_display = ["day", "whose", *map(count_column, usage.COUNT_FIELDS), "price"]
    list_filter = [("airline", admin.RelatedOnlyFieldListFilter), "day"]
    list_select_related = ["airline"]
    search_fields = ["airline__name", "airline__title"]
    date_hierarchy = "day"
    actions = ["export"]

    @admin.display(description="airline", ordering="airline__name")
    def whose(self, row: Usage) -> str:
        """Return the airline. Requests without one list the buckets to find new airlines."""
        return str(row.airline) if row.airline else "(airline discovery)"

    @admin.display(description="USD")
    def price(self, row: Usage) -> str:
        """Return the price of the requests at the S3 list price, in USD."""
        return f"{usage.price(counts_of(row)):.4f}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show totals above the list: of the listed rows and of the current month (UTC)."""
        answer = super().changelist_view(request, extra_context)
        context = getattr(answer, "context_data", {})
        if "cl" in context:
            month = self.get_queryset(request).filter(day__gte=timezone.now().date().replace(day=1))
            sums = (("Rows below", context["cl"].queryset), ("This month", month))
            totals = [(words, usage.totals(rows)) for words, rows in sums]
            context["sums"] = [(words, counts, f"{usage.price(counts):.4f}") for words, counts in totals]
        return answer

    @admin.action(description="Export as CSV", permissions=["view"])
    def export(self, request: HttpRequest, rows: QuerySet[Usage]) -> HttpResponseBase:
        return direct(request, USAGE.with_rows(rows.select_related("airline")), "csv", "usage.csv")


add_section("airlines", 30, admin_overview.section)
