"""Models of campaigns and their drafts. Import them from here."""

from campaigns.models.campaigns import Campaign, CampaignQuerySet, ContentItem, ContentItemQuerySet, ManifestState
from campaigns.models.drafts import (
    BUSY_STATES,
    HASH_OUTDATED,
    IS_HASHED,
    NO_ERROR,
    NOT_HASHED,
    OPERATION_KINDS,
    TO_HASH,
    Draft,
    DraftItem,
    DraftItemQuerySet,
    DraftQuerySet,
    DraftState,
)

__all__ = [
    "BUSY_STATES",
    "HASH_OUTDATED",
    "IS_HASHED",
    "NOT_HASHED",
    "NO_ERROR",
    "OPERATION_KINDS",
    "TO_HASH",
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
