"""What happened, in the API: events, bytes moved, requests spent; what needs attention, and who sees to it.

Acknowledgements can be made and withdrawn by operators; all else is read.
"""

from __future__ import annotations

from typing import Any, Final

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fleet.attention.acknowledgements import take, take_back
from fleet.attention.diagnosis import Fault, Kind
from fleet.attention.queries import WORDS, Group, Trouble, groups_of, troubles
from fleet.choices import State
from fleet.models import Acknowledgement, Event, Load, Moved, Usage
from ifeportal.access import Role, role_or_403
from ifeportal.api.filters import Flag, Words, moments
from ifeportal.api.viewsets import ReadOnly, Row, columns
from ifeportal.formatting import iso
from ifeportal.live.feed import current_rev

LOADS_LIMIT: Final = 5_000  # that need attention; beyond, something is wrong with all of them
WORD_CHOICES: Final = [(word, word) for word in WORDS]
KINDS: Final = [(kind.value, kind.value) for kind in Kind]


class Conflict(APIException):
    """What was asked for does not fit what is."""

    status_code = 409
    default_detail = "The load does not need attention for that any more."


def event_state(row: Event) -> dict[str, Any]:
    """One turn in the life of a load or an item."""
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


class EventRow(Row[Event]):
    """A load or an item turned."""

    values_of = event_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    tail = serializers.CharField()
    campaign = serializers.CharField()
    content = serializers.CharField(allow_blank=True, help_text="The item; empty for the load itself.")
    load = serializers.IntegerField(help_text="The load's id.")
    at = serializers.DateTimeField(help_text="When what told of it was written.")
    state = serializers.ChoiceField(choices=State.choices, help_text="What it was from then on.")
    error_code = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True, help_text="The error, or a sentence on what happened.")
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(allow_null=True)


def acknowledgement_state(row: Acknowledgement) -> dict[str, Any]:
    """Who saw to a load, for what."""
    load = row.load
    return {
        "id": row.pk,
        "airline": load.tail.airline.name,
        "tail": load.tail.name,
        "campaign": load.campaign.name,
        "load": row.load_id,
        "state": row.state,
        "error_code": row.error_code,
        "note": row.note,
        "who": row.who,
        "at": iso(row.at),
        "withdrawn_at": iso(row.withdrawn_at) if row.withdrawn_at else None,
    }


class AcknowledgementRow(Row[Acknowledgement]):
    """Somebody sees to a load. It counts while the load is in that state, with that error, and it is not withdrawn."""

    values_of = acknowledgement_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    tail = serializers.CharField()
    campaign = serializers.CharField()
    load = serializers.IntegerField(help_text="The load's id.")
    state = serializers.CharField(help_text="What it was acknowledged for.")
    error_code = serializers.CharField(allow_blank=True)
    note = serializers.CharField()
    who = serializers.CharField()
    at = serializers.DateTimeField()
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class AcknowledgementQuestion(serializers.Serializer[Any]):
    """What is to be acknowledged."""

    load = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="The load's id.")
    state = serializers.ChoiceField(choices=WORD_CHOICES, help_text="What it needs attention for.")
    note = serializers.CharField(max_length=1000, help_text="What is being done about it.")


def moved_state(row: Moved) -> dict[str, Any]:
    """Bytes of five minutes."""
    return {"id": row.pk, "airline": row.airline.name, "at": iso(row.at), "bytes": row.bytes}


class MovedRow(Row[Moved]):
    """Bytes that arrived on an airline's aircraft within five minutes."""

    values_of = moved_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    at = serializers.DateTimeField(help_text="When the five minutes begin.")
    bytes = serializers.IntegerField()


def usage_state(row: Usage) -> dict[str, Any]:
    """Requests of a day."""
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


class UsageRow(Row[Usage]):
    """The requests the portal sent to both buckets on a day (UTC). Without an airline: to find airlines."""

    values_of = usage_state

    id = serializers.IntegerField()
    airline = serializers.CharField(allow_null=True)
    day = serializers.DateField()
    list_requests = serializers.IntegerField()
    get_requests = serializers.IntegerField()
    put_requests = serializers.IntegerField()
    delete_requests = serializers.IntegerField()
    bytes_received = serializers.IntegerField()


class OnLoadFilter(django_filters.FilterSet):
    """By where."""

    airline = django_filters.CharFilter(field_name="load__tail__airline__name")
    tail = django_filters.CharFilter(field_name="load__tail__name")
    campaign = django_filters.CharFilter(field_name="load__campaign__name")
    load = django_filters.NumberFilter(field_name="load_id", min_value=0, max_value=2**63 - 1)
    at_after, at_before = moments("at")


class EventFilter(OnLoadFilter):
    """By where, what, state, error and time."""

    content = django_filters.CharFilter(field_name="content")
    state = Words(field_name="state", choices=State.choices)
    error_code = django_filters.CharFilter(field_name="error_code")


