"""Names of uploads: a file name becomes the name of a content item, and where its bytes go in the bucket. Pure.

`x` and `x.tgz` name the same item, so do names that differ only in case. Names from macOS are decomposed (NFD); they
are normalised instead of rejected.
"""

from __future__ import annotations

import unicodedata
from typing import Final
from uuid import UUID

from loader.contract.keys import content_key
from loader.contract.names import TGZ, check_name, conflict_key, content_name
from loader.errors import BadName
from loader.frozen import frozen

LIBRARY: Final = ".library"
INCOMING: Final = ".incoming"
FILE_NAME_LIMIT: Final = 300  # characters of the column


@frozen
class FileName:
    """A file name as announced (NFC), and the name of its item. `is_archive`: a `.tgz`, which is stored unchanged."""

    name: str
    item: str
    is_archive: bool

    @property
    def key(self) -> str:
        """The name without differences of case: files with equal keys have the same place."""
        return conflict_key(self.item)


def parse_file_name(text: str) -> FileName:
    """Return the name of an uploaded file. Raises BadName with the rule that it breaks."""
    if len(text) > FILE_NAME_LIMIT:
        raise BadName(f"the name {text[:40]!a}… has {len(text)} characters; the limit is {FILE_NAME_LIMIT}")
    name = unicodedata.normalize("NFC", text)
    is_archive = name[-len(TGZ) :].casefold() == TGZ
    stem = name[: -len(TGZ)] if is_archive else name
    # With the suffix, because exactly one is removed: the item of x.tgz.tgz is x.tgz.
    return FileName(name, content_name(stem + TGZ), is_archive)


def parse_campaign(text: str) -> str:
    """Return the name of a campaign (NFC). Raises BadName."""
    return check_name(unicodedata.normalize("NFC", text))


def incoming_key(airline: str, upload: UUID) -> str:
    """Return the key at which the bytes of an upload arrive."""
    return f"{incoming_prefix(airline)}{upload}/data"


def incoming_prefix(airline: str) -> str:
    """Return the prefix of all uploads of an airline while they arrive."""
    return f"{check_name(airline)}/{INCOMING}/"


def object_key(airline: str, campaign: str, item: str) -> str:
    """Return the key of an uploaded item; `campaign` is "" for the library."""
    if campaign:
        return content_key(airline, campaign, item)
    return f"{check_name(airline)}/{LIBRARY}/{content_name(item + TGZ)}{TGZ}"
