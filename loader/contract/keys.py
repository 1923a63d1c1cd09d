"""Builds and parses the object keys of both buckets. Standard library only; pure."""

from __future__ import annotations

from typing import Final, Literal

from loader.contract.names import TGZ, check_name, content_name
from loader.errors import BadName
from loader.frozen import frozen

PROGRESS: Final = ".tgz.progress"
ERROR: Final = ".tgz.error"
MANIFEST: Final = "campaign.json"
SIGNATURE: Final = "campaign.json.dsse"
CAMPAIGN_ERROR: Final = "campaign.json.error"
HEARTBEAT: Final = "loader.json"
FLEET: Final = ".fleet"
ENVELOPE: Final = ".dsse"  # added to the key of the object that it signs


def manifest_key(airline: str, campaign: str) -> str:
    """Return the key of a campaign's manifest in the media bucket. Raises BadName."""
    return _prefix(airline, campaign) + MANIFEST


def signature_key(airline: str, campaign: str) -> str:
    """Return the key of a campaign's signed manifest in the media bucket. Raises BadName."""
    return _prefix(airline, campaign) + SIGNATURE


def content_key(airline: str, campaign: str, content: str) -> str:
    """Return the key of a content item (named without `.tgz`) in the media bucket. Raises BadName."""
    return _prefix(airline, campaign) + _content_name(content) + TGZ


def other_content_keys(airline: str, campaign: str, content: str) -> tuple[str, ...]:
    """Return the keys at which the object of an item may be if there is none at its `content_key`. Raises BadName.

    Tools on Windows write endings in capitals: the object of `movie` may be `movie.TGZ`, that of `movie.TGZ` too.
    """
    prefix, name = _prefix(airline, campaign), _content_name(content)
    as_named = [] if name.endswith(TGZ) or not name.casefold().endswith(TGZ) else [prefix + name]
    return (*as_named, prefix + name + TGZ.upper())


def queue_key(airline: str, tail: str) -> str:
    """Return the key of a tail's transfer queue in the media bucket. Raises BadName."""
    return f"{check_name(airline)}/{FLEET}/{check_name(tail)}.json"


def queue_signature_key(airline: str, tail: str) -> str:
    """Return the key of a tail's signed transfer queue in the media bucket. Raises BadName."""
    return queue_key(airline, tail) + ENVELOPE


def progress_key(airline: str, tail: str, campaign: str, content: str) -> str:
    """Return the key of an item's progress in the status bucket. Raises BadName."""
    return _prefix(airline, tail, campaign) + _content_name(content) + PROGRESS


def error_key(airline: str, tail: str, campaign: str, content: str) -> str:
    """Return the key of an item's error in the status bucket. Raises BadName."""
    return _prefix(airline, tail, campaign) + _content_name(content) + ERROR


def campaign_error_key(airline: str, tail: str, campaign: str) -> str:
    """Return the key of a campaign's own error in the status bucket. Raises BadName."""
    return _prefix(airline, tail, campaign) + CAMPAIGN_ERROR


def heartbeat_key(airline: str, tail: str) -> str:
    """Return the key of a loader's heartbeat in the status bucket. Raises BadName."""
    return _prefix(airline, tail) + HEARTBEAT


def load_prefix(airline: str, tail: str, campaign: str) -> str:
    """Return the prefix of a load's objects in the status bucket. Raises BadName."""
    return _prefix(airline, tail, campaign)


def _prefix(*segments: str) -> str:
    return "".join(f"{check_name(segment)}/" for segment in segments)


def _content_name(content: str) -> str:
    """Check a name that has no suffix left to remove: `a.tgz` is the item with the object `a.tgz.tgz`."""
    return content_name(content + TGZ)


@frozen
class MediaKey:
    """The kind of an object in the media bucket, and the names in its key."""

    kind: Literal["manifest", "signature", "content", "queue"]
    airline: str
    campaign: str = ""
    content: str = ""
    tail: str = ""


@frozen
class StatusKey:
    """The kind of an object in the status bucket, and the names in its key."""

    kind: Literal["progress", "error", "campaign_error", "heartbeat"]
    airline: str
    tail: str
    campaign: str = ""
    content: str = ""


def parse_media_key(key: str) -> MediaKey | None:
    """Return the parts of `key`; None for other objects of the portal (`.name/…`) and folder markers (`…/`).

    Raises:
        BadName: the key has no shape of the contract, or a name in it is invalid.
    """
    parts = key.split("/")
    if len(parts) == 3 and parts[1] == FLEET and parts[2].endswith(".json"):
        return MediaKey("queue", check_name(parts[0]), tail=check_name(parts[2].removesuffix(".json")))
    if _is_ignored(parts):
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
    if name.casefold().endswith(TGZ):
        ending = name[-len(TGZ) :]
        raise BadName(f"the key {quoted_key(key)} ends in {ending}; rename the object, its ending must be {TGZ}")
    raise BadName(f"the key {quoted_key(key)} ends neither in {MANIFEST} nor in {TGZ}")


def parse_status_key(key: str) -> StatusKey | None:
    """Return the parts of `key`; None for other objects of the portal (`.name/…`) and folder markers (`…/`).

    Raises:
        BadName: the key has no shape of the contract, or a name in it is invalid.
    """
    parts = key.split("/")
    if _is_ignored(parts):
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
        return StatusKey("progress", airline, tail, campaign, _content_name(name.removesuffix(PROGRESS)))
    if name.endswith(ERROR):
        return StatusKey("error", airline, tail, campaign, _content_name(name.removesuffix(ERROR)))
    raise BadName(f"the key {quoted_key(key)} ends neither in {PROGRESS} nor in {ERROR}")


def _is_ignored(parts: list[str]) -> bool:
    """Return whether a segment begins with a dot, or the key is a folder marker. `.` and `..` are never ignored."""
    if any(part.startswith(".") for part in parts):
        return all(part.strip(".") for part in parts if part.startswith("."))
    if parts[-1] or len(parts) < 2:
        return False
    return all(check_name(part) for part in parts[:-1])


def quoted_key(key: str) -> str:
    """Return a key for messages: ASCII, at most 120 characters."""
    return f"{key[:120]!a}…" if len(key) > 120 else f"{key!a}"
