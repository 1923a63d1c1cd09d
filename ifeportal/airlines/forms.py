"""Forms for the settings of an airline: thresholds for operators; also title, logo and colour for managers.

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
    """An uploaded image. Its cleaned value is the re-encoded PNG in bytes, or None without an upload."""

    widget = forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/webp"})

    def clean(self, data: Any, initial: Any = None) -> Any:
        upload = super().clean(data, initial)
        if not isinstance(upload, UploadedFile):
            return None
        try:
            return render_logo(upload.read(UPLOAD_LIMIT + 1))
        except BadLogo as error:
            raise forms.ValidationError(str(error)) from error


class ColourField(forms.CharField):
    """A colour, converted to lower case."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).lower()


class ThresholdForm(_AirlineForm):
    """Thresholds of the states stalled, silent and at risk."""

    class Meta:
        model = Airline
        fields = THRESHOLDS
        labels = {
            "stalled_after_minutes": "Stalled after (minutes)",
            "silent_after_hours": "Silent after (hours)",
            "risk_before_hours": "At risk before exhibition (hours)",
        }
        help_texts = {
            "stalled_after_minutes": "A load is stalled if its loader is alive but receives no bytes for this long.",
            "silent_after_hours": "A tail is silent if it has not reported for this long.",
            "risk_before_hours": "A load that failed or has no forecast is at risk this long before its exhibition.",
        }


class AirlineForm(_AirlineForm):
    """Thresholds, title, logo, colour and contact. An uploaded logo takes precedence over the removal of the logo."""

    new_logo = LogoField(
        required=False,
        label="Logo",
        help_text="PNG, JPEG or WebP, at most 1 MB. The image is scaled down.",
    )
    remove_logo = forms.BooleanField(required=False, label="Remove the logo")

    class Meta:
        model = Airline
        fields = ["title", *THRESHOLDS, "colour", "contact", "verify_archives"]
        labels = ThresholdForm.Meta.labels | {"verify_archives": "Check uploaded archives completely"}
        help_texts = ThresholdForm.Meta.help_texts | {
            "title": "The name that pages show. If empty, the name in the bucket keys.",
            "archive_after_days": "Finished loads are archived into one object each after this many days. "
            "If empty, ARCHIVE_AFTER applies.",
            "colour": "Shown next to the airline's name. Format: #rrggbb.",
            "contact": "Contact for this airline, shown to the operator on duty.",
            "verify_archives": "Uploaded .tgz files are unpacked to their end before they are accepted. "
            "If off, only their beginning is checked.",
        }
        field_classes = {"colour": ColourField}
        widgets = {
            "contact": forms.Textarea(attrs={"rows": 3}),
            "colour": forms.TextInput(attrs={"placeholder": "#1a2b3c", "autocomplete": "off", "spellcheck": "false"}),
        }

    def save(self, commit: bool = True) -> Airline:
        """Save the airline, and its logo if it changed. Without `commit`, the caller saves the airline."""
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
