"""Content items of campaigns in the API. `fleet.api` serves the campaigns themselves, with their loads."""

from __future__ import annotations

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers

from campaigns.models import ContentItem
from ifeportal.api.filters import BooleanFilter
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer, column_names


def content_state(item: ContentItem) -> dict[str, object]:
    """One item as the manifest has it; `sha256` is null where the manifest gives none."""
    return {
        "id": item.pk,
        "airline": item.campaign.airline.name,
        "campaign": item.campaign.name,
        "content": item.name,
        "title": item.title,
        "kind": item.kind,
        "size": item.size,
        "sha256": item.sha256 or None,
        "required": item.required,
        "priority": item.priority,
        "position": item.position,
        "listed": item.listed,
    }


class ContentRow(RowSerializer[ContentItem]):
    """One item of a campaign, as its manifest has it."""

    values_of = content_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    campaign = serializers.CharField()
    content = serializers.CharField(help_text="The item's name, without .tgz.")
    title = serializers.CharField()
    kind = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField(allow_null=True, help_text="Null: only the size is checked.")
    # The metaclass takes the declared fields off the class: Field.required itself stays as it is.
    required = serializers.BooleanField()  # type: ignore[assignment]
    priority = serializers.IntegerField()
    position = serializers.IntegerField(help_text="Its place in the manifest.")
    listed = serializers.BooleanField(help_text="False once a later manifest left it out.")


class ContentFilter(django_filters.FilterSet):
    """By airline, campaign, name, kind and the two flags."""

    airline = django_filters.CharFilter(field_name="campaign__airline__name")
    campaign = django_filters.CharFilter(field_name="campaign__name")
    content = django_filters.CharFilter(field_name="name")
    kind = django_filters.CharFilter(field_name="kind")
    required = BooleanFilter(field_name="required")
    listed = BooleanFilter(field_name="listed")


@extend_schema_view(
    list=extend_schema(summary="List content items", tags=["content"]),
    retrieve=extend_schema(summary="One content item", tags=["content"]),
)
class Content(ReadOnlyViewSet[ContentItem]):
    """What campaigns consist of."""

    queryset = ContentItem.objects.select_related("campaign__airline").only(
        *column_names(ContentItem), "campaign__name", "campaign__airline__name"
    )
    serializer_class = ContentRow
    filterset_class = ContentFilter
    search_fields = ["name", "title"]
    default_ordering = ["campaign__airline__name", "campaign__name", "position", "name"]
    orderings = {
        "airline": "campaign__airline__name",
        "campaign": "campaign__name",
        "content": "name",
        "size": "size",
        "priority": "priority",
        "position": "position",
    }
