"""The audit log in the API, read-only: managers read the entries of their airlines, staff read all."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from ifeportal.access import Role
from ifeportal.api.filters import ChoicesFilter, datetime_range
from ifeportal.api.schema import with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer
from ifeportal.formatting import iso
from ifeportal.models import VIA_CHOICES, AuditEntry, User


def serialize_audit_entry(row: AuditEntry) -> dict[str, Any]:
    """Return one entry as JSON-ready values. Names are those at the time of the change."""
    return {
        "id": row.pk,
        "at": iso(row.at),
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
    """One change that a user, a token or the system made."""

    values_of = serialize_audit_entry

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    who = serializers.CharField(allow_blank=True, help_text="The user name; empty for the system.")
    airline = serializers.CharField(allow_null=True)
    action = serializers.CharField(help_text="What was done, e.g. tail.duty.")
    target = serializers.CharField(allow_blank=True, help_text="The name of what was changed.")
    changes = serializers.DictField(child=serializers.ListField(), help_text="By field: the value before and after.")
    via = serializers.ChoiceField(choices=VIA_CHOICES)
    address = serializers.CharField(allow_null=True, help_text="The IP address of the request.")


class AuditFilter(django_filters.FilterSet):
    """Filters by airline, user, action and time."""

    airline = django_filters.CharFilter(field_name="whose")
    who = django_filters.CharFilter(field_name="who")
    action = django_filters.CharFilter(field_name="action")
    via = ChoicesFilter(field_name="via", choices=VIA_CHOICES)
    at_after, at_before = datetime_range("at")


@with_summaries("audit", "List the audit log", "Get an audit entry")
class AuditViewSet(ReadOnlyViewSet[AuditEntry]):
    """Changes and who made them. Visible to managers of the airline and to staff; the list is empty for others."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditSerializer
    filterset_class = AuditFilter
    search_fields = ["who", "action", "target"]
    default_ordering = ["-at"]
    newest_first = True
    orderings = {"at": "at", "who": "who", "action": "action", "airline": "whose"}

    def get_queryset(self) -> QuerySet[AuditEntry]:
        """Return the entries of airlines the user manages. A read-only token of a manager sees them too."""
        rows, user = super().get_queryset(), self.request.user
        assert isinstance(user, User)
        if user.is_staff:
            return rows
        return rows.filter(airline__memberships__user=user, airline__memberships__role=Role.MANAGER)
