"""Which names are legal, and how keys of the two buckets are built from names and taken apart again.

Standard library only; pure. Two strengths, because a name has two lives:

- `check_name` is the contract's rule for any segment of a key (airline, tail, campaign). It is what other
  people's loaders are held to, so a leading "-" or a trailing "." is legal here. Directional (bidi) controls
  count as control characters: they make one name look like another.
- `content_name` is the rule for what becomes a file name on an aircraft and is stricter: printable
  characters only, no leading "-", no trailing ".", none of the endings that our own files have.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

from loader.errors import BadName

NAME_LIMIT: Final = 200  # bytes of UTF-8; leaves room for our suffixes in the 255 of a file name
TGZ: Final = ".tgz"
PROGRESS: Final = ".tgz.progress"
ERROR: Final = ".tgz.error"
MANIFEST: Final = "campaign.json"
SIGNATURE: Final = "campaign.json.dsse"
CAMPAIGN_ERROR: Final = "campaign.json.error"
HEARTBEAT: Final = "loader.json"
FLEET: Final = ".fleet"
ARCHIVE: Final = ".archive"
PACKED: Final = ".json.gz"

_CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zero-width joiner and non-joiner: without them Persian and many Indian words cannot be written.
_JOINERS: Final = frozenset("\u200c\u200d")
_PRINTABLE: Final = frozenset("LMNPS")
_OUR_ENDINGS: Final = (".part", ".progress", ".error")


def check_name(segment: str) -> str:
    """The segment itself, if the contract allows it as an airline, tail or campaign.

    Raises:
        BadName: with a sentence that says which rule it breaks.
    """
    if not segment:
        raise BadName("a name is empty")
    try:
        length = len(segment.encode())
    except UnicodeEncodeError as exc:
        raise BadName(f"the name {segment[:40]!a} holds an unpaired surrogate") from exc
    if length > NAME_LIMIT:
        raise BadName(f"the name {segment[:40]!a}… has {length} bytes; {NAME_LIMIT} are allowed")
    if segment.startswith("."):
        raise BadName(f"the name {segment!a} begins with a dot")
    if "/" in segment or "\\" in segment:
        raise BadName(f"the name {segment!a} holds a slash or backslash")
    if segment != segment.strip():
        raise BadName(f"the name {segment!a} begins or ends with white space")
    if any(sign in BIDI or unicodedata.category(sign) in _CONTROL for sign in segment):
        raise BadName(f"the name {segment!a} holds a control character")
    if not unicodedata.is_normalized("NFC", segment):
        raise BadName(f"the name {segment!a} is not in Unicode's normal form C")
    return segment


def content_name(name: str) -> str:
    """The name of a content item, without its `.tgz`: one such ending is taken off, the rest is checked.

    Raises:
        BadName: it breaks `check_name`, or could be mistaken for something else as a file name.
    """
    bare = check_name(name.removesuffix(TGZ) if name != TGZ else "")
    if bare.startswith("-"):
        raise BadName(f"the name {bare!a} begins with a dash")
    if bare.endswith("."):
        raise BadName(f"the name {bare!a} ends with a dot")
    if bare.casefold().endswith(_OUR_ENDINGS):
        raise BadName(f"the name {bare!a} ends like one of the loader's own files ({', '.join(_OUR_ENDINGS)})")
    if not all(_printable(sign) for sign in bare):
        raise BadName(f"the name {bare!a} holds a character that cannot be seen")
    return bare


def _printable(sign: str) -> bool:
    return sign == " " or sign in _JOINERS or unicodedata.category(sign)[0] in _PRINTABLE


def fold(name: str) -> str:
    """Two names conflict if and only if these are equal: case and normalisation taken away."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def manifest_key(airline: str, campaign: str) -> str:
    """Key of a campaign's manifest in the media bucket. Raises BadName."""
    return _join(airline, campaign) + MANIFEST


def signature_key(airline: str, campaign: str) -> str:
    """Key of a campaign's signed manifest in the media bucket. Raises BadName."""
    return _join(airline, campaign) + SIGNATURE


def content_key(airline: str, campaign: str, content: str) -> str:
    """Key of one content item (named without `.tgz`) in the media bucket. Raises BadName."""
    return _join(airline, campaign) + _content(content) + TGZ


def queue_key(airline: str, tail: str) -> str:
    """Key of a tail's transfer queue in the media bucket. Raises BadName."""
    return f"{check_name(airline)}/{FLEET}/{check_name(tail)}.json"


def progress_key(airline: str, tail: str, campaign: str, content: str) -> str:
    """Key of an item's progress in the status bucket. Raises BadName."""
    return _join(airline, tail, campaign) + _content(content) + PROGRESS


def error_key(airline: str, tail: str, campaign: str, content: str) -> str:
    """Key of an item's error in the status bucket. Raises BadName."""
    return _join(airline, tail, campaign) + _content(content) + ERROR


def campaign_error_key(airline: str, tail: str, campaign: str) -> str:
    """Key of a whole campaign's error in the status bucket. Raises BadName."""
    return _join(airline, tail, campaign) + CAMPAIGN_ERROR


