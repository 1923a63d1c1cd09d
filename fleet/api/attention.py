"""API of loads that need attention, grouped by likely cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fleet.api.acknowledgements import AcknowledgementSerializer, serialize_acknowledgement
from fleet.attention.diagnosis import CauseKind
from fleet.attention.queries import FINDINGS_LIMIT, CauseGroup, LoadFindings, list_causes, list_loads
from fleet.models import AttentionFinding
from ifeportal.formatting import iso
from ifeportal.live.feed import current_rev

KIND_CHOICES: Final = [(kind.value, kind.value) for kind in CauseKind]


class AttentionRequest(serializers.Serializer[Any]):
    """Query parameters."""

    airline = serializers.CharField(required=False, max_length=200)
    kind = serializers.ChoiceField(required=False, choices=KIND_CHOICES)
    acknowledged = serializers.ChoiceField(
        required=False, choices=[("true", "true"), ("false", "false")], help_text="`true` includes acknowledged groups."
    )


@extend_schema_serializer(component_name="FaultRow")
class FindingSerializer(serializers.Serializer[Any]):
    """A problem of a load or of one of its items."""

    content = serializers.CharField(allow_blank=True, help_text="The item; empty for the load itself.")
    error_code = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)


@extend_schema_serializer(component_name="TroubleRow")
class IssueSerializer(serializers.Serializer[Any]):
    """A load with its problems and its acknowledgement."""

    load = serializers.IntegerField(help_text="The load's id.")
    tail = serializers.CharField()
    campaign = serializers.CharField()
    exhibition_starts = serializers.DateField(allow_null=True)
    as_of = serializers.DateTimeField(allow_null=True)
    faults = FindingSerializer(many=True)
    acknowledgement = AcknowledgementSerializer(allow_null=True)


@extend_schema_serializer(component_name="GroupRow")
class IssueGroupSerializer(serializers.Serializer[Any]):
    """Loads whose problems most likely have one cause, and what to do about it."""

    kind = serializers.ChoiceField(choices=KIND_CHOICES)
    airline = serializers.CharField()
    campaign = serializers.CharField(allow_blank=True, help_text="Empty if several are affected.")
    subject = serializers.CharField(
        allow_blank=True, help_text="The object, tail or error code that causes the problem; may be empty."
    )
    error_code = serializers.CharField(allow_blank=True)
    state = serializers.CharField(help_text="The state for which its loads are acknowledged.")
    heading = serializers.CharField(help_text="The problem, in one line.")
    step = serializers.CharField(help_text="What to do next.")
    open = serializers.BooleanField(help_text="Whether one of its loads is unacknowledged.")
    loads = IssueSerializer(many=True)


def serialize_group(group: CauseGroup, loads: Sequence[LoadFindings]) -> dict[str, Any]:
    cause = group.cause
    return {
        "kind": cause.kind.value,
        "airline": cause.airline,
        "campaign": cause.key.campaign,
        "subject": cause.subject,
        "error_code": cause.code,
        "state": group.reason,
        "heading": cause.heading,
        "step": cause.next_step,
        "open": group.is_open,
        "loads": [_serialize_load(row) for row in loads],
    }


def _serialize_load(row: LoadFindings) -> dict[str, Any]:
    load, acknowledgement = row.load, row.acknowledgement
    if acknowledgement is not None:
        acknowledgement.load = load  # its tail, campaign and airline are loaded already
    return {
        "load": load.pk,
        "tail": load.tail.name,
        "campaign": load.campaign.name,
        "exhibition_starts": load.campaign.exhibition_starts,
        "as_of": iso(load.as_of) if load.as_of else None,
        "faults": [
            {"content": finding.content, "error_code": finding.code, "error": finding.text} for finding in row.findings
        ],
        "acknowledgement": serialize_acknowledgement(acknowledgement) if acknowledgement else None,
    }


class IssueGroupPagination(PageNumberPagination):
    """Small pages, because a group may contain many loads."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100


class AttentionView(APIView):
    """Loads that need attention, grouped by likely cause as on the page."""

    pagination_class = IssueGroupPagination

    @extend_schema(
        operation_id="attention",
        summary="List loads that need attention",
        description="Failed, stalled, silent, at-risk and contradictory loads by likely cause, most urgent first. "
        f"One answer has at most {FINDINGS_LIMIT:,} problems.",
        tags=["attention"],
        parameters=[AttentionRequest],
        responses=IssueGroupSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """Return a page of groups. Raises ValidationError, NotFound."""
        serializer = AttentionRequest(data=request.query_params)
        serializer.is_valid(raise_exception=True)
        params = serializer.validated_data
        rev = current_rev()
        findings = AttentionFinding.objects.visible_to(request.user)
        if "airline" in params:
            findings = findings.filter(airline__name=params["airline"])
        groups = [group for group in list_causes(findings) if _matches(group, params)]
        pages = IssueGroupPagination()
        page: Any = pages.paginate_queryset(groups, request, self)
        digests = [group.cause.digest for group in page]
        loads = list_loads(findings, digests, 1, FINDINGS_LIMIT, FINDINGS_LIMIT)
        response = pages.get_paginated_response(
            [serialize_group(group, loads.get(group.cause.digest, [])) for group in page]
        )
        response["X-Revision"] = str(rev)
        response["Cache-Control"] = "no-store"
        return response


def _matches(group: CauseGroup, params: dict[str, Any]) -> bool:
    return (group.is_open or params.get("acknowledged") == "true") and params.get("kind") in (None, group.cause.kind)
