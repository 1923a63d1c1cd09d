"""Forms of drafts and their items in the admin. A field that someone else changed meanwhile is not overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.db.models import QuerySet

from campaigns.models import Campaign, Draft, DraftItem
from loader.contract.names import check_name, conflict_key
from loader.errors import BadName

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm
else:

    class _ModelForm(forms.ModelForm):
        def __class_getitem__(cls, _: object) -> type:
            return cls


DRAFT_FIELDS: Final = ("title", "exhibition_starts", "exhibition_ends")
ITEM_FIELDS: Final = ("included", "title", "kind", "required", "priority")


class EditForm(_ModelForm[Any]):
    """Sends the values that the page showed along with the new ones, so that only fields the user changed are saved.

    A field that someone else changed since the page was shown gets an error with the current value; saving again
    replaces it. A client that does not send the shown values replaces whatever is there.
    """

    watched: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            return
        for name in self.watched:
            if name in self.fields:
                self.fields[name].show_hidden_initial = True
        if self.is_bound:
            self._show({name: self.initial.get(name) for name in self._watched() if not self._was_sent(name)})

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        conflicts = {
            name: current
            for name in self._watched()
            if name in cleaned
            and name in self.changed_data
            and (current := getattr(self.instance, name)) not in (self._shown(name), cleaned[name])
        }
        for name, current in conflicts.items():
            self.add_error(name, _conflict_text(current))
        self._show(conflicts)
        return cleaned

    def _watched(self) -> list[str]:
        return [name for name, field in self.fields.items() if field.show_hidden_initial]

    def _was_sent(self, name: str) -> bool:
        return self[name].html_initial_name in self.data

    def _shown(self, name: str) -> object:
        """Return the value that the page showed."""
        return self.fields[name].to_python(self.data.get(self[name].html_initial_name))

    def _show(self, values: dict[str, Any]) -> None:
        """Take these values as the ones that the page shows."""
        if not values:
            return
        data: Any = self.data  # of a request, it cannot be changed
        self.data = data = data.copy()
        for name, value in values.items():
            data[self[name].html_initial_name] = "" if value is None else str(value)


def _conflict_text(current: object) -> str:
    shown = "yes" if current is True else "no" if current is False else "empty" if current in (None, "") else current
    return f"Someone else changed this to “{shown}” meanwhile. Save again to replace it with your value."


class DraftForm(EditForm):
    """A draft: its name follows the contract, and differs from other campaigns in more than case."""

    watched = DRAFT_FIELDS

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
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


class ItemForm(EditForm):
    """A row of a table. Fields have no visible label, so each names itself and the item for screen readers."""

    watched = ITEM_FIELDS

    class Meta:
        model = DraftItem
        fields = ITEM_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name in ITEM_FIELDS:
                field.widget.attrs["aria-label"] = f"{field.label} of {self.instance.name}"
