"""API of acknowledgements of loads that need attention. Operators create and withdraw them."""

from __future__ import annotations

from typing import Any, Final

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.filters import LOAD_SCOPED_ORDERINGS, LoadScopedFilter
from fleet.api.serializers import LoadScopedSerializer
from fleet.attention.acknowledgements import NOTE_LIMIT, acknowledge, withdraw
from fleet.attention.queries import REASONS
from fleet.models import Acknowledgement, Load
from ifeportal.access import Role, role_or_403
from ifeportal.api.filters import BooleanFilter, ChoicesFilter
from ifeportal.api.schema import with_errors, with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet
from ifeportal.audit import Actor
from ifeportal.formatting import iso

REASON_CHOICES: Final = [(reason, reason) for reason in REASONS]


class Conflict(APIException):
    """The load is not in the state that the request names (HTTP 409)."""

    status_code = 409
    default_detail = "The load no longer needs attention for this reason."


def serialize_acknowledgement(row: Acknowledgement) -> dict[str, Any]:
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


@extend_schema_serializer(component_name="AcknowledgementRow")
class AcknowledgementSerializer(LoadScopedSerializer):
    """An acknowledgement of a load. It applies while the load has that state and error and it is not withdrawn."""

    values_of = serialize_acknowledgement

    load = serializers.IntegerField(help_text="The load's id.")
    state = serializers.CharField(help_text="The state for which it was acknowledged.")
    error_code = serializers.CharField(allow_blank=True)
    note = serializers.CharField()
    who = serializers.CharField()
    at = serializers.DateTimeField()
    withdrawn_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="AcknowledgementQuestion")
class AcknowledgementRequest(serializers.Serializer[Any]):
    """Body of the request that creates an acknowledgement."""

    load = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="The load's id.")
    state = serializers.ChoiceField(choices=REASON_CHOICES, help_text="The state for which it needs attention.")
    note = serializers.CharField(max_length=NOTE_LIMIT, help_text="The action that the user takes.")


class AcknowledgementFilter(LoadScopedFilter):
    """Filter by scope, state, user and time."""

    state = ChoicesFilter(field_name="state", choices=REASON_CHOICES)
    who = django_filters.CharFilter(field_name="who")
    withdrawn = BooleanFilter(field_name="withdrawn_at", lookup_expr="isnull", exclude=True)


@with_summaries("attention", "List acknowledgements", "Retrieve an acknowledgement")
class AcknowledgementViewSet(ReadOnlyViewSet[Acknowledgement]):
    """Acknowledgements of loads that need attention."""

    queryset = Acknowledgement.objects.select_related("load__tail__airline", "load__campaign")
    serializer_class = AcknowledgementSerializer
    filterset_class = AcknowledgementFilter
    search_fields = ["note", "who", "load__tail__name", "load__campaign__name"]
    default_ordering = ["-at"]
    newest_first = True
    orderings = {"at": "at", "state": "state", "who": "who", **LOAD_SCOPED_ORDERINGS}

    @extend_schema(
        summary="Acknowledge a load that needs attention",
        description="For operators of the airline. 409 if the load no longer needs attention for this reason.",
        tags=["attention"],
        request=AcknowledgementRequest,
        responses={201: AcknowledgementSerializer},
        extensions=with_errors(
            {"404": "The load does not exist, or you may not see it.", "409": Conflict.default_detail}
        ),
    )
    def create(self, request: Request) -> Response:
        """Create an acknowledgement by the user. Raises Http404, PermissionDenied, Conflict, ValidationError."""
        serializer = AcknowledgementRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        loads = Load.objects.select_related("tail__airline", "campaign")
        load = role_or_403(loads, request.user, Role.OPERATOR, pk=fields["load"])
        created = acknowledge(Actor.of(request), load, fields["state"], fields["note"])
        if created is None:
            raise Conflict
        return Response(serialize_acknowledgement(created), status=201)

    @extend_schema(
        summary="Withdraw an acknowledgement",
        description="For operators of the airline. The load then needs attention again.",
        tags=["attention"],
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Withdraw the acknowledgement; repeating it changes nothing. Raises Http404, PermissionDenied."""
        row = role_or_403(self.queryset.all(), request.user, Role.OPERATOR, pk=pk)
        if row.withdrawn_at is None:
            withdraw(Actor.of(request), row.load, row.state)
        return Response(status=204)
