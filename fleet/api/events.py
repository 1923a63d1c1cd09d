"""API of events of loads and items."""

from __future__ import annotations

from typing import Any, Final

import django_filters
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from fleet.api.filters import LOAD_SCOPED_ORDERINGS, LoadScopedFilter
from fleet.api.serializers import LoadScopedSerializer
from fleet.choices import State
from fleet.models import Event
from ifeportal.api.filters import ChoicesFilter
from ifeportal.api.schema import with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, column_names
from ifeportal.formatting import iso


def serialize_event(row: Event) -> dict[str, Any]:
    load = row.load
    return {
        "id": row.pk,
        "airline": load.tail.airline.name,
        "tail": load.tail.name,
        "campaign": load.campaign.name,
        "content": row.content,
        "load": row.load_id,
        "at": iso(row.at),
        "state": row.state,
        "error_code": row.error_code,
        "text": row.text,
        "bytes_done": row.bytes_done,
        "bytes_total": row.bytes_total,
    }


@extend_schema_serializer(component_name="EventRow")
class EventSerializer(LoadScopedSerializer):
    """A change of a load or an item."""

    values_of = serialize_event

    content = serializers.CharField(allow_blank=True, help_text="The item; empty for the load itself.")
    load = serializers.IntegerField(help_text="The load's id.")
    at = serializers.DateTimeField(help_text="When the reporting object was written.")
    state = serializers.ChoiceField(choices=State.choices, help_text="The state from then on.")
    error_code = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True, help_text="The error, or a description of the event.")
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(allow_null=True)


class EventFilter(LoadScopedFilter):
    """Filter by scope, item, state, error and time."""

    content = django_filters.CharFilter(field_name="content")
    state = ChoicesFilter(field_name="state", choices=State.choices)
    error_code = django_filters.CharFilter(field_name="error_code")


NAME_COLUMNS: Final = (
    "load__tail",
    "load__campaign",
    "load__tail__name",
    "load__tail__airline__name",
    "load__campaign__name",
)


@with_summaries("events", "List events", "Retrieve an event")
class EventViewSet(ReadOnlyViewSet[Event]):
    """Changes of loads and items: the timeline and the history of errors."""

    queryset = Event.objects.select_related("load__tail__airline", "load__campaign").only(
        *column_names(Event), *NAME_COLUMNS
    )
    serializer_class = EventSerializer
    filterset_class = EventFilter
    search_fields = ["content", "load__tail__name", "load__campaign__name", "text"]
    default_ordering = ["-at"]
    newest_first = True
    orderings = {"at": "at", "state": "state", "error_code": "error_code", **LOAD_SCOPED_ORDERINGS}
