"""Base classes of the REST API: read-only view sets scoped to the user, and serializers of rows.

Touches the database only through query sets scoped by `visible_to`. The apps serve their rows in their own `api`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.cache import get_conditional_response, patch_vary_headers
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from ifeportal.access import ScopedQuerySet
from ifeportal.api.etags import etag_of
from ifeportal.api.filters import OrderingFilter, SearchFilter
from ifeportal.api.pagination import Pagination
from ifeportal.live.feed import current_rev

M = TypeVar("M", bound=Model)


class RowSerializer(serializers.Serializer[M]):
    """A row whose values come from one function; the declared fields document them. A test compares the two."""

    values_of: ClassVar[Callable[[Any], dict[str, object]]]

    def to_representation(self, instance: M) -> dict[str, object]:
        return type(self).values_of(instance)


def column_names(model: type[Model]) -> list[str]:
    """Return all columns of the model, for a query that takes only some columns of the joined rows."""
    return [field.name for field in model._meta.concrete_fields]


class ReadOnlyViewSet(viewsets.ReadOnlyModelViewSet[M]):
    """A list and its rows, read-only. A row the user cannot see is a 404, like one that does not exist.

    `newest_first`: with a cursor the newest row comes first, for logs.
    """

    queryset: ScopedQuerySet[M]
    pagination_class = Pagination
    filter_backends = [DjangoFilterBackend, SearchFilter, OrderingFilter]
    orderings: ClassVar[Mapping[str, str]] = {}
    default_ordering: ClassVar[Sequence[str]] = ()
    newest_first: ClassVar[bool] = False
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[M]:
        """Return the rows the user may see."""
        return self.with_totals(self.queryset.all().visible_to(self.request.user))

    def with_totals(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return the query set with sums, for views whose rows have them."""
        return rows

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of rows, or 304 if the client's copy is current."""
        revision = current_rev()  # before the rows, so that they include everything up to it
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        frame = self.paginator.frame()  # type: ignore[union-attr]  # every list has pages
        return self._with_etag(revision, rows or [], frame, lambda: self.get_paginated_response(self._serialized(rows)))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one row, or 304 if the client's copy is current."""
        revision = current_rev()
        row = self.get_object()
        return self._with_etag(revision, [row], None, lambda: Response(self.get_serializer(row).data))

    def _serialized(self, rows: Any) -> Any:
        return self.get_serializer(rows, many=True).data

    def _with_etag(self, revision: int, rows: Sequence[M], frame: object, build: Callable[[], Response]) -> Response:
        row: Any = self.get_serializer()
        tag = etag_of(rows, tuple(row.fields), frame)
        request: HttpRequest = self.request._request
        unchanged = get_conditional_response(request, etag=tag)
        # Only a 304 counts: a GET with a failing If-Match still gets its rows.
        response = Response(status=304) if unchanged is not None and unchanged.status_code == 304 else build()
        response["ETag"] = tag
        response["X-Revision"] = str(revision)
        response["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ["Authorization", "Cookie"])
        return response
