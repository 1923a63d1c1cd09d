"""Rows of operations in the API, and their documentation."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from ifeportal.api.viewsets import RowSerializer
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.serialization import operation_state


@extend_schema_serializer(component_name="OperationRow")
class OperationSerializer(RowSerializer[Operation]):
    """Work that a user requested. Each kind adds fields of its own."""

    values_of = operation_state

    id = serializers.UUIDField()
    kind = serializers.CharField()
    airline = serializers.CharField()
    user = serializers.CharField(allow_null=True, help_text="Who requested it; null if the user was deleted.")
    title = serializers.CharField()
    status = serializers.CharField(help_text="The kind's own word; for most kinds the state.")
    state = serializers.ChoiceField(choices=OperationState.choices)
    stage = serializers.CharField(allow_blank=True, help_text="What is done now, a word of the kind.")
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(allow_null=True, help_text="Null while unknown.")
    percent = serializers.IntegerField(allow_null=True, help_text="100 only once the operation has succeeded.")
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second.")
    eta_seconds = serializers.IntegerField(allow_null=True, help_text="Seconds left at that rate.")
    position = serializers.IntegerField(allow_null=True, help_text="In the queue: 1 is next. Null unless queued.")
    waiting_for = serializers.CharField(allow_blank=True, help_text="A sentence.")
    error_code = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    advice = serializers.CharField(allow_blank=True, help_text="What to do about the error.")
    can_cancel = serializers.BooleanField(help_text="Whether a user with the role of the kind can cancel it now.")
    can_retry = serializers.BooleanField(help_text="Whether a user with the role of the kind can retry it now.")
    page = serializers.CharField(allow_blank=True, help_text="Path of its page, if there is one.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="It ends at this time unless it has ended.")
    as_of = serializers.DateTimeField(help_text="When the state or the progress last changed.")
