"""Publishes a folder of `.tgz` files as a campaign: hash, upload what changed, `campaign.json` last.

Touches the folder (reading only) and the media bucket; no database.

`campaign.json` decides what a campaign is, so it is written last and only when every object it names is in place: a
publishing that ends early leaves the old one in force. In between, an aircraft may meet the new bytes of an item
under the old hash; it then reports HASH_MISMATCH or OBJECT_CHANGED, installs nothing, and heals with the new
manifest. Two publishers at once: the second one's `campaign.json` is refused by the store, since both write it only
if it still is what they read; whoever is refused publishes again.

Nothing is deleted: an item that is no longer in the folder leaves the manifest, its object stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from campaigns.publishing.errors import CannotPublish
from campaigns.publishing.local_folder import File, Hashed, check_untouched, find_files, hash_file
from campaigns.publishing.manifest_writer import Before, look_before, release
from campaigns.publishing.progress import Report, Step
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import Exhibition, Item, Manifest
from loader.errors import BadName, WorldError
from loader.s3.interface import Bucket


class Keep(Enum):
    """As it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class PublishedItem:
    """One item of the campaign now: sent, or found in the bucket as it should be."""

    name: str
    size: int
    sha256: str
    outcome: Literal["uploaded", "unchanged"]


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What publishing did. `changed`: a new `campaign.json` was written; `removed`: items that left it.

    `sha256`: of the `campaign.json` that is in force now.
    """

    airline: str
    campaign: str
    version: int
    changed: bool
    items: tuple[PublishedItem, ...]
    removed: tuple[str, ...]
    notices: tuple[str, ...]
    sha256: str = ""

    @property
    def bytes_total(self) -> int:
        """Bytes of all items."""
        return sum(item.size for item in self.items)

    @property
    def bytes_uploaded(self) -> int:
        """Bytes of the items that were sent."""
        return sum(item.size for item in self.items if item.outcome == "uploaded")


@dataclass(frozen=True, slots=True)
class Terms:
    """For whom and until when a signed campaign holds; `KEEP` is as the present manifest says, None is no limit.

    `signing`: when it is about to be signed, if it is.
    """

    expires: datetime | Keep | None = KEEP
    tails: tuple[str, ...] | Keep | None = KEEP
    signing: datetime | None = None

    def applied(self, manifest: Manifest) -> Manifest:
        """The manifest with these terms."""
        expires = manifest.expires if isinstance(self.expires, Keep) else self.expires
        tails = manifest.tails if isinstance(self.tails, Keep) else self.tails
        return replace(manifest, expires=expires, tails=tails, signed_at=self.signing)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What else the manifest is to say."""

    title: str | None
    exhibition: Exhibition
    terms: Terms


def publish_folder(
    folder: Path,
    airline: str,
    campaign: str,
    media: Bucket,
    *,
    title: str | None = None,
    starts: date | None = None,
    ends: date | None = None,
    terms: Terms | None = None,
    report: Report = lambda step: None,
) -> PublishResult:
    """Make `<airline>/<campaign>/` in `media` what `folder` holds; None keeps what the present manifest says.

    Raises:
        CannotPublish: names, dates or files that cannot be published (nothing, or nothing but objects, was written),
            or someone else published at the same time.
        WorldError: the bucket failed; the old `campaign.json` is in force.
    """
    asked = _Asked(title, Exhibition(starts, ends), terms or Terms())
    return _Publication(folder, airline, campaign, media, report).run(asked)