class AcknowledgementFilter(OnLoadFilter):
    """By where, what for, who and time."""

    state = Words(field_name="state", choices=WORD_CHOICES)
    who = django_filters.CharFilter(field_name="who")
    withdrawn = Flag(field_name="withdrawn_at", lookup_expr="isnull", exclude=True)


class MovedFilter(django_filters.FilterSet):
    """By airline and time."""

    airline = django_filters.CharFilter(field_name="airline__name")
    at_after, at_before = moments("at")


class UsageFilter(django_filters.FilterSet):
    """By airline and day."""

    airline = django_filters.CharFilter(field_name="airline__name")
    day = django_filters.DateFilter(field_name="day")
    day_after = django_filters.DateFilter(field_name="day", lookup_expr="gte", label="From that day on.")
    day_before = django_filters.DateFilter(field_name="day", lookup_expr="lt", label="Before that day.")


NAMES: Final = (
    "load__tail",
    "load__campaign",
    "load__tail__name",
    "load__tail__airline__name",
    "load__campaign__name",
)
ON_LOAD: Final = {
    "airline": "load__tail__airline__name",
    "tail": "load__tail__name",
    "campaign": "load__campaign__name",
}


@extend_schema_view(
    list=extend_schema(summary="List events", tags=["events"]),
    retrieve=extend_schema(summary="One event", tags=["events"]),
)
class Events(ReadOnly[Event]):
    """Turns in the life of loads and items: the time line, and the history of errors."""

    queryset = Event.objects.select_related("load__tail__airline", "load__campaign").only(*columns(Event), *NAMES)
    serializer_class = EventRow
    filterset_class = EventFilter
    search_fields = ["content", "load__tail__name", "load__campaign__name", "text"]
    usual_order = ["-at"]
    newest_first = True
    orderings = {"at": "at", "state": "state", "error_code": "error_code", **ON_LOAD}


