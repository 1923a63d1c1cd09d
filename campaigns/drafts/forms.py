"""Forms of drafts and their items in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.db.models import QuerySet

from campaigns.models import Campaign, Draft, DraftItem
from loader.contract.names import check_name, conflict_key
from loader.errors import BadName

if TYPE_CHECKING:
    _DraftForm = forms.ModelForm[Draft]
    _ItemForm = forms.ModelForm[DraftItem]
else:
    _DraftForm = _ItemForm = forms.ModelForm

DRAFT_FIELDS: Final = ("title", "exhibition_starts", "exhibition_ends")
ITEM_FIELDS: Final = ("included", "title", "kind", "required", "priority")


class DraftForm(_DraftForm):
    """A draft: its name follows the contract, and differs from other campaigns in more than case."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        starts, ends = cleaned.get("exhibition_starts"), cleaned.get("exhibition_ends")
        if starts and ends and ends < starts:
            self.add_error("exhibition_ends", "The last day is before the first day.")
        name, airline = cleaned.get("name"), cleaned.get("airline")
        if name and airline:
            rows: tuple[QuerySet[Any], ...] = (Campaign.objects.all(), Draft.objects.exclude(pk=self.instance.pk))
            names = {other for each in rows for other in each.filter(airline=airline).values_list("name", flat=True)}
            conflicts = [other for other in names if other != name and conflict_key(other) == conflict_key(name)]
            if conflicts:
                self.add_error("name", f"This name differs from {conflicts[0]} only in case or normalisation.")
        return cleaned

    def clean_name(self) -> str:
        """Return the name if the contract allows it in keys. Raises ValidationError."""
        name: str = self.cleaned_data["name"]
        try:
            return check_name(name)
        except BadName as error:
            raise forms.ValidationError(f"This name cannot be used: {error}.") from error


class ItemForm(_ItemForm):
    """A row of a table. Fields have no visible label, so each names itself and the item for screen readers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name in ITEM_FIELDS:
                field.widget.attrs["aria-label"] = f"{field.label} of {self.instance.name}"
