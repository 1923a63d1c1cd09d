"""The table of library items: content in `<airline>/.library/`, which belongs to no campaign yet."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline, User


class LibraryItemQuerySet(ScopedQuerySet["LibraryItem"]):
    """Library items of airlines."""


class LibraryItem(models.Model):
    """One `.tgz` in the library of an airline. Size in bytes, sums in hexadecimal of the object with `etag`."""

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

    class Meta:
        ordering = ["airline__name", "name"]
        constraints = [
            models.UniqueConstraint("airline", Lower("name"), name="library_item_differs_in_more_than_case"),
            models.CheckConstraint(condition=Q(size__gte=0), name="library_item_size_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} in the library of {self.airline.name}"
