"""Admin of the audit log, read-only."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from ifeportal.admin.base import AirlineScopedAdmin, ReadOnlyAdmin
from ifeportal.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(AirlineScopedAdmin[AuditEntry], ReadOnlyAdmin[AuditEntry]):
    """Audit entries: who changed what."""

    group = "Records"
    about = "Who changed what, when, and from where. Entries cannot be changed."
    empty = "Every change in the portal adds an entry."
    names: ClassVar = {
        "at": "time",
        "user": "user account",
        "who": "user",
        "whose": "airline's name",
        "via": "made through",
    }
    list_display = ["at", "who", "action", "target", "whose", "via", "address"]
    list_filter = ["via", "airline"]
    search_fields = ["who", "action", "target", "whose"]
    date_hierarchy = "at"
