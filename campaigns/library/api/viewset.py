"""Endpoints of the library: list, rename, delete. Content gets in as an upload without a campaign."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.library.models import LibraryItem
from campaigns.library.requests import delete_item, edit_item
from campaigns.library.serialization import library_state
from campaigns.library.uses import set_uses
from campaigns.uploads.api.bodies import ParsedTextField, parse_line
from ifeportal.access import Role, role_or_403
from ifeportal.api.filters import BooleanFilter
from ifeportal.api.operations.serializers import OperationSerializer
from ifeportal.api.schema import with_errors, with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer, column_names
from ifeportal.audit import Actor
from ifeportal.operations.serialization import operation_state

NOT_FOUND = {"404": "It does not exist, or you cannot see it."}


class CampaignUseRow(serializers.Serializer[Any]):
    """A campaign that has an item of the same name and the same bytes."""

    campaign = serializers.CharField()
    draft = serializers.IntegerField(allow_null=True, help_text="Id of its draft, if that has the item.")
    published = serializers.BooleanField(help_text="Whether its published manifest lists the item.")


class LibraryRow(RowSerializer[LibraryItem]):
    """Content of an airline that belongs to no campaign yet."""

    values_of = library_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    name = serializers.CharField(help_text="Without .tgz.")
    title = serializers.CharField(allow_blank=True)
    kind = serializers.CharField(allow_blank=True, help_text="For example movie, music or map.")
    size = serializers.IntegerField(help_text="Bytes of the .tgz.")
    sha256 = serializers.CharField(help_text="Of the .tgz, hexadecimal.")
    crc32 = serializers.CharField(allow_null=True, help_text="Of the .tgz, hexadecimal.")
    added_at = serializers.DateTimeField()
    added_by = serializers.CharField(allow_null=True, help_text="Null if the user was deleted.")
    used_in = CampaignUseRow(many=True)


class LibraryBody(serializers.Serializer[Any]):
    """Fields of an item that can be changed."""

    title = ParsedTextField(parse_line, required=False, allow_blank=True, max_length=500)
    kind = ParsedTextField(parse_line, required=False, allow_blank=True, max_length=100)


class LibraryFilter(django_filters.FilterSet):
    """Filters by airline, name, kind, SHA-256, and whether a campaign has the item."""

    airline = django_filters.CharFilter(field_name="airline__name")
    name = django_filters.CharFilter(field_name="name")
    kind = django_filters.CharFilter(field_name="kind")
    sha256 = django_filters.CharFilter(field_name="sha256")
    used = BooleanFilter(method="by_use", label="Whether a campaign has the item.")

    def by_use(self, rows: Any, name: str, used: bool) -> QuerySet[LibraryItem]:
        """Return the items that a campaign has, or the others."""
        found: QuerySet[LibraryItem] = rows.used() if used else rows.unused()
        return found


@with_summaries("library", "List library items", "Get a library item")
class LibraryViewSet(ReadOnlyViewSet[LibraryItem]):
    """The libraries of airlines."""

    queryset = LibraryItem.objects.select_related("airline", "added_by").only(
        *column_names(LibraryItem), "airline__name", "added_by__username"
    )
    serializer_class = LibraryRow
    filterset_class = LibraryFilter
    search_fields = ["name", "title", "kind"]
    default_ordering = ["airline__name", "name"]
    orderings = {
        "airline": "airline__name",
        "name": "name",
        "title": "title",
        "kind": "kind",
        "size": "size",
        "added_at": "added_at",
    }

    def paginate_queryset(self, queryset: Any) -> list[Any] | None:
        """Return a page of items with their uses."""
        rows: list[Any] = list(super().paginate_queryset(queryset) or [])
        set_uses(rows)
        return rows

    def get_object(self) -> LibraryItem:
        """Return the item with its uses. Raises Http404."""
        row: LibraryItem = super().get_object()
        set_uses([row])
        return row

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter and order a list. One item is found by its id alone."""
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    @extend_schema(
        summary="Change title and kind",
        description="For managers of the airline. Campaigns that have a copy keep theirs.",
        tags=["library"],
        request=LibraryBody,
        responses={200: LibraryRow},
        extensions=with_errors(NOT_FOUND),
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change the fields that are sent. Raises Http404, PermissionDenied, ValidationError."""
        item = self._own(request, pk)
        body = LibraryBody(data=request.data)
        body.is_valid(raise_exception=True)
        changed = edit_item(Actor.of(request), item, body.validated_data)
        set_uses([changed])
        return Response(library_state(changed))

    @extend_schema(
        summary="Delete a library item",
        description="For managers of the airline. Returns the operation that deletes the object. Campaigns that have a "
        "copy keep it.",
        tags=["library"],
        responses={202: OperationSerializer},
        extensions=with_errors(NOT_FOUND),
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete the row; a worker deletes the object. Raises Http404, PermissionDenied."""
        operation = delete_item(Actor.of(request), self._own(request, pk))
        if operation is None:
            raise Http404
        return Response(operation_state(operation), status=202)

    def _own(self, request: Request, pk: str) -> LibraryItem:
        return role_or_403(self.queryset.all(), request.user, Role.MANAGER, pk=pk)
