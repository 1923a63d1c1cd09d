"""Admin of airlines."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from ifeportal.admin.base import AirlineScopedAdmin
from ifeportal.airlines.forms import THRESHOLDS, AirlineForm
from ifeportal.models import Airline
from loader.contract.names import check_name, conflict_key
from loader.errors import BadName


class AirlineAdminForm(AirlineForm):
    """Settings of an airline, and its name, which must follow the contract like a name found in a bucket."""

    class Meta(AirlineForm.Meta):
        fields = ["name", "title", "archive_after_days", *THRESHOLDS, "colour", "contact", "verify_archives"]
        help_texts = AirlineForm.Meta.help_texts | {
            "name": "The name in the bucket keys.",
            "discovered": "Created by the poller from a bucket key, not by a person.",
        }

    def clean_name(self) -> str:
        """Return the name. Raises ValidationError if it cannot be part of object keys and URLs, or is taken."""
        name: str = self.cleaned_data["name"]
        try:
            check_name(name)
        except BadName as error:
            raise forms.ValidationError(f"This name cannot be part of an object key: {error}.") from error
        if any(conflict_key(other) == conflict_key(name) for other in Airline.objects.values_list("name", flat=True)):
            raise forms.ValidationError("An airline with this name exists. Names must differ in more than case.")
        return name


@admin.register(Airline)
class AirlineAdmin(AirlineScopedAdmin[Airline]):
    """Airlines. The name of an existing airline cannot change: it is part of every object key."""

    task = "Airlines"
    is_main_list = True
    about = "Airlines and their settings. The name is part of every object key, so it cannot change."
    empty = "The poller adds an airline when it finds a key that begins with its name. You can also add it now."
    form = AirlineAdminForm
    list_display = ["name", "title", "discovered", "created_at", "page"]
    list_filter = ["discovered"]
    search_fields = ["name", "title"]
    date_hierarchy = "created_at"
    readonly_fields = ["discovered", "created_at", "page"]

    def get_readonly_fields(self, request: HttpRequest, obj: Airline | None = None) -> list[str]:
        fixed = ["discovered", "created_at"]
        return ["name", *fixed, "page"] if obj else fixed
