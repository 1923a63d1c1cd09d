"""Models of campaigns and their drafts. Import them from here."""

from campaigns.models.campaigns import Campaign, CampaignQuerySet, ContentItem, ContentItemQuerySet, ManifestState
from campaigns.models.drafts import (
    BUSY_STATES,
    IS_HASHED,
    Draft,
    DraftItem,
    DraftItemQuerySet,
    DraftQuerySet,
    DraftState,
)

__all__ = [
    "BUSY_STATES",
    "IS_HASHED",
    "Campaign",
    "CampaignQuerySet",
    "ContentItem",
    "ContentItemQuerySet",
    "Draft",
    "DraftItem",
    "DraftItemQuerySet",
    "DraftQuerySet",
    "DraftState",
    "ManifestState",
]
