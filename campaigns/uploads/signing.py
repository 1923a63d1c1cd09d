"""Signed addresses for the parts of an upload. Touches the database; computes signatures without asking the store."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from campaigns.uploads.announcements.part_plan import PartPlan
from campaigns.uploads.models import Upload, UploadPart
from campaigns.uploads.refusals import InvalidField, NotBegun
from campaigns.uploads.requests import plan_of, require_open, touch
from ifeportal.formatting import iso
from loader.contract.units import format_duration, parse_duration
from loader.frozen import frozen
from loader.s3.interface import Bucket

VALID_FOR: Final = 900.0  # seconds
LONGEST_VALID_FOR: Final = 12 * 3_600.0
PARTS_PER_REQUEST: Final = 1_000
SHA256_BYTES: Final = 32


@frozen
class PartToSign:
    """A part to send. `sha256`: its sum in Base64, "" if it is not announced."""

    number: int
    sha256: str = ""


def sign_parts(
    upload: Upload, parts: Sequence[PartToSign], bucket: Bucket, now: datetime, *, valid_for: float = VALID_FOR
) -> list[dict[str, Any]]:
    """Return the signed request for each part, and store the announced sums.

    The store verifies a sum only of an upload that `has_checksums`. Of others, a worker verifies it later.

    Raises RequestRefused, InvalidField for a part the upload does not have, NotBegun, WorldError without credentials.
    """
    plan = plan_of(upload)
    require_open(upload, now)
    _require_sums(upload, parts)
    sizes = {part.number: _length(plan, part.number) for part in parts}
    if not upload.store_upload_id:
        raise NotBegun
    signs_sums = upload.has_checksums
    multipart = bucket.resume_upload(upload.incoming_key, upload.store_upload_id, checksums=signs_sums)
    signed = [
        multipart.sign_part(
            part.number, sizes[part.number], sha256=part.sha256 if signs_sums else "", valid_for=valid_for
        )
        for part in parts
    ]
    UploadPart.objects.bulk_create(
        [UploadPart(upload=upload, number=part.number, sha256=part.sha256) for part in parts],
        update_conflicts=True,
        unique_fields=["upload", "number"],
        update_fields=["sha256"],
    )
    touch(upload, now)
    return [
        {
            "number": part.number,
            "url": request.url,
            "method": request.method,
            "headers": dict(request.headers),
            "expires_at": iso(request.expires_at),
        }
        for part, request in zip(parts, signed, strict=True)
    ]


def parse_sha256(text: str) -> str:
    """Return the SHA-256 of a part in Base64. Raises ValueError with a sentence."""
    try:
        length = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        length = -1
    if length != SHA256_BYTES or len(text) != 44:
        raise ValueError("Send the SHA-256 of the part as Base64: 44 characters.")
    return text


def parse_valid_for(text: str) -> float:
    """Return seconds from "12 hours", "30 min" or "900". Raises ValueError with a sentence."""
    try:
        seconds = parse_duration(text[:100])
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_VALID_FOR:
        most = format_duration(LONGEST_VALID_FOR)
        raise ValueError(f"Write a duration from 1 second to {most}, such as 15 minutes or 12 hours.")
    return seconds


def _require_sums(upload: Upload, parts: Sequence[PartToSign]) -> None:
    """Raise InvalidField if a part has no sum although the upload was announced with sums."""
    without = [part.number for part in parts if not part.sha256]
    if upload.has_checksums and without:
        text = f"Part {without[0]:,}: send its sha256, because the upload was announced with first_part_sha256."
        raise InvalidField("parts", text)


def _length(plan: PartPlan, number: int) -> int:
    try:
        return plan.length(number)
    except ValueError as error:
        raise InvalidField("parts", f"There is no part {number:,}. {error}") from error
