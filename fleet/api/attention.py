"""Loads that need attention, grouped by likely cause, in the API."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fleet.api.acknowledgements import AcknowledgementSerializer, serialize_acknowledgement
from fleet.attention.diagnosis import CauseKind, Finding
from fleet.attention.queries import LOADS_LIMIT, Issue, IssueGroup, group_issues, list_issues
from fleet.models import Acknowledgement, Load
from ifeportal.formatting import iso
from ifeportal.live.feed import current_rev

KIND_CHOICES: Final = [(kind.value, kind.value) for kind in CauseKind]


class AttentionRequest(serializers.Serializer[Any]):
    """What of it is asked for."""

    airline = serializers.CharField(required=False, max_length=200)
    kind = serializers.ChoiceField(required=False, choices=KIND_CHOICES)
    acknowledged = serializers.ChoiceField(
        required=False, choices=[("true", "true"), ("false", "false")], help_text="With `true` also what is seen to."
    )


@extend_schema_serializer(component_name="FaultRow")
class FindingSerializer(serializers.Serializer[Any]):
    """One thing that is wrong with a load."""

    content = serializers.CharField(allow_blank=True, help_text="The item; empty for the load itself.")
    error_code = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)


@extend_schema_serializer(component_name="TroubleRow")
class IssueSerializer(serializers.Serializer[Any]):
    """A load of a group."""

    load = serializers.IntegerField(help_text="The load's id.")
    tail = serializers.CharField()
    campaign = serializers.CharField()
    exhibition_starts = serializers.DateField(allow_null=True)
    as_of = serializers.DateTimeField(allow_null=True)
    faults = FindingSerializer(many=True)
    acknowledgement = AcknowledgementSerializer(allow_null=True)


@extend_schema_serializer(component_name="GroupRow")
class IssueGroupSerializer(serializers.Serializer[Any]):
    """Loads whose trouble most likely has one cause, and what to do about it."""

    kind = serializers.ChoiceField(choices=KIND_CHOICES)
    airline = serializers.CharField()
    campaign = serializers.CharField(allow_blank=True, help_text="Empty where several are concerned.")
    subject = serializers.CharField(allow_blank=True, help_text="The object, tail or code at fault; may be empty.")
    error_code = serializers.CharField(allow_blank=True)
    state = serializers.CharField(help_text="What its loads are acknowledged for.")
    heading = serializers.CharField(help_text="What is wrong, in a sentence.")
    step = serializers.CharField(help_text="What to do next.")
    open = serializers.BooleanField(help_text="One of its loads has not been seen to.")
    loads = IssueSerializer(many=True)


def serialize_group(group: IssueGroup) -> dict[str, Any]:
    """One cause, with its loads."""
    cause = group.cause
    return {
        "kind": cause.kind.value,
        "airline": cause.airline,
        "campaign": cause.campaign,
        "subject": cause.subject,
        "error_code": cause.code,
        "state": group.reason,
        "heading": cause.heading,
        "step": cause.next_step,
        "open": group.is_open,
        "loads": [_serialize_issue(*row) for row in group.rows],
    }


def _serialize_issue(trouble: Issue, faults: list[Finding], seen: Acknowledgement | None) -> dict[str, Any]:
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
        "acknowledgement": serialize_acknowledgement(seen) if seen else None,
    }


class IssueGroupPagination(PageNumberPagination):
    """Few groups a page: each may hold many loads."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100


class AttentionView(APIView):
    """What needs attention, under its likeliest cause, as the page has it."""

    pagination_class = IssueGroupPagination

    @extend_schema(
        operation_id="attention",
        summary="What needs attention",
        description="Everything failed, stalled, silent, at risk or contradictory, grouped by its likeliest cause, the "
        f"most urgent first. At most {LOADS_LIMIT:,} loads are looked at, those first whose exhibition is nearest.",
        tags=["attention"],
        parameters=[AttentionRequest],
        responses=IssueGroupSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """A page of groups. Raises ValidationError, NotFound."""
        question = AttentionRequest(data=request.query_params)
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        rev = current_rev()
        loads = Load.objects.visible_to(request.user)
        if "airline" in asked:
            loads = loads.filter(tail__airline__name=asked["airline"])
        groups = [group for group in group_issues(list_issues(loads, LOADS_LIMIT)) if _matches(group, asked)]
        pages = IssueGroupPagination()
        page: Any = pages.paginate_queryset(groups, request, self)
        response = pages.get_paginated_response([serialize_group(group) for group in page])
        response["X-Revision"] = str(rev)
        response["Cache-Control"] = "no-store"
        return response


def _matches(group: IssueGroup, asked: dict[str, Any]) -> bool:
    return (group.is_open or asked.get("acknowledged") == "true") and asked.get("kind") in (None, group.cause.kind)
