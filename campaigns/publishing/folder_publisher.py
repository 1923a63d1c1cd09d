"""Publishes a folder of `.tgz` files as a campaign: hashes, uploads what changed, writes `campaign.json` last.

Reads the folder and writes the media bucket; touches no database.

`campaign.json` defines the campaign. It is written last, when every object it names is in place, so an interrupted
run leaves the old campaign valid. In between, an aircraft may download new bytes of an item whose old hash it knows.
It reports HASH_MISMATCH or OBJECT_CHANGED, installs nothing, and recovers with the new manifest. Of two publishers at
once, the store refuses the second `campaign.json`, because each write requires the object that was read; the refused
publisher starts again.

Nothing is deleted: an item that is not in the folder is removed from the manifest, its object stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from campaigns.hashing import crc32
from campaigns.publishing.errors import PublishError
from campaigns.publishing.local_folder import HashedFile, LocalFile, find_files, hash_file, require_unchanged
from campaigns.publishing.manifest_writer import PublishedState, read_published_state, write_manifest
from campaigns.publishing.progress import OnProgress, PublishProgress
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import Exhibition, Item, Manifest
from loader.errors import BadName, Code, WorldError
from loader.s3.interface import Bucket


class Unchanged(Enum):
    """Keep the current value; None already means "no limit"."""

    UNCHANGED = "keep"


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class PublishedItem:
    """An item of the published campaign: uploaded now, or unchanged in the bucket."""

    name: str
    size: int
    sha256: str
    outcome: Literal["uploaded", "unchanged"]


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The published campaign. `changed`: a new `campaign.json` was written; `removed`: items that are no longer in it.

    `sha256`: of the current `campaign.json`.
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
        return sum(item.size for item in self.items)

    @property
    def bytes_uploaded(self) -> int:
        return sum(item.size for item in self.items if item.outcome == "uploaded")


@dataclass(frozen=True, slots=True)
class ReleaseRestrictions:
    """Aircraft and expiry of a signed campaign; None means no limit, `UNCHANGED` the value of the current manifest.

    `signing`: when the campaign is about to be signed; None if it is not.
    """

    expires: datetime | Unchanged | None = UNCHANGED
    tails: tuple[str, ...] | Unchanged | None = UNCHANGED
    signing: datetime | None = None

    def apply_to(self, manifest: Manifest) -> Manifest:
        expires = manifest.expires if isinstance(self.expires, Unchanged) else self.expires
        tails = manifest.tails if isinstance(self.tails, Unchanged) else self.tails
        return replace(manifest, expires=expires, tails=tails, signed_at=self.signing)


@dataclass(frozen=True, slots=True)
class _ManifestChanges:
    """Values for the manifest besides its items; None keeps the current title."""

    title: str | None
    exhibition: Exhibition
    restrictions: ReleaseRestrictions


def publish_folder(
    folder: Path,
    airline: str,
    campaign: str,
    media: Bucket,
    *,
    title: str | None = None,
    starts: date | None = None,
    ends: date | None = None,
    restrictions: ReleaseRestrictions | None = None,
    on_progress: OnProgress = lambda step: None,
) -> PublishResult:
    """Publish `folder` as the campaign; None keeps the value of the current manifest.

    Raises:
        PublishError: names, dates or files are invalid (at most objects were written), or someone else published at
            the same time.
        WorldError: the bucket failed; the old `campaign.json` is current.
    """
    changes = _ManifestChanges(title, Exhibition(starts, ends), restrictions or ReleaseRestrictions())
    return _Publication(folder, airline, campaign, media, on_progress).run(changes)


class _Publication:
    """One run of publishing a folder."""

    def __init__(self, folder: Path, airline: str, campaign: str, media: Bucket, report: OnProgress) -> None:
        self._folder, self._airline, self._campaign, self._media = folder, airline, campaign, media
        self._on_progress = report
        self._notices: list[str] = []

    def run(self, changes: _ManifestChanges) -> PublishResult:
        try:
            self._key = manifest_key(self._airline, self._campaign)
        except BadName as exc:
            raise PublishError(str(exc)) from exc
        files = find_files(self._folder, self._notice)
        published = read_published_state(self._airline, self._campaign, self._media, self._notice)
        changes = replace(changes, exhibition=_exhibition(published.manifest, changes.exhibition))
        hashed = [hash_file(file, self._on_progress) for file in files]
        items = tuple(self._upload(one, published) for one in hashed)
        self._require_uploaded(hashed)
        wanted = self._build_manifest(hashed, published.manifest, changes)
        written = write_manifest(wanted, published, self._media, self._notice, signing=changes.restrictions.signing)
        removed = _removed(published.manifest, files)
        if removed:
            self._notice(f"removed from the campaign, objects stay in the bucket: {', '.join(removed)}")
        return PublishResult(
            self._airline,
            self._campaign,
            written.version,
            written.changed,
            items,
            removed,
            tuple(self._notices),
            written.sha256,
        )

    def _notice(self, text: str) -> None:
        if text in self._notices:  # about the store: the same for the manifest and its signature
            return
        self._notices.append(text)
        self._on_progress(PublishProgress("notice", text))

    def _upload(self, hashed: HashedFile, published: PublishedState) -> PublishedItem:
        file = hashed.file
        if _is_uploaded(hashed, content_key(self._airline, self._campaign, file.name), published):
            return PublishedItem(file.name, file.size, hashed.sha256, "unchanged")
        self._on_progress(PublishProgress("uploading", file.name, 0, file.size))
        self._media.upload(
            content_key(self._airline, self._campaign, file.name),
            file.path,
            progress=lambda sent: self._on_progress(PublishProgress("uploading", file.name, sent, file.size)),
        )
        require_unchanged(file)
        return PublishedItem(file.name, file.size, hashed.sha256, "uploaded")

    def _require_uploaded(self, hashed: Sequence[HashedFile]) -> None:
        # Checked again right before the manifest announces these objects to aircraft.
        sizes = {found.key: found.size for found in self._media.list(self._key.rpartition("/")[0] + "/")}
        wrong = [
            one.file.name
            for one in hashed
            if sizes.get(content_key(self._airline, self._campaign, one.file.name)) != one.file.size
        ]
        if wrong:
            raise WorldError(Code.SIZE_MISMATCH, f"wrong size in the bucket after the upload: {', '.join(wrong)}")

    def _build_manifest(
        self, hashed: Sequence[HashedFile], old: Manifest | None, changes: _ManifestChanges
    ) -> Manifest:
        """Return the manifest, known items first in their order and with all their fields."""
        base = old or Manifest(content=())
        files = {one.file.name: one for one in hashed}
        known = [_with_sums(item, files[item.name]) for item in base.content if item.name in files]
        known_names = {item.name for item in known}
        new = [_with_sums(Item(name, 0), one) for name, one in files.items() if name not in known_names]
        wanted = replace(
            base,
            content=(*known, *new),
            airline=self._airline,
            campaign=self._campaign,
            title=base.title if changes.title is None else changes.title,
            exhibition=changes.exhibition,
            schema=1 if base.schema is None else base.schema,
        )
        return changes.restrictions.apply_to(wanted)


def _with_sums(item: Item, hashed: HashedFile) -> Item:
    """Return the item with size and sums of the file."""
    extra = {**item.extra, crc32.FIELD: hashed.crc32}
    return replace(item, size=hashed.file.size, sha256=hashed.sha256, extra=extra)


def _is_uploaded(hashed: HashedFile, key: str, published: PublishedState) -> bool:
    """Return whether the object in the bucket is this file.

    A matching ETag proves it, even after an interrupted run. Otherwise the hash in the manifest counts, if the object
    has the size of the file and is not newer than the manifest: a newer object comes from an interrupted run.
    """
    found = published.objects.get(key)
    if found is None or found.size != hashed.file.size:
        return False
    if found.etag.lower() == hashed.etag:
        return True
    if published.fetched is None or found.last_modified > published.fetched.last_modified:
        return False
    return published.recorded_hashes.get(hashed.file.name) == hashed.sha256


def _exhibition(old: Manifest | None, wanted: Exhibition) -> Exhibition:
    base = old.exhibition if old else Exhibition()
    exhibition = replace(base, starts=wanted.starts or base.starts, ends=wanted.ends or base.ends)
    if exhibition.starts and exhibition.ends and exhibition.ends < exhibition.starts:
        raise PublishError(f"the exhibition ends ({exhibition.ends}) before it starts ({exhibition.starts})")
    return exhibition


def _removed(old: Manifest | None, files: Iterable[LocalFile]) -> tuple[str, ...]:
    names = {file.name for file in files}
    return tuple(item.name for item in old.content if item.name not in names) if old else ()
