"""The table of library items: content in `<airline>/.library/`, which belongs to no campaign yet."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower
from django.urls import reverse

from campaigns.models import IS_HASHED, ContentItem, DraftItem
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline, User
from loader.frozen import frozen

_SAME_CONTENT = {"name": OuterRef("name"), "sha256": OuterRef("sha256")}


@frozen
class CampaignUse:
    """A campaign that has an item of the same name and the same bytes. `draft`: id of its draft that has it, or None.

    `published`: its manifest lists the item.
    """

    campaign: str
    draft: int | None
    published: bool


class LibraryItemQuerySet(ScopedQuerySet["LibraryItem"]):
    """Library items of airlines."""

    def used(self) -> Self:
        """Return the items that a draft or a published campaign has, with the same name and the same bytes."""
        return self.filter(_is_used())

    def unused(self) -> Self:
        """Return the items that no campaign has."""
        return self.exclude(_is_used())


def _is_used() -> Q:
    airline = OuterRef("airline")
    in_drafts = DraftItem.objects.filter(IS_HASHED, draft__airline=airline, size__isnull=False, **_SAME_CONTENT)
    published = ContentItem.objects.filter(
        campaign__airline=airline, campaign__withdrawn_at=None, listed=True, **_SAME_CONTENT
    )
    return Q(Exists(in_drafts)) | Q(Exists(published))


class LibraryItem(models.Model):
    """One `.tgz` in the library of an airline. Size in bytes, sums in hexadecimal of the object with `etag`.

    `uses` are read by `uses.set_uses`.
    """

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="library")
    name = models.CharField(max_length=200, help_text="Without .tgz.")
    title = models.CharField(max_length=500, blank=True, default="")
    kind = models.CharField(max_length=100, blank=True, default="", help_text="For example movie, music or map.")
    size = models.BigIntegerField()
    etag = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    crc32 = models.CharField(max_length=8, blank=True, default="")
    added_at = models.DateTimeField()
    added_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = LibraryItemQuerySet.as_manager()
    uses: tuple[CampaignUse, ...] = ()

    class Meta:
        ordering = ["airline__name", "name"]
        constraints = [
            models.UniqueConstraint("airline", Lower("name"), name="library_item_differs_in_more_than_case"),
            models.CheckConstraint(condition=Q(size__gte=0), name="library_item_size_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} in the library of {self.airline.name}"

    def get_absolute_url(self) -> str:
        return reverse("library-item", args=[self.pk])
