"""Admin of campaigns and their items, read-only: values of the manifests. `campaigns.drafts.admin` edits drafts."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.drafts.admin import DraftAdmin
from campaigns.drafts.item_admin import DraftItemAdmin
from campaigns.models import Campaign, ContentItem
from ifeportal.admin.base import ReadOnlyScopedAdmin

__all__ = ["CampaignAdmin", "ContentItemAdmin", "DraftAdmin", "DraftItemAdmin"]


@admin.register(Campaign)
class CampaignAdmin(ReadOnlyScopedAdmin[Campaign]):
    """Campaigns, as their manifests say. They are made by publishing, or found in the bucket."""

    list_display = [
        "name",
        "draft",
        "airline",
        "title",
        "version",
        "exhibition_starts",
        "exhibition_ends",
        "manifest_state",
        "signature",
        "withdrawn_at",
        "items_total",
        "bytes_total",
        "page",
    ]
    list_filter = ["manifest_state", "signed", "discovered", "airline"]
    list_select_related = ["airline"]
    search_fields = ["name", "title", "airline__name", "manifest_problem"]
    date_hierarchy = "exhibition_starts"

    @admin.display(description="signature", ordering="signed")
    def signature(self, campaign: Campaign) -> str:
        """Whether there is one; Django's own mark for "no" would look like a fault."""
        return "signed" if campaign.signed else "none"

    @admin.display(description="draft")
    def draft(self, campaign: Campaign) -> SafeString:
        """To where it is edited, published and withdrawn."""
        query = urlencode({"airline": campaign.airline_id, "name": campaign.name})
        return format_html('<a href="{}?{}">edit</a>', reverse("admin:campaigns_draft_add"), query)


@admin.register(ContentItem)
class ContentItemAdmin(ReadOnlyScopedAdmin[ContentItem]):
    """The items of campaigns."""

    list_display = ["name", "campaign", "airline", "title", "kind", "size", "required", "priority", "listed"]
    list_filter = ["listed", "required", "campaign__airline"]
    list_select_related = ["campaign__airline"]
    search_fields = ["name", "title", "sha256", "campaign__name"]

    @admin.display(ordering="campaign__airline__name")
    def airline(self, item: ContentItem) -> str:
        """The airline of its campaign."""
        return str(item.campaign.airline)
