"""Filters and ordering that the API's lists share. Builds query sets, runs no query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import django_filters
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from drf_spectacular.utils import extend_schema_field
from rest_framework import filters
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from ifeportal.tables.search import SEARCH_LIMIT, SEARCH_WORDS, SearchTooLong, check_search


class SearchFilter(filters.SearchFilter):
    """`q=word word`: rows in which each word is in one of the view's `search_fields`. The text is bounded."""

    search_description = f"Words that a row must contain: at most {SEARCH_WORDS} words and {SEARCH_LIMIT} characters."

    def get_search_terms(self, request: Request) -> Any:
        """Return the words. Raises ValidationError if the text is too long."""
        try:
            check_search(request.query_params.get(self.search_param, ""))
        except SearchTooLong as error:
            raise ValidationError({self.search_param: [str(error)]}) from error
        return super().get_search_terms(request)


class OrderingFilter(filters.BaseFilterBackend):
    """`ordering=-bytes_done,tail`: by the view's `orderings` (name in the API to path in the model).

    Rows without a value come last in both directions. The id breaks ties, so that pages never overlap.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """Return the rows in the requested order. Raises ValidationError for an unknown name."""
        asked = [term.strip() for term in request.query_params.get("ordering", "").split(",") if term.strip()]
        terms = [self._term(term, view.orderings) for term in asked[:10]] or view.default_ordering
        return queryset.order_by(*terms, "pk")

    @staticmethod
    def _term(term: str, orderings: Mapping[str, str]) -> OrderBy:
        name = term.removeprefix("-")
        if name not in orderings:
            choices = ", ".join(orderings)
            raise ValidationError({"ordering": [f"“{name[:100]}” is not a valid value. Choose from {choices}."]})
        path = F(orderings[name])
        return path.desc(nulls_last=True) if term.startswith("-") else path.asc(nulls_last=True)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        names = list(view.orderings)
        return [
            {
                "name": "ordering",
                "required": False,
                "in": "query",
                "description": "One or more names, separated by commas. A minus before a name reverses its order.",
                "explode": False,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "enum": [*names, *(f"-{name}" for name in names)]},
                },
            }
        ]


@extend_schema_field({"type": "boolean"})
class BooleanFilter(django_filters.TypedChoiceFilter):
    """`true` or `false`; anything else is an error. The library's own boolean filter would ignore it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            choices=[("true", "true"), ("false", "false")],
            coerce="true".__eq__,
            error_messages={"invalid_choice": "“%(value)s” is not a boolean. Use true or false."},
            **kwargs,
        )


class ChoicesFilter(django_filters.MultipleChoiceFilter):
    """One of the choices; can be repeated."""

    def __init__(self, *, choices: Sequence[tuple[str, Any]], **kwargs: Any) -> None:
        words = ", ".join(word for word, _ in choices)
        super().__init__(
            choices=choices,
            error_messages={"invalid_choice": f"“%(value)s” is not a valid value. Choose from {words}."},
            **kwargs,
        )


def datetime_range(path: str) -> tuple[django_filters.IsoDateTimeFilter, django_filters.IsoDateTimeFilter]:
    """Return the filters of a time range: at or after a time, and before a time."""
    messages = {"invalid": "Write the time as 2026-12-01T12:00:00Z."}
    return (
        django_filters.IsoDateTimeFilter(
            field_name=path, lookup_expr="gte", error_messages=messages, label="At or after this time."
        ),
        django_filters.IsoDateTimeFilter(
            field_name=path, lookup_expr="lt", error_messages=messages, label="Before this time."
        ),
    )
