"""Forms for an airline's settings: thresholds for operators, name, logo and colour for managers.

Touches one airline and its logo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from ifeportal.airlines.branding import UPLOAD_LIMIT, BadLogo, render_logo, set_logo
from ifeportal.models import Airline

if TYPE_CHECKING:
    _AirlineForm = forms.ModelForm[Airline]
else:
    _AirlineForm = forms.ModelForm
THRESHOLDS = ["stalled_after_minutes", "silent_after_hours", "risk_before_hours"]


class LogoField(forms.FileField):
    """A picture; what it cleans to is our own drawing of it, as bytes, or None where none was chosen."""

    widget = forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/webp"})

    def clean(self, data: Any, initial: Any = None) -> Any:
        """The PNG. Raises ValidationError with the reason."""
        given = super().clean(data, initial)
        if not isinstance(given, UploadedFile):
            return None
        try:
            return render_logo(given.read(UPLOAD_LIMIT + 1))
        except BadLogo as error:
            raise forms.ValidationError(str(error)) from error


class ColourField(forms.CharField):
    """A colour, whichever way its letters are written."""

    def to_python(self, value: Any) -> str:
        """In small letters."""
        return str(super().to_python(value)).lower()


class ThresholdForm(_AirlineForm):
    """When a load counts as stalled or at risk, and a tail as silent."""

    class Meta:
        model = Airline
        fields = THRESHOLDS
        labels = {
            "stalled_after_minutes": "Stalled after minutes",
            "silent_after_hours": "Silent after hours",
            "risk_before_hours": "At risk, hours before the exhibition",
        }


class AirlineForm(_AirlineForm):
    """All of it. A logo that was chosen wins over the tick to remove it."""

    new_logo = LogoField(
        required=False,
        label="Logo",
        help_text="PNG, JPEG or WebP, at most 1 MB. It is drawn anew, small.",
    )
    remove_logo = forms.BooleanField(required=False, label="Show no logo")

    class Meta:
        model = Airline
        fields = ["title", *THRESHOLDS, "colour", "contact"]
        labels = ThresholdForm.Meta.labels
        field_classes = {"colour": ColourField}
        widgets = {
            "contact": forms.Textarea(attrs={"rows": 3}),
            "colour": forms.TextInput(attrs={"placeholder": "#1a2b3c", "autocomplete": "off", "spellcheck": "false"}),
        }

    def save(self, commit: bool = True) -> Airline:
        """Keep the airline, and its logo if it changes; without `commit` the caller saves the airline itself."""
        airline = super().save(commit=False)
        png, remove = self.cleaned_data["new_logo"], self.cleaned_data["remove_logo"]
        with transaction.atomic():
            if not airline.pk:
                airline.save()
            if png or remove:
                set_logo(airline, png)
            if commit:
                airline.save()
        return airline