@extend_schema_view(
    list=extend_schema(summary="List acknowledgements", tags=["attention"]),
    retrieve=extend_schema(summary="One acknowledgement", tags=["attention"]),
)
class Acknowledgements(ReadOnly[Acknowledgement]):
    """Who sees to which loads."""

    queryset = Acknowledgement.objects.select_related("load__tail__airline", "load__campaign")
    serializer_class = AcknowledgementRow
    filterset_class = AcknowledgementFilter
    search_fields = ["note", "who", "load__tail__name", "load__campaign__name"]
    usual_order = ["-at"]
    newest_first = True
    orderings = {"at": "at", "state": "state", "who": "who", **ON_LOAD}

    @extend_schema(
        summary="Acknowledge what a load needs attention for",
        description="For operators of the airline. 409 if the load does not need attention for that any more.",
        tags=["attention"],
        request=AcknowledgementQuestion,
        responses={201: AcknowledgementRow},
    )
    def create(self, request: Request) -> Response:
        """Note that the user sees to it. Raises Http404, PermissionDenied, Conflict, ValidationError."""
        question = AcknowledgementQuestion(data=request.data)
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        loads = Load.objects.select_related("tail__airline", "campaign")
        load = role_or_403(loads, request.user, Role.OPERATOR, pk=asked["load"])
        taken = take(request, load, asked["state"], asked["note"])
        if taken is None:
            raise Conflict
        return Response(acknowledgement_state(taken), status=201)

    @extend_schema(
        summary="Withdraw an acknowledgement",
        description="For operators of the airline: the load needs attention for that again.",
        tags=["attention"],
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Take it back; one that was is so already. Raises Http404, PermissionDenied."""
        row = role_or_403(self.queryset.all(), request.user, Role.OPERATOR, pk=pk)
        if row.withdrawn_at is None:
            take_back(request, row.load, row.state)
        return Response(status=204)


@extend_schema_view(
    list=extend_schema(summary="List bytes moved", tags=["moved"]),
    retrieve=extend_schema(summary="One slot", tags=["moved"]),
)
class MovedSlots(ReadOnly[Moved]):
    """Bytes that arrived, by airline and slot of five minutes."""

    queryset = Moved.objects.select_related("airline").defer("airline__contact")
    serializer_class = MovedRow
    filterset_class = MovedFilter
    search_fields = ["airline__name"]
    usual_order = ["-at", "airline__name"]
    newest_first = True
    orderings = {"airline": "airline__name", "at": "at", "bytes": "bytes"}


@extend_schema_view(
    list=extend_schema(summary="List requests to the buckets", tags=["usage"]),
    retrieve=extend_schema(summary="One day", tags=["usage"]),
)
class UsageDays(ReadOnly[Usage]):
    """The requests the portal sent to both buckets, by airline and day. For staff; others see none."""

    queryset = Usage.objects.select_related("airline").defer("airline__contact")
    serializer_class = UsageRow
    filterset_class = UsageFilter
    search_fields = ["airline__name"]
    usual_order = ["-day", "airline__name"]
    newest_first = True
    orderings = {name: name for name in ("day", "list_requests", "get_requests", "put_requests", "delete_requests")} | {
        "airline": "airline__name",
        "bytes_received": "bytes_received",
    }

    def get_queryset(self) -> QuerySet[Usage]:
        """What the buckets cost is for who pays for them."""
        rows = super().get_queryset()
        return rows if self.request.user.is_staff else rows.none()


class AttentionQuestion(serializers.Serializer[Any]):
    """What of it is asked for."""

    airline = serializers.CharField(required=False, max_length=200)
    kind = serializers.ChoiceField(required=False, choices=KINDS)
    acknowledged = serializers.ChoiceField(
        required=False, choices=[("true", "true"), ("false", "false")], help_text="With `true` also what is seen to."
    )


class FaultRow(serializers.Serializer[Any]):
    """One thing that is wrong with a load."""

    content = serializers.CharField(allow_blank=True, help_text="The item; empty for the load itself.")
    error_code = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)


class TroubleRow(serializers.Serializer[Any]):
    """A load of a group."""

    load = serializers.IntegerField(help_text="The load's id.")
    tail = serializers.CharField()
    campaign = serializers.CharField()
    exhibition_starts = serializers.DateField(allow_null=True)
    as_of = serializers.DateTimeField(allow_null=True)
    faults = FaultRow(many=True)
    acknowledgement = AcknowledgementRow(allow_null=True)


class GroupRow(serializers.Serializer[Any]):
    """Loads whose trouble most likely has one cause, and what to do about it."""

    kind = serializers.ChoiceField(choices=KINDS)
    airline = serializers.CharField()
    campaign = serializers.CharField(allow_blank=True, help_text="Empty where several are concerned.")
    subject = serializers.CharField(allow_blank=True, help_text="The object, tail or code at fault; may be empty.")
    error_code = serializers.CharField(allow_blank=True)
    state = serializers.CharField(help_text="What its loads are acknowledged for.")
    step = serializers.CharField(help_text="What to do next.")
    open = serializers.BooleanField(help_text="One of its loads has not been seen to.")
    loads = TroubleRow(many=True)


def group_state(group: Group) -> dict[str, Any]:
    """One cause, with its loads."""
    cause = group.cause
    return {
        "kind": cause.kind.value,
        "airline": cause.airline,
        "campaign": cause.campaign,
        "subject": cause.subject,
        "error_code": cause.code,
        "state": group.word,
        "step": cause.step,
        "open": group.is_open,
        "loads": [_trouble_state(*row) for row in group.rows],
    }


def _trouble_state(trouble: Trouble, faults: list[Fault], seen: Acknowledgement | None) -> dict[str, Any]:
    load = trouble.load
    if seen is not None:
        seen.load = load  # with the names that are loaded already
    return {
        "load": load.pk,
        "tail": load.tail.name,
        "campaign": load.campaign.name,
        "exhibition_starts": load.campaign.exhibition_starts,
        "as_of": iso(load.as_of) if load.as_of else None,
        "faults": [{"content": fault.content, "error_code": fault.code, "error": fault.text} for fault in faults],
        "acknowledgement": acknowledgement_state(seen) if seen else None,
    }


class GroupPages(PageNumberPagination):
    """Few groups a page: each may hold many loads."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100


class Attention(APIView):
    """What needs attention, under its likeliest cause, as the page has it."""

    pagination_class = GroupPages

    @extend_schema(
        operation_id="attention",
        summary="What needs attention",
        description="Everything failed, stalled, silent, at risk or contradictory, grouped by its likeliest cause, the "
        f"most urgent first. At most {LOADS_LIMIT:,} loads are looked at, those first whose exhibition is nearest.",
        tags=["attention"],
        parameters=[AttentionQuestion],
        responses=GroupRow(many=True),
    )
    def get(self, request: Request) -> Response:
        """A page of groups. Raises ValidationError, NotFound."""
        question = AttentionQuestion(data=request.query_params)
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        rev = current_rev()
        loads = Load.objects.visible_to(request.user)
        if "airline" in asked:
            loads = loads.filter(tail__airline__name=asked["airline"])
        groups = [group for group in groups_of(troubles(loads, LOADS_LIMIT)) if _is_asked(group, asked)]
        pages = GroupPages()
        page: Any = pages.paginate_queryset(groups, request, self)
        response = pages.get_paginated_response([group_state(group) for group in page])
        response["X-Revision"] = str(rev)
        response["Cache-Control"] = "no-store"
        return response


def _is_asked(group: Group, asked: dict[str, Any]) -> bool:
    return (group.is_open or asked.get("acknowledged") == "true") and asked.get("kind") in (None, group.cause.kind)
