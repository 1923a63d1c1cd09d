"""The admin of campaigns and their items: facts of the manifests, to look at."""

from __future__ import annotations

from django.contrib import admin

from campaigns.models import Campaign, ContentItem
from ifeportal.admins import Observed


@admin.register(Campaign)
class CampaignAdmin(Observed[Campaign]):
    """Campaigns, as their manifests say. They are made by publishing, or found in the bucket."""

    list_display = [
        "name",
        "airline",
        "title",
        "version",
        "exhibition_starts",
        "exhibition_ends",
        "manifest_state",
        "items_total",
        "bytes_total",
        "page",
    ]
    list_filter = ["manifest_state", "discovered", "airline"]
    list_select_related = ["airline"]
    search_fields = ["name", "title", "airline__name", "manifest_problem"]
    date_hierarchy = "exhibition_starts"


@admin.register(ContentItem)
class ContentItemAdmin(Observed[ContentItem]):
    """The items of campaigns."""

    list_display = ["name", "campaign", "airline", "title", "kind", "size", "required", "priority", "listed"]
    list_filter = ["listed", "required", "campaign__airline"]
    list_select_related = ["campaign__airline"]
    search_fields = ["name", "title", "sha256", "campaign__name"]

    @admin.display(ordering="campaign__airline__name")
    def airline(self, item: ContentItem) -> str:
        """The airline of its campaign."""
        return str(item.campaign.airline)
