"""Viewsets of airlines, campaigns, tails, loads, transfers and anomalies.

`fleet.serialization` builds each row for the API, the pages and the feed alike. The only writable fields are service
status and aircraft type of a tail.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.models import Campaign
from fleet.api.filters import AirlineFilter, AnomalyFilter, CampaignFilter, LoadFilter, TailFilter, TransferFilter
from fleet.api.serializers import (
    AirlineSerializer,
    AnomalySerializer,
    CampaignSerializer,
    LoadSerializer,
    TailSerializer,
    TailUpdateSerializer,
    TransferSerializer,
)
from fleet.choices import ServiceStatus
from fleet.models import Anomaly, Load, Tail, Transfer
from fleet.serialization import serialize_tail
from fleet.service_status import update_tail
from fleet.stats import rollup
from ifeportal import audit
from ifeportal.access import Role, role_or_403
from ifeportal.api.schema import with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, column_names
from ifeportal.models import Airline

PROGRESS_ORDERINGS = {
    name: name
    for name in ("status", "bytes_done", "bytes_total", "rate_bps", "as_of", "started_at", "finished_at", "error_code")
}
# Columns of joined rows: all of them would be about a hundred, including the airline's logo.
TAIL_NAME_COLUMNS = ("tail__name", "tail__airline__name", "campaign__name")
LOAD_COLUMNS = ("silent", "waiting", *TAIL_NAME_COLUMNS)
TOTALS_ORDERINGS = {name: f"{rollup.PREFIX}{name}" for name in rollup.SORTABLE}


@with_summaries("airlines", "List airlines", "Retrieve an airline")
class AirlineViewSet(ReadOnlyViewSet[Airline]):
    """Airlines with the totals of their loads."""

    queryset = Airline.objects.defer("contact")
    serializer_class = AirlineSerializer
    filterset_class = AirlineFilter
    search_fields = ["name", "title"]
    default_ordering = ["name"]
    orderings = {"airline": "name", **TOTALS_ORDERINGS}

    def with_totals(self, rows: QuerySet[Airline]) -> QuerySet[Airline]:
        return rollup.sortable(rollup.airlines(rows))


@with_summaries("campaigns", "List campaigns", "Retrieve a campaign")
class CampaignViewSet(ReadOnlyViewSet[Campaign]):
    """Campaigns with the totals of their loads on all tails."""

    queryset = Campaign.objects.select_related("airline").defer("airline__contact", "extra")
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilter
    search_fields = ["name", "title"]
    default_ordering = ["airline__name", "-exhibition_starts", "name"]
    orderings = {
        "airline": "airline__name",
        "campaign": "name",
        "exhibition_starts": "exhibition_starts",
        "exhibition_ends": "exhibition_ends",
        **TOTALS_ORDERINGS,
    }

    def with_totals(self, rows: QuerySet[Campaign]) -> QuerySet[Campaign]:
        return rollup.sortable(rollup.campaigns(rows))


@with_summaries("tails", "List tails", "Retrieve a tail")
class TailViewSet(ReadOnlyViewSet[Tail]):
    """Aircraft with the totals of their loads."""

    queryset = Tail.objects.select_related("airline").defer("airline__contact", "held")
    serializer_class = TailSerializer
    filterset_class = TailFilter
    search_fields = ["name", "loader_reason"]
    default_ordering = ["airline__name", "name"]
    orderings = {
        "airline": "airline__name",
        "tail": "name",
        "heard_at": "heard_at",
        "heartbeat_at": "heartbeat_at",
        **TOTALS_ORDERINGS,
    }

    def with_totals(self, rows: QuerySet[Tail]) -> QuerySet[Tail]:
        return rollup.tails(rows)

    @extend_schema(
        summary="Set service status and aircraft type of a tail",
        description="For operators of the airline. Omitted fields do not change.",
        tags=["tails"],
        request=TailUpdateSerializer,
        responses=TailSerializer,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Update the given fields and return the row. Raises Http404, PermissionDenied, ValidationError."""
        row = role_or_403(Tail.objects.select_related("airline"), request.user, Role.OPERATOR, pk=pk)
        serializer = TailUpdateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = {name: str(value) for name, value in serializer.validated_data.items()}
        changes = {name: (getattr(row, name), value) for name, value in given.items() if getattr(row, name) != value}
        if changes:
            with transaction.atomic():
                audit.record(audit.Actor.of(request), "tail.duty", row.name, airline=row.airline, changes=changes)
                duty = ServiceStatus(given.get("duty", row.duty))
                update_tail(row, duty, given.get("aircraft_type", row.aircraft_type))
        return Response(serialize_tail(rollup.tails(Tail.objects.filter(pk=row.pk)).get()))


@with_summaries("loads", "List loads", "Retrieve a load")
class LoadViewSet(ReadOnlyViewSet[Load]):
    """Loads: campaigns on tails."""

    queryset = Load.objects.select_related("tail__airline", "campaign").only(*column_names(Load), *TAIL_NAME_COLUMNS)
    serializer_class = LoadSerializer
    filterset_class = LoadFilter
    search_fields = ["tail__name", "campaign__name", "error"]
    default_ordering = ["tail__airline__name", "tail__name", "campaign__name"]
    orderings = {
        "airline": "tail__airline__name",
        "tail": "tail__name",
        "campaign": "campaign__name",
        "items_done": "items_done",
        "items_failed": "items_failed",
        **PROGRESS_ORDERINGS,
    }


@with_summaries("transfers", "List transfers", "Retrieve a transfer")
class TransferViewSet(ReadOnlyViewSet[Transfer]):
    """Transfers: content items on tails."""

    queryset = Transfer.objects.select_related("load__tail__airline", "load__campaign").only(
        *column_names(Transfer), "load__tail", "load__campaign", *(f"load__{name}" for name in LOAD_COLUMNS)
    )
    serializer_class = TransferSerializer
    filterset_class = TransferFilter
    search_fields = ["content", "load__tail__name", "load__campaign__name", "error"]
    default_ordering = ["load_id", "content"]
    orderings = {
        "airline": "load__tail__airline__name",
        "tail": "load__tail__name",
        "campaign": "load__campaign__name",
        "content": "content",
        **PROGRESS_ORDERINGS,
    }


@with_summaries("anomalies", "List anomalies", "Retrieve an anomaly")
class AnomalyViewSet(ReadOnlyViewSet[Anomaly]):
    """Objects in the buckets that could not be read. Only staff see those that name no known airline."""

    queryset = Anomaly.objects.select_related("airline").defer("airline__contact")
    serializer_class = AnomalySerializer
    filterset_class = AnomalyFilter
    search_fields = ["key", "detail"]
    default_ordering = ["-last_seen"]
    orderings = {"airline": "airline__name", "problem": "problem", "first_seen": "first_seen", "last_seen": "last_seen"}
