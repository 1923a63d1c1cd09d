"""Filters of the lists of drafts and items in the admin."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from campaigns.models import IS_HASHED, TO_HASH, Draft, DraftItem


class ExhibitionFilter(admin.SimpleListFilter):
    """Drafts by when the campaign is shown."""

    title = "exhibition"
    parameter_name = "exhibition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "Now"), ("later", "Later"), ("over", "Ended"), ("unknown", "No dates")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Draft]) -> QuerySet[Draft]:
        today = timezone.now().date()
        match self.value():
            case "now":
                ends = Q(exhibition_ends=None) | Q(exhibition_ends__gte=today)
                return queryset.filter(ends, exhibition_starts__lte=today)
            case "later":
                return queryset.filter(exhibition_starts__gt=today)
            case "over":
                return queryset.filter(exhibition_ends__lt=today)
            case "unknown":
                return queryset.filter(exhibition_starts=None, exhibition_ends=None)
        return queryset


class ShowFilter(admin.SimpleListFilter):
    """Items by their status."""

    title = "status"
    parameter_name = "show"
    rows: Final = {
        "in": ("Included", Q(included=True)),
        "out": ("Excluded", Q(included=False)),
        "fault": ("With problems", ~Q(error_text="") & ~Q(error_text__in=TO_HASH)),
        "unhashed": ("Not hashed", ~IS_HASHED),
        "waiting": ("Waiting to be hashed", Q(hash_pending=True)),
        "gone": ("Not in the bucket", Q(size=None)),
        "listed": ("In the manifest", Q(in_manifest=True)),
        "new": ("Not in the manifest", Q(in_manifest=False)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, words) for key, (words, _) in self.rows.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DraftItem]) -> QuerySet[DraftItem]:
        found = self.rows.get(self.value() or "")
        return queryset.filter(found[1]) if found else queryset