def heartbeat_key(airline: str, tail: str) -> str:
    """Key of a loader's heartbeat in the status bucket. Raises BadName."""
    return _join(airline, tail) + HEARTBEAT


def archive_key(airline: str, tail: str, campaign: str) -> str:
    """Key of the archive of a load in the status bucket. Raises BadName."""
    return f"{archive_prefix(airline)}{check_name(tail)}/{check_name(campaign)}{PACKED}"


def archive_prefix(airline: str) -> str:
    """Where the archives of an airline lie in the status bucket. Raises BadName."""
    return f"{check_name(airline)}/{ARCHIVE}/"


def load_prefix(airline: str, tail: str, campaign: str) -> str:
    """Where the objects of a load lie in the status bucket. Raises BadName."""
    return _join(airline, tail, campaign)


def _join(*segments: str) -> str:
    return "".join(f"{check_name(segment)}/" for segment in segments)


def _content(content: str) -> str:
    """A content name as it is: `a.tgz` here is the item whose object is `a.tgz.tgz`."""
    return content_name(content + TGZ)


@dataclass(frozen=True, slots=True)
class MediaKey:
    """What an object of the media bucket is."""

    kind: Literal["manifest", "signature", "content", "queue"]
    airline: str
    campaign: str = ""
    content: str = ""
    tail: str = ""


@dataclass(frozen=True, slots=True)
class StatusKey:
    """What an object of the status bucket is."""

    kind: Literal["progress", "error", "campaign_error", "heartbeat"]
    airline: str
    tail: str
    campaign: str = ""
    content: str = ""


def parse_archive_key(key: str) -> tuple[str, str, str]:
    """Airline, tail and campaign of the archive of a load.

    Raises:
        BadName: it is the key of no archive, or a name in it is not allowed.
    """
    parts = key.split("/")
    if len(parts) != 4 or parts[1] != ARCHIVE or not parts[3].endswith(PACKED):
        raise BadName(f"the key {quoted_key(key)} is not <airline>/{ARCHIVE}/<tail>/<campaign>{PACKED}")
    return check_name(parts[0]), check_name(parts[2]), check_name(parts[3].removesuffix(PACKED))


def parse_media_key(key: str) -> MediaKey | None:
    """What `key` is; None for what is ours but no object of a campaign, and for folder markers (`…/`).

    Raises:
        BadName: it fits no shape of the contract, or a name in it is not allowed.
    """
    parts = key.split("/")
    if len(parts) == 3 and parts[1] == FLEET and parts[2].endswith(".json"):
        return MediaKey("queue", check_name(parts[0]), tail=check_name(parts[2].removesuffix(".json")))
    if _not_for_us(parts):
        return None
    if len(parts) != 3:
        raise BadName(f"the key {quoted_key(key)} is not <airline>/<campaign>/<object>")
    airline, campaign, name = check_name(parts[0]), check_name(parts[1]), parts[2]
    if name == MANIFEST:
        return MediaKey("manifest", airline, campaign)
    if name == SIGNATURE:
        return MediaKey("signature", airline, campaign)
    if name.endswith(TGZ):
        return MediaKey("content", airline, campaign, content_name(name))
    raise BadName(f"the key {quoted_key(key)} is neither {MANIFEST} nor a {TGZ}")


def parse_status_key(key: str) -> StatusKey | None:
    """What `key` is; None for what is ours but no report, and for folder markers (`…/`).

    Raises:
        BadName: it fits no shape of the contract, or a name in it is not allowed.
    """
    parts = key.split("/")
    if _not_for_us(parts):
        return None
    if len(parts) == 3 and parts[2] == HEARTBEAT:
        return StatusKey("heartbeat", check_name(parts[0]), check_name(parts[1]))
    if len(parts) != 4:
        raise BadName(f"the key {quoted_key(key)} is not <airline>/<tail>/<campaign>/<object>")
    airline, tail, campaign = (check_name(part) for part in parts[:3])
    name = parts[3]
    if name == CAMPAIGN_ERROR:
        return StatusKey("campaign_error", airline, tail, campaign)
    if name.endswith(PROGRESS):
        return StatusKey("progress", airline, tail, campaign, _content(name.removesuffix(PROGRESS)))
    if name.endswith(ERROR):
        return StatusKey("error", airline, tail, campaign, _content(name.removesuffix(ERROR)))
    raise BadName(f"the key {quoted_key(key)} ends neither in {PROGRESS} nor in {ERROR}")


def _not_for_us(parts: list[str]) -> bool:
    """A segment of ours (it begins with a dot), or a folder marker. Where a `.` or `..` is, it is neither."""
    if any(part.startswith(".") for part in parts):
        return all(part.strip(".") for part in parts if part.startswith("."))
    if parts[-1] or len(parts) < 2:
        return False
    return all(check_name(part) for part in parts[:-1])


def quoted_key(key: str) -> str:
    """Return a key as ASCII for messages, at most 120 characters of it."""
    return f"{key[:120]!a}…" if len(key) > 120 else f"{key!a}"
