"""Admin of the change feed, read-only."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from ifeportal.admin.base import ReadOnlyScopedAdmin
from ifeportal.live.models import Change


@admin.register(Change)
class ChangeAdmin(ReadOnlyScopedAdmin[Change]):
    """The change feed: the latest state of every object that pages show live."""

    group = "Records"
    about = "The latest state of each object that open pages show live."
    empty = "A row appears when the poller reads something new."
    names: ClassVar = {
        "object": "object id",
        "rev": "revision",
        "op": "operation",
        "min_role": "from role",
    }
    list_display = ["rev", "topic", "object", "op", "airline", "tail", "campaign", "min_role", "user"]
    list_filter = ["topic", "op", "airline"]
    list_select_related = ["airline", "user"]
    search_fields = ["tail", "campaign"]
