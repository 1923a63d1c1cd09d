"""Parser of a page of a bucket listing: XML in, objects out. Pure.

A poll may parse a million keys, so entries in exactly the form that the known stores write are parsed by a regular
expression, in a fifth of the time. ElementTree parses the rest of the page, and every page with anything else in it;
both ways give the same page, or the same error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from loader.s3.http.xml import namespace, parse_root
from loader.s3.interface import ObjectInfo

_OPEN, _CLOSE = "<Contents>", "</Contents>"
_SIZE: Final = r"[0-9]{1,19}"
# What XML takes as it stands: no markup, nothing that a parser would change or refuse.
_TEXT: Final = r"[^<>&\x00-\x1f\ufffe\uffff]"
_QUOTE: Final = '(?:"|&quot;|&#34;)?'
_FIELDS: Final = {
    "Key": f"<Key>({_TEXT}+)</Key>",
    "ETag": f'<ETag>{_QUOTE}([^"<>&\\x00-\\x1f\\ufffe\\uffff]*){_QUOTE}</ETag>',
    "Size": f"<Size>({_SIZE})</Size>",
    "LastModified": "<LastModified>([0-9TZ:.+-]{10,40})</LastModified>",
}
_FIELD: Final = re.compile("<(Key|ETag|Size|LastModified)>")
_LEAF: Final = "<{0}>[A-Za-z0-9_:. -]*</{0}>"
_OWNER: Final = f"<Owner>(?:<ID>{_TEXT}*</ID>)?(?:<DisplayName>{_TEXT}*</DisplayName>)?</Owner>"
_SIMPLE: Final = "|".join(_LEAF.format(name) for name in ("StorageClass", "ChecksumAlgorithm", "ChecksumType"))
_EXTRAS: Final = f"(?:{_SIMPLE}|{_OWNER}){{0,6}}+"
_HEAD: Final = re.compile(
    r'(?:<\?xml version="1\.0" encoding="(?:UTF|utf)-8"\?>\n?)?'
    r'<ListBucketResult(?: xmlns="http://s3\.amazonaws\.com/doc/2006-03-01/")?>'
    r"(?:<([A-Za-z]+)>[^<]*</\1>|<[A-Za-z]+/>){0,16}"
)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer to ListObjectsV2; `token` asks for the next one, None after the last."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None

    @property
    def first(self) -> str:
        """The first name on it; empty if it has none."""
        return self.objects[0].key if self.objects else self.prefixes[0] if self.prefixes else ""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Entries by column; the keys as the store wrote them."""

    keys: list[str]
    sizes: list[int]
    etags: list[str]
    whens: list[datetime]


_NOTHING: Final = _Columns([], [], [], [])


def parse_listing(body: bytes) -> ListPage:
    """A page of ListObjectsV2. Raises ValueError with a reason for anything that is not plainly one.

    An empty or foreign answer is never an empty page: SeaweedFS answers a health page at some addresses, and a
    captive portal answers its own at all of them.
    """
    return _page(*_fast_parse(body.decode("utf-8-sig")))


def parse_with_elementtree(body: bytes) -> ListPage:
    """The same by ElementTree alone. Raises ValueError."""
    return _page(_NOTHING, body.decode("utf-8-sig"))


@lru_cache(maxsize=8_192)
def parse_time(text: str) -> datetime:
    """ISO 8601 as in listings; without a zone it is UTC. Raises ValueError.

    Kept: objects that lie together were mostly written together, within the same seconds.
    """
    when = datetime.fromisoformat(text)
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def _fast_parse(text: str) -> tuple[_Columns, str]:
    """The entries of a page and the page without them; nothing and all of it, unless every character is as expected.

    Before the entries only children of the root may stand, so that they are children of it, too.
    """
    start, end = text.find(_OPEN), text.rfind(_CLOSE) + len(_CLOSE)
    if start < 0 or not _HEAD.fullmatch(text, 0, start):
        return _NOTHING, text
    order = tuple(_FIELD.findall(text, start, text.find(_CLOSE)))
    if sorted(order) != sorted(_FIELDS):
        return _NOTHING, text
    # What lies between two entries, then the fields of the next one, again and again.
    parts = _entry(order).split(text[start:end])
    if any(parts[:: len(order) + 1]):
        return _NOTHING, text
    columns = {name: parts[at :: len(order) + 1] for at, name in enumerate(order, 1)}
    try:
        whens = [parse_time(when) for when in columns["LastModified"]]
    except ValueError:
        return _NOTHING, text
    sizes = [int(size) for size in columns["Size"]]
    return _Columns(columns["Key"], sizes, columns["ETag"], whens), text[:start] + text[end:]


