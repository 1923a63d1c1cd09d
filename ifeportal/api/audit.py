"""The audit log in the API, read-only: managers read entries of their airlines, staff all."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_serializer, extend_schema_view
from rest_framework import serializers

from ifeportal.access import Role
from ifeportal.api.filters import ChoicesFilter, datetime_range
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer
from ifeportal.models import VIA_CHOICES, AuditEntry, User


def serialize_audit_entry(row: AuditEntry) -> dict[str, Any]:
    """One entry. The names are as they were."""
    return {
        "id": row.pk,
        "at": row.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "who": row.who,
        "airline": row.whose or None,
        "action": row.action,
        "target": row.target,
        "changes": row.changes,
        "via": row.via,
        "address": row.address,
    }


@extend_schema_serializer(component_name="AuditRow")
class AuditSerializer(RowSerializer[AuditEntry]):
    """Somebody changed something."""

    values_of = serialize_audit_entry

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    who = serializers.CharField(allow_blank=True, help_text="The user's name; empty for the system.")
    airline = serializers.CharField(allow_null=True)
    action = serializers.CharField(help_text="A word for it, e.g. tail.duty.")
    target = serializers.CharField(allow_blank=True, help_text="What was changed, as people name it.")
    changes = serializers.DictField(child=serializers.ListField(), help_text="Field to before and after.")
    via = serializers.ChoiceField(choices=VIA_CHOICES)
    address = serializers.CharField(allow_null=True, help_text="Where the request came from.")


class AuditFilter(django_filters.FilterSet):
    """By airline, who, what and time."""

    airline = django_filters.CharFilter(field_name="whose")
    who = django_filters.CharFilter(field_name="who")
    action = django_filters.CharFilter(field_name="action")
    via = ChoicesFilter(field_name="via", choices=VIA_CHOICES)
    at_after, at_before = datetime_range("at")


@extend_schema_view(
    list=extend_schema(summary="List the audit log", tags=["audit"]),
    retrieve=extend_schema(summary="One entry", tags=["audit"]),
)
class AuditViewSet(ReadOnlyViewSet[AuditEntry]):
    """Who changed what, when, from where. For managers of the airline and staff; others see none."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditSerializer
    filterset_class = AuditFilter
    search_fields = ["who", "action", "target"]
    default_ordering = ["-at"]
    newest_first = True
    orderings = {"at": "at", "who": "who", "action": "action", "airline": "whose"}

    def get_queryset(self) -> QuerySet[AuditEntry]:
        """Those of airlines the user manages; with a token that only reads, too."""
        rows, user = super().get_queryset(), self.request.user
        assert isinstance(user, User)
        if user.is_staff:
            return rows
        return rows.filter(airline__memberships__user=user, airline__memberships__role=Role.MANAGER)
