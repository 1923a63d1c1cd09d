"""The form that changes title and kind of a library item."""

from __future__ import annotations

from django import forms

from campaigns.uploads.api.bodies import parse_line


class LineField(forms.CharField):
    """Text without control characters."""

    def clean(self, value: object) -> str:
        """Return the text. Raises ValidationError."""
        text = super().clean(value)
        try:
            return parse_line(text)
        except ValueError as error:
            raise forms.ValidationError("Enter text without control characters and line breaks.") from error


class TextsForm(forms.Form):
    """Title and kind."""

    title = LineField(max_length=500, required=False)
    kind = LineField(max_length=100, required=False)
