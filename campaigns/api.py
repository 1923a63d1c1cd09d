"""Content items of campaigns in the API. `fleet.api` serves the campaigns themselves, with their loads."""

from __future__ import annotations

import django_filters
from rest_framework import serializers

from campaigns.models import ContentItem
from ifeportal.api.filters import BooleanFilter
from ifeportal.api.schema import with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer, column_names


def content_state(item: ContentItem) -> dict[str, object]:
    """Return the API row of an item; `sha256` is None if the manifest has none."""
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
    """A content item of a campaign, according to its manifest."""

    values_of = content_state

    id = serializers.IntegerField()
    airline = serializers.CharField()
    campaign = serializers.CharField()
    content = serializers.CharField(help_text="Name of the item, without .tgz.")
    title = serializers.CharField()
    kind = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField(allow_null=True, help_text="Null if only the size is checked.")
    # Not an override: the metaclass removes declared fields, so `Field.required` stays.
    required = serializers.BooleanField()  # type: ignore[assignment]
    priority = serializers.IntegerField()
    position = serializers.IntegerField(help_text="Position in the manifest.")
    listed = serializers.BooleanField(help_text="False if the current manifest omits the item.")


class ContentFilter(django_filters.FilterSet):
    """Filters by airline, campaign, name, kind and flags."""

    airline = django_filters.CharFilter(field_name="campaign__airline__name")
    campaign = django_filters.CharFilter(field_name="campaign__name")
    content = django_filters.CharFilter(field_name="name")
    kind = django_filters.CharFilter(field_name="kind")
    required = BooleanFilter(field_name="required")
    listed = BooleanFilter(field_name="listed")


@with_summaries("content", "List content items", "Get a content item")
class Content(ReadOnlyViewSet[ContentItem]):
    """Content items of campaigns."""

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
