"""Read-only admin of the library. Pages of the portal rename and delete items."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from campaigns.library.models import LibraryItem
from ifeportal import formatting
from ifeportal.admin.base import ReadOnlyScopedAdmin


@admin.register(LibraryItem)
class LibraryItemAdmin(ReadOnlyScopedAdmin[LibraryItem]):
    """Items of libraries."""

    about = "Content of airlines that belongs to no campaign yet."
    empty = "An item appears here when someone uploads a file without a campaign."
    names: ClassVar = {"sha256": "SHA-256", "crc32": "CRC-32"}
    list_display = ["name", "airline", "title", "kind", "bytes", "sha256", "added_at", "added_by", "page"]
    list_filter = ["airline", "kind"]
    list_select_related = ["airline", "added_by"]
    search_fields = ["name", "title", "kind", "sha256"]
    ordering = ["-added_at", "-pk"]

    @admin.display(description="size", ordering="size")
    def bytes(self, row: LibraryItem) -> str:
        return formatting.size(row.size)
