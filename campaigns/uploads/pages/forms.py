"""The form that has the portal fetch a file from a URL. A valid one becomes an `UploadRequest`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from django import forms

from campaigns.uploads.announcements import names
from campaigns.uploads.announcements.source_urls import URL_LIMIT, parse_source_url
from campaigns.uploads.requests import UploadRequest
from loader.errors import BadName


class SourceUrlForm(forms.Form):
    """A URL, a destination, and a file name, by default the last part of the URL's path."""

    source_url = forms.CharField(max_length=URL_LIMIT)
    destination = forms.CharField(max_length=500)
    name = forms.CharField(max_length=names.FILE_NAME_LIMIT, required=False)
    replace = forms.BooleanField(required=False)

    def clean_source_url(self) -> str:
        """Return the URL. Raises ValidationError."""
        try:
            return parse_source_url(self.cleaned_data["source_url"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        """Parse the names. Raises ValidationError."""
        data = self.cleaned_data
        if "source_url" not in data or "destination" not in data:
            return data
        data["airline"], _, campaign = data["destination"].partition("/")
        text = data.get("name") or unquote(PurePosixPath(urlsplit(data["source_url"]).path).name)
        try:
            data["file"] = names.parse_file_name(text)
            data["campaign"] = names.parse_campaign(campaign) if campaign else ""
        except BadName as error:
            raise forms.ValidationError(f"The file cannot have this name: {error}. Enter a file name.") from error
        return data

    def parsed(self) -> UploadRequest:
        """Return the request, after `is_valid`."""
        data = self.cleaned_data
        return UploadRequest(
            file=data["file"],
            size=None,
            campaign=data["campaign"],
            source_url=data["source_url"],
            replace=data["replace"],
        )

    def first_error(self) -> str:
        """Return the first sentence that says what is wrong."""
        return str(next(iter(next(iter(self.errors.values()), [])), "The form is incomplete."))
