"""API of bytes received by aircraft and of requests to the buckets."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from fleet.models import ThroughputInterval, Usage
from ifeportal.api.filters import datetime_range
from ifeportal.api.schema import with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer
from ifeportal.formatting import iso


def serialize_throughput(row: ThroughputInterval) -> dict[str, Any]:
    return {"id": row.pk, "airline": row.airline.name, "at": iso(row.at), "bytes": row.bytes}


@extend_schema_serializer(component_name="MovedRow")
class ThroughputSerializer(RowSerializer[ThroughputInterval]):
    """Bytes received by the aircraft of an airline in five minutes."""

    values_of = serialize_throughput

    id = serializers.IntegerField()
    airline = serializers.CharField()
    at = serializers.DateTimeField(help_text="Start of the five minutes.")
    bytes = serializers.IntegerField()


def serialize_usage(row: Usage) -> dict[str, Any]:
    return {
        "id": row.pk,
        "airline": row.airline.name if row.airline else None,
        "day": row.day.isoformat(),
        "list_requests": row.list_requests,
        "get_requests": row.get_requests,
        "put_requests": row.put_requests,
        "delete_requests": row.delete_requests,
        "bytes_received": row.bytes_received,
    }


@extend_schema_serializer(component_name="UsageRow")
class UsageSerializer(RowSerializer[Usage]):
    """Requests of the portal to both buckets on a day (UTC). Requests without an airline look for new airlines."""

    values_of = serialize_usage

    id = serializers.IntegerField()
    airline = serializers.CharField(allow_null=True)
    day = serializers.DateField()
    list_requests = serializers.IntegerField()
    get_requests = serializers.IntegerField()
    put_requests = serializers.IntegerField()
    delete_requests = serializers.IntegerField()
    bytes_received = serializers.IntegerField()


class ThroughputFilter(django_filters.FilterSet):
    """Filter by airline and time."""

    airline = django_filters.CharFilter(field_name="airline__name")
    at_after, at_before = datetime_range("at")


class UsageFilter(django_filters.FilterSet):
    """Filter by airline and day."""

    airline = django_filters.CharFilter(field_name="airline__name")
    day = django_filters.DateFilter(field_name="day")
    day_after = django_filters.DateFilter(field_name="day", lookup_expr="gte", label="On or after this day.")
    day_before = django_filters.DateFilter(field_name="day", lookup_expr="lt", label="Before this day.")


@with_summaries("moved", "List bytes received", "Retrieve an interval")
class ThroughputViewSet(ReadOnlyViewSet[ThroughputInterval]):
    """Bytes received, by airline and interval of five minutes."""

    queryset = ThroughputInterval.objects.select_related("airline").defer("airline__contact")
    serializer_class = ThroughputSerializer
    filterset_class = ThroughputFilter
    search_fields = ["airline__name"]
    default_ordering = ["-at", "airline__name"]
    newest_first = True
    orderings = {"airline": "airline__name", "at": "at", "bytes": "bytes"}


@with_summaries("usage", "List bucket requests", "Retrieve a day")
class UsageViewSet(ReadOnlyViewSet[Usage]):
    """Requests of the portal to both buckets, by airline and day. Only staff see them."""

    queryset = Usage.objects.select_related("airline").defer("airline__contact")
    serializer_class = UsageSerializer
    filterset_class = UsageFilter
    search_fields = ["airline__name"]
    default_ordering = ["-day", "airline__name"]
    newest_first = True
    orderings = {name: name for name in ("day", "list_requests", "get_requests", "put_requests", "delete_requests")} | {
        "airline": "airline__name",
        "bytes_received": "bytes_received",
    }

    def get_queryset(self) -> QuerySet[Usage]:
        """Return no rows to users who are not staff."""
        rows = super().get_queryset()
        return rows if self.request.user.is_staff else rows.none()