class _Publication:
    """One run, so that the steps need not hand each other everything."""

    def __init__(self, folder: Path, airline: str, campaign: str, media: Bucket, report: Report) -> None:
        self._folder, self._airline, self._campaign, self._media = folder, airline, campaign, media
        self._report = report
        self._notices: list[str] = []

    def run(self, asked: _Asked) -> PublishResult:
        try:
            self._key = manifest_key(self._airline, self._campaign)
        except BadName as exc:
            raise CannotPublish(str(exc)) from exc
        files = find_files(self._folder, self._notice)
        before = look_before(self._airline, self._campaign, self._media, self._notice)
        asked = replace(asked, exhibition=_exhibition(before.manifest, asked.exhibition))
        hashed = [hash_file(file, self._report) for file in files]
        items = tuple(self._send(one, before) for one in hashed)
        self._check_in_place(hashed)
        wanted = self._wanted(hashed, before.manifest, asked)
        released = release(wanted, before, self._media, self._notice, signing=asked.terms.signing)
        removed = _removed(before.manifest, files)
        if removed:
            self._notice(f"no longer in the campaign, their objects stay in the bucket: {', '.join(removed)}")
        return PublishResult(
            self._airline,
            self._campaign,
            released.version,
            released.changed,
            items,
            removed,
            tuple(self._notices),
            released.sha256,
        )

    def _notice(self, text: str) -> None:
        self._notices.append(text)
        self._report(Step("notice", text))

    def _send(self, hashed: Hashed, before: Before) -> PublishedItem:
        file = hashed.file
        if _is_there(hashed, content_key(self._airline, self._campaign, file.name), before):
            return PublishedItem(file.name, file.size, hashed.sha256, "unchanged")
        self._report(Step("uploading", file.name, 0, file.size))
        self._media.upload(
            content_key(self._airline, self._campaign, file.name),
            file.path,
            progress=lambda sent: self._report(Step("uploading", file.name, sent, file.size)),
        )
        check_untouched(file)
        return PublishedItem(file.name, file.size, hashed.sha256, "uploaded")

    def _check_in_place(self, hashed: Sequence[Hashed]) -> None:
        """A last look before the manifest promises these objects to aircraft."""
        sizes = {found.key: found.size for found in self._media.list(self._key.rpartition("/")[0] + "/")}
        wrong = [
            one.file.name
            for one in hashed
            if sizes.get(content_key(self._airline, self._campaign, one.file.name)) != one.file.size
        ]
        if wrong:
            raise WorldError("SIZE_MISMATCH", f"not in the bucket as they were sent: {', '.join(wrong)}")

    def _wanted(self, hashed: Sequence[Hashed], old: Manifest | None, asked: _Asked) -> Manifest:
        """The manifest, with the present version: known items first and in their order, all they say kept."""
        base = old or Manifest(content=())
        now = {one.file.name: one for one in hashed}
        kept = [
            replace(item, size=now[item.name].file.size, sha256=now[item.name].sha256)
            for item in base.content
            if item.name in now
        ]
        known = {item.name for item in kept}
        new = [Item(name, one.file.size, one.sha256) for name, one in now.items() if name not in known]
        wanted = replace(
            base,
            content=(*kept, *new),
            airline=self._airline,
            campaign=self._campaign,
            title=base.title if asked.title is None else asked.title,
            exhibition=asked.exhibition,
            schema=1 if base.schema is None else base.schema,
        )
        return asked.terms.applied(wanted)


def _is_there(hashed: Hashed, key: str, before: Before) -> bool:
    """Whether the object in the bucket is this file.

    Its ETag may prove it, also after a publishing that ended early. Else it is what the manifest recorded, provided
    that it has the size and was not written after the manifest: that would be what a publishing left behind which
    never came to its end.
    """
    found = before.objects.get(key)
    if found is None or found.size != hashed.file.size:
        return False
    if found.etag.lower() == hashed.etag:
        return True
    if before.fetched is None or found.last_modified > before.fetched.last_modified:
        return False
    return before.recorded.get(hashed.file.name) == hashed.sha256


def _exhibition(old: Manifest | None, asked: Exhibition) -> Exhibition:
    base = old.exhibition if old else Exhibition()
    said = replace(base, starts=asked.starts or base.starts, ends=asked.ends or base.ends)
    if said.starts and said.ends and said.ends < said.starts:
        raise CannotPublish(f"the exhibition would end ({said.ends}) before it starts ({said.starts})")
    return said


def _removed(old: Manifest | None, files: Iterable[File]) -> tuple[str, ...]:
    names = {file.name for file in files}
    return tuple(item.name for item in old.content if item.name not in names) if old else ()
