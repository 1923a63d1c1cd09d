"""Read-only admin of campaigns and content items. `campaigns.drafts.admin` edits drafts."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.drafts.admin import DraftAdmin
from campaigns.drafts.item_admin import DraftItemAdmin
from campaigns.drafts.page import overview
from campaigns.models import Campaign, ContentItem
from ifeportal.admin import columns
from ifeportal.admin.base import ReadOnlyScopedAdmin
from ifeportal.admin.overview import add_section

__all__ = ["CampaignAdmin", "ContentItemAdmin", "DraftAdmin", "DraftItemAdmin"]


@admin.register(Campaign)
class CampaignAdmin(ReadOnlyScopedAdmin[Campaign]):
    """Campaigns according to their manifests. The poller creates them when it finds them in the bucket."""

    about = "Campaigns as the bucket has them, according to their manifests. Drafts are where they are changed."
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
        columns.number("items_total", "items"),
        columns.size("bytes_total", "size"),
        "page",
    ]
    list_filter = ["manifest_state", "signed", "discovered", "airline"]
    list_select_related = ["airline"]
    search_fields = ["name", "title", "airline__name", "manifest_problem"]
    date_hierarchy = "exhibition_starts"

    @admin.display(description="signature", ordering="signed")
    def signature(self, campaign: Campaign) -> str:
        # Words, because Django's red cross for False would look like an error.
        return "Signed" if campaign.signed else "Not signed"

    @admin.display(description="draft")
    def draft(self, campaign: Campaign) -> SafeString:
        """Link to the draft of the campaign, or to the form that creates it."""
        query = urlencode({"airline": campaign.airline_id, "name": campaign.name})
        return format_html('<a href="{}?{}">Edit</a>', reverse("admin:campaigns_draft_add"), query)


@admin.register(ContentItem)
class ContentItemAdmin(ReadOnlyScopedAdmin[ContentItem]):
    """Content items according to the manifests."""

    about = "Content items, according to the manifests."
    list_display = [
        "name",
        "campaign",
        "airline",
        "title",
        "kind",
        columns.size("size", "size"),
        "required",
        "priority",
        "listed",
    ]
    list_filter = ["listed", "required", "campaign__airline"]
    list_select_related = ["campaign__airline"]
    search_fields = ["name", "title", "sha256", "campaign__name"]

    @admin.display(ordering="campaign__airline__name")
    def airline(self, item: ContentItem) -> str:
        return str(item.campaign.airline)


add_section("campaigns", 10, overview.section)
