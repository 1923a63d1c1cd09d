"""Filters of the list of operations. The kinds and their words are known only once all apps are loaded."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema_field

from ifeportal.api.filters import BooleanFilter, datetime_range
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation
from ifeportal.operations.queries import status_condition, status_words


def _kinds() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(registered_kinds())]


def _statuses() -> list[tuple[str, str]]:
    return [(word, word) for word in status_words()]


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class _WordsFilter(django_filters.MultipleChoiceFilter):
    """One of the words, which are read with each request; can be repeated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(error_messages={"invalid_choice": "“%(value)s” is not a valid value."}, **kwargs)


class OperationFilter(django_filters.FilterSet):
    """Filters by kind, status, airline, user and time."""

    kind = _WordsFilter(field_name="kind", choices=_kinds, label="The name of a kind; can be repeated.")
    status = _WordsFilter(
        method="with_status",
        choices=_statuses,
        label="“open”, a state, or a status word of a kind; can be repeated.",
    )
    airline = django_filters.CharFilter(field_name="airline__name")
    user = django_filters.CharFilter(field_name="user__username")
    mine = BooleanFilter(method="of_user", label="Only those that you requested (true), or only others (false).")
    created_after, created_before = datetime_range("created_at")

    def with_status(self, rows: QuerySet[Operation], name: str, words: list[str]) -> QuerySet[Operation]:
        """Return the operations that have one of these words."""
        return rows.filter(Q(*(status_condition(word) for word in words), _connector=Q.OR)) if words else rows

    def of_user(self, rows: QuerySet[Operation], name: str, mine: bool) -> QuerySet[Operation]:
        """Return the operations that the user requested, or the others."""
        own = Q(user=self.request.user.pk)
        return rows.filter(own if mine else ~own)
