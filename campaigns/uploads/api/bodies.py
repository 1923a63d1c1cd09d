"""Bodies of requests and answers about uploads. A valid body becomes typed values; nothing else passes."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Final

from rest_framework import serializers

from campaigns.uploads.announcements import names
from campaigns.uploads.announcements.source_urls import parse_source_url
from campaigns.uploads.requests import UploadRequest
from campaigns.uploads.signing import PARTS_PER_REQUEST, VALID_FOR, PartToSign, parse_sha256, parse_valid_for
from loader.errors import BadName

SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
CONTENT_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+( *; *[ -:<-~]+)*", re.IGNORECASE | re.ASCII)
LARGEST_INTEGER: Final = 2**63 - 1
LATEST_FILE_TIME: Final = 2**53  # Unix milliseconds: the largest integer that JavaScript represents


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a fraction: neither text nor true, which REST framework would accept."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises ValidationError."""
        if type(data) is not int:
            raise serializers.ValidationError("Send a whole number.")
        return int(super().to_internal_value(data))


class ParsedTextField(serializers.CharField):
    """Text that a function parses; its ValueError or BadName is the error of the field."""

    def __init__(self, parse: Callable[[str], Any], **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)
        self.parse = parse

    def to_internal_value(self, data: Any) -> Any:
        """Return the parsed value. Raises ValidationError."""
        if not isinstance(data, str):
            raise serializers.ValidationError("Send text.")
        text = super().to_internal_value(data)
        try:
            return self.parse(text)
        except (ValueError, BadName) as error:
            raise serializers.ValidationError(_sentence(str(error))) from error


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def parse_hex_sha256(text: str) -> str:
    """Return a SHA-256 in lower-case hexadecimal. Raises ValueError."""
    if not SHA256_HEX.fullmatch(text.lower()):
        raise ValueError("Send the SHA-256 in hexadecimal: 64 digits.")
    return text.lower()


def parse_any_sha256(text: str) -> str:
    """Return a SHA-256 in hexadecimal from hexadecimal or Base64. Raises ValueError."""
    return base64.b64decode(parse_sha256(text)).hex() if len(text) == 44 else parse_hex_sha256(text)


def parse_content_type(text: str) -> str:
    """Return a media type. Raises ValueError."""
    if not CONTENT_TYPE.fullmatch(text):
        raise ValueError("Send a media type such as video/mp4.")
    return text


def parse_line(text: str) -> str:
    """Return text without white space around it. Raises ValueError if it has control characters."""
    if not text.isprintable():
        raise ValueError("Send text without control characters and line breaks.")
    return text.strip()


class UploadBody(serializers.Serializer[Any]):
    """A request for an upload. Send either `size` or `source_url`."""

    airline = serializers.CharField(max_length=200)
    name = ParsedTextField(names.parse_file_name, help_text="File name. A .tgz is stored as it is.")
    size = WholeNumberField(min_value=0, max_value=LARGEST_INTEGER, required=False, help_text="Bytes.")
    source_url = ParsedTextField(
        parse_source_url, required=False, help_text="https: address from which the portal fetches the file."
    )
    campaign = ParsedTextField(
        names.parse_campaign, required=False, help_text="Name of the campaign; without it, the library."
    )
    title = ParsedTextField(parse_line, required=False, allow_blank=True, max_length=500)
    kind = ParsedTextField(
        parse_line, required=False, allow_blank=True, max_length=100, help_text="For example movie, music or map."
    )
    content_type = ParsedTextField(parse_content_type, required=False, max_length=200)
    sha256 = ParsedTextField(parse_hex_sha256, required=False, help_text="Of the file, hexadecimal.")
    replace = serializers.BooleanField(required=False, default=False, help_text="Replace an item of this name.")
    file_modified = WholeNumberField(
        min_value=-LATEST_FILE_TIME,
        max_value=LATEST_FILE_TIME,
        required=False,
        help_text="When the file was last modified, Unix milliseconds: lets a browser recognise it.",
    )
    first_part_sha256 = ParsedTextField(
        parse_any_sha256,
        required=False,
        help_text="Of the first part, hexadecimal or Base64. Announces that every part is sent with its SHA-256, "
        "which the store verifies, and lets a browser recognise the file.",
    )

    def to_internal_value(self, data: Any) -> Any:
        """Treat optional fields that are null or "" as absent, as forms send them."""
        if isinstance(data, dict):
            optional = {name for name, field in self.fields.items() if not field.required}
            data = {name: value for name, value in data.items() if not (name in optional and value in (None, ""))}
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError unless exactly one of size and source_url is given, and for an empty file."""
        if ("size" in attrs) == ("source_url" in attrs):
            raise serializers.ValidationError({"size": ["Send either size or source_url."]})
        if attrs.get("size") == 0:
            raise serializers.ValidationError({"size": ["The file is empty."]})
        return attrs

    def parsed(self) -> UploadRequest:
        """Return the request, after `is_valid`."""
        fields = {name: value for name, value in self.validated_data.items() if name not in ("airline", "name")}
        return UploadRequest(file=self.validated_data["name"], size=fields.pop("size", None), **fields)


class PartBody(serializers.Serializer[Any]):
    """A part to sign."""

    number = WholeNumberField(min_value=1, max_value=10_000, help_text="From 1 to `parts_total`.")
    sha256 = ParsedTextField(parse_sha256, required=False, help_text="Of the part, Base64.")


class PartsBody(serializers.Serializer[Any]):
    """Parts to sign."""

    parts = serializers.ListField(child=PartBody(), min_length=1, max_length=PARTS_PER_REQUEST)
    valid_for = ParsedTextField(
        parse_valid_for, required=False, help_text="How long the addresses are valid: 15 minutes, at most 12 hours."
    )

    def validate_parts(self, parts: list[dict[str, Any]]) -> list[PartToSign]:
        """Return the parts. Raises ValidationError if a number occurs twice."""
        if len({part["number"] for part in parts}) < len(parts):
            raise serializers.ValidationError("Each number may occur once.")
        return [PartToSign(part["number"], part.get("sha256", "")) for part in parts]

    def parsed(self) -> tuple[list[PartToSign], float]:
        """Return the parts and the seconds for which they are signed, after `is_valid`."""
        return self.validated_data["parts"], self.validated_data.get("valid_for", VALID_FOR)


class SignedPart(serializers.Serializer[Any]):
    """A request that sends a part to the store."""

    number = serializers.IntegerField()
    url = serializers.CharField()
    method = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField(), help_text="Send exactly these.")
    expires_at = serializers.DateTimeField()


class SignedParts(serializers.Serializer[Any]):
    """Requests that send parts to the store."""

    parts = SignedPart(many=True)


class StoredPart(serializers.Serializer[Any]):
    """A part that the store has."""

    number = serializers.IntegerField()
    size = serializers.IntegerField(help_text="Bytes.")
    etag = serializers.CharField()


class StoredParts(serializers.Serializer[Any]):
    """The parts that the store has."""

    part_size = serializers.IntegerField(help_text="Bytes of every part but the last.")
    parts = StoredPart(many=True)
