"""Parser of a page of a bucket listing: XML in, objects out. Pure.

A poll may parse a million keys. Entries in exactly the form that known stores write are therefore parsed with a regular
expression, in a fifth of the time. ElementTree parses the rest of the page, and any page with an unexpected character.
Both ways return the same page or raise the same error.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree

from loader.frozen import frozen
from loader.s3.etags import parse_etag
from loader.s3.http.headers import EPOCH
from loader.s3.http.xml import namespace, parse_root
from loader.s3.interface import ObjectInfo

_OPEN, _CLOSE = "<Contents>", "</Contents>"
_SIZE: Final = r"[0-9]{1,19}"
# Text that needs no XML parsing: no markup, and nothing that a parser would change or refuse.
_TEXT: Final = r"[^<>&\x00-\x1f\ufffe\uffff]"
_QUOTE: Final = '(?:"|&quot;|&#34;)?'
_FIELDS: Final = {
    "Key": f"<Key>({_TEXT}+)</Key>",
    "ETag": f'<ETag>{_QUOTE}([^"<>&\\x00-\\x1f\\ufffe\\uffff]*){_QUOTE}</ETag>',
    "Size": f"<Size>({_SIZE})</Size>",
    "LastModified": "<LastModified>([0-9TZ:.+-]{10,40})</LastModified>",
}
_FIELD: Final = re.compile("<(Key|ETag|Size|LastModified)>")
_EXPECTED: Final = (sorted(_FIELDS), sorted(_FIELDS.keys() - {"ETag"}))  # some stores list no ETags
_LEAF: Final = "<{0}>[A-Za-z0-9_:. -]*</{0}>"
_OWNER: Final = f"<Owner>(?:<ID>{_TEXT}*</ID>)?(?:<DisplayName>{_TEXT}*</DisplayName>)?</Owner>"
_SIMPLE: Final = "|".join(_LEAF.format(name) for name in ("StorageClass", "ChecksumAlgorithm", "ChecksumType"))
_EXTRAS: Final = f"(?:{_SIMPLE}|{_OWNER}){{0,6}}+"
_HEAD: Final = re.compile(
    r'(?:<\?xml version="1\.0" encoding="(?:UTF|utf)-8"\?>\n?)?'
    r'<ListBucketResult(?: xmlns="http://s3\.amazonaws\.com/doc/2006-03-01/")?>'
    r"(?:<([A-Za-z]+)>[^<]*</\1>|<[A-Za-z]+/>){0,16}"
)


@frozen
class ListPage:
    """One response to ListObjectsV2. `token` requests the next page; None on the last one.

    `ambiguous`: a name, with its plus sign unchanged, if nothing on the page says whether plus signs are spaces.
    """

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None
    ambiguous: str = ""

    @property
    def first(self) -> str:
        """The first key or prefix; empty on an empty page."""
        return self.objects[0].key if self.objects else self.prefixes[0] if self.prefixes else ""


@frozen
class _Columns:
    """Entries by column; keys still encoded."""

    keys: list[str]
    sizes: list[int]
    etags: list[str]
    dates: list[datetime]


_NOTHING: Final = _Columns([], [], [], [])


def parse_listing(body: bytes, prefix: str = "", plus_is_space: bool | None = None) -> ListPage:
    """Parse a page of ListObjectsV2 for `prefix`. Raises ValueError with a reason for anything else.

    An empty or foreign response is never an empty page: SeaweedFS serves a health page at some addresses, and a captive
    portal serves its own page at all of them. `plus_is_space`: what a plus sign means in encoded names, if known.
    """
    return _page(*_fast_parse(body.decode("utf-8-sig")), _PlusSign(prefix, plus_is_space))


def parse_with_elementtree(body: bytes) -> ListPage:
    """Parse a page with ElementTree alone: the oracle in the tests of `parse_listing`. Raises ValueError."""
    return _page(_NOTHING, body.decode("utf-8-sig"), _PlusSign())


@lru_cache(maxsize=8_192)
def parse_time(text: str) -> datetime:
    """Parse ISO 8601 as in listings, in UTC if it has no zone. Raises ValueError.

    A date before 1970 becomes EPOCH: stores that do not know the date send the year 1. Cached: neighbouring objects
    were mostly written within the same seconds.
    """
    date = datetime.fromisoformat(text)
    if date.year < EPOCH.year:
        return EPOCH
    try:
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except OverflowError as error:  # in UTC the date is out of range
        raise ValueError(str(error)) from error


def _fast_parse(text: str) -> tuple[_Columns, str]:
    """Return the entries of a page, and the page without them; no entries if any character is unexpected.

    Only children of the root may precede the entries: this proves that the entries are children of the root, too.
    """
    start, end = text.find(_OPEN), text.rfind(_CLOSE) + len(_CLOSE)
    if start < 0 or not _HEAD.fullmatch(text, 0, start):
        return _NOTHING, text
    order = tuple(_FIELD.findall(text, start, text.find(_CLOSE)))
    if sorted(order) not in _EXPECTED:
        return _NOTHING, text
    # In turn: the text between two entries, which must be empty, and the fields of the next entry.
    parts = _entry(order).split(text[start:end])
    if any(parts[:: len(order) + 1]):
        return _NOTHING, text
    columns = {name: parts[at :: len(order) + 1] for at, name in enumerate(order, 1)}
    try:
        dates = [parse_time(text) for text in columns["LastModified"]]
    except ValueError:
        return _NOTHING, text
    sizes = [int(size) for size in columns["Size"]]
    etags = columns.get("ETag") or [""] * len(dates)
    return _Columns(columns["Key"], sizes, etags, dates), text[:start] + text[end:]


@cache
def _entry(order: tuple[str, ...]) -> re.Pattern[str]:
    """Compile a pattern for entries with this order of fields: stores differ in it, and in optional fields."""
    return re.compile(_OPEN + "".join(_FIELDS[name] + _EXTRAS for name in order) + _CLOSE)


def _page(columns: _Columns, text: str, plus: _PlusSign) -> ListPage:
    """Return the page of the entries of `columns`, followed by those in `text`."""
    root = parse_root(text, ("ListBucketResult",))
    space = namespace(root)
    token = _token(root, space)
    encoded = _child_text(root, f"{space}EncodingType") == "url"
    objects = list(map(ObjectInfo, columns.keys, columns.sizes, columns.etags, columns.dates))
    objects += [_object_info(element, space) for element in root.findall(f"{space}Contents")]
    groups = root.findall(f"{space}CommonPrefixes")
    prefixes = [_name(_child_text(element, f"{space}Prefix")) for element in groups]
    # KeyCount is not checked: some stores do not count prefixes, some send the total of the bucket.
    if encoded:
        names = plus.decode([*(info.key for info in objects), *prefixes])
        for info, name in zip(objects, names, strict=False):
            info.key = name
        prefixes = names[len(objects) :]
    return ListPage(objects, prefixes, token, plus.ambiguous)


def _token(root: ElementTree.Element, space: str) -> str | None:
    truncated, token = _child_text(root, f"{space}IsTruncated"), _child_text(root, f"{space}NextContinuationToken")
    if truncated not in ("true", "false"):
        raise ValueError("it has no valid IsTruncated")
    if truncated == "false":
        return None
    if not token:
        raise ValueError("it is truncated but has no NextContinuationToken")
    return token


def _child_text(element: ElementTree.Element, tag: str) -> str | None:
    """Return the text of the child with that tag, None without one. Raises ValueError for two, or one with children."""
    found = element.findall(tag)
    if len(found) > 1 or any(len(child) for child in found):
        raise ValueError("it has a field twice, or with child elements")
    return found[0].text or "" if found else None


def _object_info(element: ElementTree.Element, space: str) -> ObjectInfo:
    """Return an entry, its key still encoded. Without an ETag, that is empty."""
    key, size, etag, date = (_child_text(element, f"{space}{name}") for name in ("Key", "Size", "ETag", "LastModified"))
    if not re.fullmatch(_SIZE, size or ""):
        raise ValueError("an entry has no size")
    try:
        at = parse_time(date or "")
    except ValueError as error:
        raise ValueError("an entry has no date") from error
    return ObjectInfo(_name(key), int(size or ""), parse_etag(etag or ""), at)


def _name(text: str | None) -> str:
    if not text:
        raise ValueError("an entry has no name")
    return text


class _PlusSign:
    """Decodes the names of one page, in which a plus sign is a space or itself.

    AWS writes a space as "+" and a plus sign as "%2B". Others write a space as "%20" (SeaweedFS only before the last
    slash), and some of those leave plus signs as they are. An encoded plus sign on the page, or the
    prefix that the names must have, shows which one it is.
    """

    def __init__(self, prefix: str = "", is_space: bool | None = None) -> None:
        self._prefix, self._is_space = prefix, is_space
        self.ambiguous = ""

    def decode(self, names: list[str]) -> list[str]:
        """Decode all names in one call, unless one has a line break: the calls cost more than the decoding."""
        joined = "\n".join(names)
        if "%" not in joined and "+" not in joined:
            return names
        decode = unquote_plus if "+" in joined and self._find_meaning(names, joined) else unquote
        decoded = decode(joined).split("\n")
        return decoded if len(decoded) == len(names) else [decode(name) for name in names]

    def _find_meaning(self, names: list[str], joined: str) -> bool:
        """Return whether plus signs are spaces."""
        fits_as_space, fits_as_plus = (read(names[0]).startswith(self._prefix) for read in (unquote_plus, unquote))
        if fits_as_space != fits_as_plus:
            return fits_as_space
        if "%2B" in joined or "%2b" in joined:
            return True
        if self._is_space is None:
            self.ambiguous = unquote(next(name for name in names if "+" in name))
        return self._is_space is not False