@cache
def _entry(order: tuple[str, ...]) -> re.Pattern[str]:
    """Stores differ in the order of an entry's fields, and in what they say besides."""
    return re.compile(_OPEN + "".join(_FIELDS[name] + _EXTRAS for name in order) + _CLOSE)


def _page(columns: _Columns, text: str) -> ListPage:
    """The page that has the entries of `columns` before those in `text`."""
    root = parse_root(text, ("ListBucketResult",))
    space = namespace(root)
    token = _token(root, space)
    encoded = _child_text(root, f"{space}EncodingType") == "url"
    objects = list(map(ObjectInfo, _decoded_all(columns.keys, encoded), columns.sizes, columns.etags, columns.whens))
    objects += [_object_info(element, space, encoded) for element in root.findall(f"{space}Contents")]
    groups = root.findall(f"{space}CommonPrefixes")
    prefixes = [_decoded(_child_text(element, f"{space}Prefix"), encoded) for element in groups]
    told, count = _child_text(root, f"{space}KeyCount"), len(objects)
    # Some stores do not count the prefixes.
    if told is not None and told not in (str(count), str(count + len(prefixes))):
        raise ValueError("it does not have as many entries as it says")
    return ListPage(objects, prefixes, token)


def _token(root: ElementTree.Element, space: str) -> str | None:
    truncated, token = _child_text(root, f"{space}IsTruncated"), _child_text(root, f"{space}NextContinuationToken")
    if truncated not in ("true", "false"):
        raise ValueError("it does not say whether it is the last page")
    if truncated == "false":
        return None
    if not token:
        raise ValueError("it says that more follows but not how to ask for it")
    return token


def _child_text(element: ElementTree.Element, tag: str) -> str | None:
    """The text of the one child with that tag; None if there is none. Raises ValueError for two, or one in pieces."""
    found = element.findall(tag)
    if len(found) > 1 or any(len(child) for child in found):
        raise ValueError("it says the same thing twice, or in pieces")
    return found[0].text or "" if found else None


def _object_info(element: ElementTree.Element, space: str, encoded: bool) -> ObjectInfo:
    key, size, etag, when = (_child_text(element, f"{space}{name}") for name in ("Key", "Size", "ETag", "LastModified"))
    if etag is None:
        raise ValueError("an entry has no ETag")
    if not re.fullmatch(_SIZE, size or ""):
        raise ValueError("an entry has no size")
    try:
        at = parse_time(when or "")
    except ValueError as error:
        raise ValueError("an entry has no date") from error
    return ObjectInfo(_decoded(key, encoded), int(size or ""), etag.strip('"'), at)


def _decoded(text: str | None, encoded: bool) -> str:
    if not text:
        raise ValueError("an entry has no name")
    # AWS writes a space as "+", others as "%20"; a real plus is "%2B" with all of them.
    return unquote_plus(text) if encoded and ("%" in text or "+" in text) else text


def _decoded_all(keys: list[str], encoded: bool) -> list[str]:
    """All at once, as long as none has a line break: the calls cost more than the work."""
    together = "\n".join(keys)
    if not encoded or ("%" not in together and "+" not in together):
        return keys
    decoded = unquote_plus(together).split("\n")
    return decoded if len(decoded) == len(keys) else [unquote_plus(key) for key in keys]
