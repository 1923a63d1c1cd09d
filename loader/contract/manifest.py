"""`campaign.json`, the manifest of a campaign: parsed strictly, built with unknown fields preserved. Pure.

One invalid field refuses the complete manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, date, datetime, time
from typing import Final

from loader.contract.names import check_name, conflict_key, content_name, listed_name
from loader.contract.strict_json import (
    INT_LIMIT,
    Fields,
    dumps,
    format_utc,
    format_utc_or_none,
    json_type_name,
    loads,
    with_extra,
)
from loader.contract.units import MIB
from loader.errors import BadManifest, BadName, Code
from loader.frozen import frozen

MANIFEST_LIMIT: Final = 5 * MIB
ITEMS_LIMIT: Final = 10_000
TAILS_LIMIT: Final = 10_000
PRIORITY_LIMIT: Final = 2**31 - 1

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


@frozen
class Item:
    """A content item. `name` is without `.tgz`, `size` in bytes, `sha256` in lower-case hexadecimal or None."""

    name: str
    size: int
    sha256: str | None = None
    title: str = ""
    kind: str = ""
    required: bool = True
    priority: int = 0
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@frozen
class Exhibition:
    """First and last day on which the campaign is shown; None if unknown."""

    starts: date | None = None
    ends: date | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@frozen
class Manifest:
    """The fields of a manifest; None if missing. `extra` has the fields that this version does not know.

    `tails`: the aircraft that may load it, None for all. `expires`: no download of it begins from then on. `signed_at`:
    when it was built for signing. Times are in UTC and count only in a signed manifest.
    """

    content: tuple[Item, ...]
    airline: str | None = None
    campaign: str | None = None
    version: int | None = None
    title: str = ""
    exhibition: Exhibition = field(default_factory=Exhibition)
    schema: int | None = None
    tails: tuple[str, ...] | None = None
    expires: datetime | None = None
    signed_at: datetime | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def bytes_total(self) -> int:
        return sum(item.size for item in self.content)


def parse_manifest(body: bytes, *, airline: str, campaign: str) -> Manifest:
    """Return the manifest in `body`, the object in the prefix `<airline>/<campaign>/`.

    Raises:
        BadManifest: the body breaks the contract; the sentence names the field. The code is BAD_NAME if a name is
            the reason, else BAD_MANIFEST.
    """
    document = loads(body, limit=MANIFEST_LIMIT, error=BadManifest, any_form=True)
    return manifest_from_json(document, airline=airline, campaign=campaign)


def manifest_from_json(document: object, *, airline: str, campaign: str) -> Manifest:
    """Return the manifest in a parsed JSON document. Raises BadManifest."""
    if isinstance(document, list):
        document = {"content": document}
    fields = Fields(document, "", BadManifest)
    listed = fields.pop("content" if "content" in fields.extra else "items")
    manifest = Manifest(
        content=_items(listed),
        airline=_matching(fields, "airline", airline),
        campaign=_matching(fields, "campaign", campaign),
        version=fields.integer("version"),
        title=fields.text("title"),
        exhibition=_exhibition(fields.pop("exhibition")),
        schema=fields.integer("schema"),
        tails=_tails(fields),
        expires=_expires(fields),
        signed_at=fields.datetime_with_offset("signed_at"),
        extra=fields.extra,
    )
    if manifest.bytes_total > INT_LIMIT:
        raise BadManifest(f"content: the sizes add up to more than {INT_LIMIT} bytes")
    return manifest


def _matching(fields: Fields, name: str, prefix: str) -> str | None:
    value = fields.pop(name)
    if value is not None and value != prefix:
        found = f"{value[:80]!a}" if isinstance(value, str) else json_type_name(value)
        fields.fail(name, f"must be {prefix!a} as in the key of the object, not {found}")
    return None if value is None else prefix


def _expires(fields: Fields) -> datetime | None:
    """Return the time of `expires`; a date is its first moment in UTC."""
    value = fields.extra.get("expires")
    if isinstance(value, str) and len(value) == len("2026-12-31"):
        day = fields.iso_date("expires")
        return datetime.combine(day, time.min, UTC) if day else None
    return fields.datetime_with_offset("expires")


def _tails(fields: Fields) -> tuple[str, ...] | None:
    if fields.extra.get("tails") is None:
        fields.pop("tails")
        return None
    listed = fields.array("tails")
    if len(listed) > TAILS_LIMIT:
        fields.fail("tails", f"has {len(listed):,} names; the limit is {TAILS_LIMIT:,}")
    for index, tail in enumerate(listed):
        if not isinstance(tail, str):
            fields.fail(f"tails[{index}]", f"must be a string, not {json_type_name(tail)}")
        try:
            check_name(tail)
        except BadName as exc:
            fields.fail(f"tails[{index}]", str(exc), code=Code.BAD_NAME)
    return tuple(str(tail) for tail in listed)


def _exhibition(value: object) -> Exhibition:
    if value is None:
        return Exhibition()
    fields = Fields(value, "exhibition", BadManifest)
    return Exhibition(fields.iso_date("starts"), fields.iso_date("ends"), fields.extra)


def _items(listed: object) -> tuple[Item, ...]:
    if not isinstance(listed, list):
        raise BadManifest(
            "content: is missing" if listed is None else f"content: must be a list, not {json_type_name(listed)}"
        )
    if len(listed) > ITEMS_LIMIT:
        raise BadManifest(f"content: has {len(listed):,} items; the limit is {ITEMS_LIMIT:,}")
    items = tuple(_item(entry, f"content[{index}]") for index, entry in enumerate(listed))
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        other = first.setdefault(conflict_key(item.name), index)
        if other != index:
            raise BadManifest(
                f"content[{index}].name: {item.name!a} conflicts with {items[other].name!a} in content[{other}]; "
                "names must differ in more than case and normalisation"
            )
    return items


def _item(entry: object, path: str) -> Item:
    fields = Fields(entry, path, BadManifest)
    name = fields.pop("name")
    if not isinstance(name, str):
        fields.fail("name", "is missing" if name is None else f"must be a string, not {json_type_name(name)}")
    try:
        name = content_name(name)
    except BadName as exc:
        fields.fail("name", str(exc), code=Code.BAD_NAME)
    size = fields.integer("size")
    if size is None:
        fields.fail("size", "is missing")
    return Item(
        name=name,
        size=size,
        sha256=_sha256(fields),
        title=fields.text("title"),
        kind=fields.text("kind"),
        required=fields.boolean("required", True),
        priority=fields.integer("priority", -PRIORITY_LIMIT, PRIORITY_LIMIT) or 0,
        extra=fields.extra,
    )


def _sha256(fields: Fields) -> str | None:
    value = fields.pop("sha256")
    if value is None:
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        fields.fail("sha256", "must be 64 hexadecimal digits")
    return value.lower()


def build_manifest(manifest: Manifest) -> bytes:
    """Return the body of a `campaign.json`, unknown fields included; `parse_manifest` is the inverse.

    Raises:
        BadManifest: the body exceeds `MANIFEST_LIMIT`.
    """
    document = with_extra(
        {
            "schema": manifest.schema,
            "airline": manifest.airline,
            "campaign": manifest.campaign,
            "version": manifest.version,
            "title": manifest.title or None,
            "exhibition": _exhibition_fields(manifest.exhibition) or None,
            **restriction_fields(manifest),
            "content": _item_fields(manifest.content),
        },
        manifest.extra,
    )
    body = dumps(document)
    if len(body) > MANIFEST_LIMIT:
        raise BadManifest(f"the manifest has {len(body):,} bytes; the limit is {MANIFEST_LIMIT:,}")
    return body


def restriction_fields(manifest: Manifest) -> dict[str, object]:
    """Return the JSON values of `tails`, `expires` and `signed_at`; None if the manifest has none."""
    return {
        "tails": None if manifest.tails is None else list(manifest.tails),
        # Midnight is written as a date, so that a manifest read and written again does not change.
        "expires": format_utc(manifest.expires).removesuffix("T00:00:00Z") if manifest.expires else None,
        "signed_at": format_utc_or_none(manifest.signed_at),
    }


def _exhibition_fields(exhibition: Exhibition) -> dict[str, object]:
    return with_extra(
        {
            "starts": exhibition.starts.isoformat() if exhibition.starts else None,
            "ends": exhibition.ends.isoformat() if exhibition.ends else None,
        },
        exhibition.extra,
    )


def _item_fields(items: Sequence[Item]) -> list[dict[str, object]]:
    return [
        with_extra(
            {
                "name": listed_name(item.name),
                "size": item.size,
                "sha256": item.sha256,
                "title": item.title or None,
                "kind": item.kind or None,
                "required": None if item.required else False,
                "priority": item.priority or None,
            },
            item.extra,
        )
        for item in items
    ]
