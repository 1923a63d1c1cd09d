"""View sets of the API: airlines and campaigns with their totals, tails, loads, transfers, anomalies.

Each row is built by `fleet.serialization`, which pages and the feed use too, so that all say the same. Only whether a
tail is in service, and its type, can be written.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
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
from ifeportal.api.viewsets import ReadOnlyViewSet, column_names
from ifeportal.models import Airline

PROGRESS_ORDERINGS = {
    name: name
    for name in ("status", "bytes_done", "bytes_total", "rate_bps", "as_of", "started_at", "finished_at", "error_code")
}
# What of the joined rows is shown: all of them would be a hundred columns, a logo among them.
TAIL_NAME_COLUMNS = ("tail__name", "tail__airline__name", "campaign__name")
LOAD_COLUMNS = ("silent", "waiting", *TAIL_NAME_COLUMNS)
TOTALS_ORDERINGS = {
    name: f"{rollup.PREFIX}{name}"
    for name in ("loads", *rollup.COUNTED_STATES, "at_risk", "items_done", "items_failed", "as_of")
}


@extend_schema_view(
    list=extend_schema(summary="List airlines", tags=["airlines"]),
    retrieve=extend_schema(summary="One airline", tags=["airlines"]),
)
class AirlineViewSet(ReadOnlyViewSet[Airline]):
    """The airlines the user may see."""

    queryset = Airline.objects.defer("contact")
    serializer_class = AirlineSerializer
    filterset_class = AirlineFilter
    search_fields = ["name", "title"]
    default_ordering = ["name"]
    orderings = {"airline": "name", **TOTALS_ORDERINGS}

    def with_totals(self, rows: QuerySet[Airline]) -> QuerySet[Airline]:
        """The sums of all their loads."""
        return rollup.airlines(rows)


@extend_schema_view(
    list=extend_schema(summary="List campaigns", tags=["campaigns"]),
    retrieve=extend_schema(summary="One campaign", tags=["campaigns"]),
)
class CampaignViewSet(ReadOnlyViewSet[Campaign]):
    """Content cycles, with how far they have got on all tails."""

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
        """The sums of their loads."""
        return rollup.campaigns(rows)


@extend_schema_view(
    list=extend_schema(summary="List tails", tags=["tails"]),
    retrieve=extend_schema(summary="One tail", tags=["tails"]),
)
class TailViewSet(ReadOnlyViewSet[Tail]):
    """Aircraft, with how far all their loads have got."""

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
        """The sums of their loads."""
        return rollup.tails(rows)

    @extend_schema(
        summary="Say whether a tail is in service, and of what type it is",
        description="For operators of the airline. What is not given stays.",
        tags=["tails"],
        request=TailUpdateSerializer,
        responses=TailSerializer,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Keep what was given, and answer the row. Raises Http404, PermissionDenied, ValidationError."""
        row = role_or_403(Tail.objects.select_related("airline"), request.user, Role.OPERATOR, pk=pk)
        question = TailUpdateSerializer(data=request.data)
        question.is_valid(raise_exception=True)
        given = {name: str(value) for name, value in question.validated_data.items()}
        changes = {name: (getattr(row, name), value) for name, value in given.items() if getattr(row, name) != value}
        if changes:
            with transaction.atomic():
                audit.record(audit.Actor.of(request), "tail.duty", row.name, airline=row.airline, changes=changes)
                duty = ServiceStatus(given.get("duty", row.duty))
                update_tail(row, duty, given.get("aircraft_type", row.aircraft_type))
        return Response(serialize_tail(rollup.tails(Tail.objects.filter(pk=row.pk)).get()))


@extend_schema_view(
    list=extend_schema(summary="List loads", tags=["loads"]),
    retrieve=extend_schema(summary="One load", tags=["loads"]),
)
class LoadViewSet(ReadOnlyViewSet[Load]):
    """Campaigns on tails."""

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


@extend_schema_view(
    list=extend_schema(summary="List transfers", tags=["transfers"]),
    retrieve=extend_schema(summary="One transfer", tags=["transfers"]),
)
class TransferViewSet(ReadOnlyViewSet[Transfer]):
    """Content items on their way to tails."""

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


@extend_schema_view(
    list=extend_schema(summary="List anomalies", tags=["anomalies"]),
    retrieve=extend_schema(summary="One anomaly", tags=["anomalies"]),
)
class AnomalyViewSet(ReadOnlyViewSet[Anomaly]):
    """What could not be understood. Those that name no known airline are for staff."""

    queryset = Anomaly.objects.select_related("airline").defer("airline__contact")
    serializer_class = AnomalySerializer
    filterset_class = AnomalyFilter
    search_fields = ["key", "detail"]
    default_ordering = ["-last_seen"]
    orderings = {"airline": "airline__name", "problem": "problem", "first_seen": "first_seen", "last_seen": "last_seen"}
