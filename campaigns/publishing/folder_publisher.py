"""Publishes a folder of `.tgz` files as a campaign: hash, upload what changed, `campaign.json` last.

Touches the folder (reading only) and the media bucket; no database.

`campaign.json` decides what a campaign is, so it is written last and only when every object it names is in place: a
publication that ends early leaves the old one valid. In between, an aircraft may find the new bytes of an item under
the old hash; it reports HASH_MISMATCH or OBJECT_CHANGED, installs nothing, and recovers with the new manifest. Of two
publishers at once, the second one's `campaign.json` is refused by the store, since both write it only if it still is
what they read; the refused one publishes again.

Nothing is deleted: an item that is no longer in the folder leaves the manifest, its object stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from campaigns.publishing.errors import PublishError
from campaigns.publishing.local_folder import HashedFile, LocalFile, find_files, hash_file, require_unchanged
from campaigns.publishing.manifest_writer import PublishedState, read_published_state, write_manifest
from campaigns.publishing.progress import OnProgress, PublishProgress
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import Exhibition, Item, Manifest
from loader.errors import BadName, Code, WorldError
from loader.s3.interface import Bucket


class Unchanged(Enum):
    """As it is."""

    UNCHANGED = "keep"


UNCHANGED: Final = Unchanged.UNCHANGED


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
class ReleaseRestrictions:
    """For whom and until when a signed campaign holds; `UNCHANGED` is as the present manifest says, None is no limit.

    `signing`: when it is about to be signed, if it is.
    """

    expires: datetime | Unchanged | None = UNCHANGED
    tails: tuple[str, ...] | Unchanged | None = UNCHANGED
    signing: datetime | None = None

    def apply_to(self, manifest: Manifest) -> Manifest:
        """The manifest with these terms."""
        expires = manifest.expires if isinstance(self.expires, Unchanged) else self.expires
        tails = manifest.tails if isinstance(self.tails, Unchanged) else self.tails
        return replace(manifest, expires=expires, tails=tails, signed_at=self.signing)


@dataclass(frozen=True, slots=True)
class _ManifestChanges:
    """What else the manifest is to say."""

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
    """Make `<airline>/<campaign>/` in `media` what `folder` holds; None keeps what the present manifest says.

    Raises:
        PublishError: names, dates or files that cannot be published (nothing, or nothing but objects, was written),
            or someone else published at the same time.
        WorldError: the bucket failed; the old `campaign.json` is in force.
    """
    asked = _ManifestChanges(title, Exhibition(starts, ends), restrictions or ReleaseRestrictions())
    return _Publication(folder, airline, campaign, media, on_progress).run(asked)


class _Publication:
    """One run, so that the steps need not hand each other everything."""

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
        before = read_published_state(self._airline, self._campaign, self._media, self._notice)
        changes = replace(changes, exhibition=_exhibition(before.manifest, changes.exhibition))
        hashed = [hash_file(file, self._on_progress) for file in files]
        items = tuple(self._upload(one, before) for one in hashed)
        self._require_uploaded(hashed)
        wanted = self._build_manifest(hashed, before.manifest, changes)
        released = write_manifest(wanted, before, self._media, self._notice, signing=changes.restrictions.signing)
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
        """A last look before the manifest promises these objects to aircraft."""
        sizes = {found.key: found.size for found in self._media.list(self._key.rpartition("/")[0] + "/")}
        wrong = [
            one.file.name
            for one in hashed
            if sizes.get(content_key(self._airline, self._campaign, one.file.name)) != one.file.size
        ]
        if wrong:
            raise WorldError(Code.SIZE_MISMATCH, f"not in the bucket as they were sent: {', '.join(wrong)}")

    def _build_manifest(
        self, hashed: Sequence[HashedFile], old: Manifest | None, changes: _ManifestChanges
    ) -> Manifest:
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
            title=base.title if changes.title is None else changes.title,
            exhibition=changes.exhibition,
            schema=1 if base.schema is None else base.schema,
        )
        return changes.restrictions.apply_to(wanted)


def _is_uploaded(hashed: HashedFile, key: str, published: PublishedState) -> bool:
    """Whether the object in the bucket is this file.

    Its ETag may prove it, also after a publishing that ended early. Else it is what the manifest recorded, provided
    that it has the size and was not written after the manifest: that would be what a publishing left behind which
    never came to its end.
    """
    found = published.objects.get(key)
    if found is None or found.size != hashed.file.size:
        return False
    if found.etag.lower() == hashed.etag:
        return True
    if published.fetched is None or found.last_modified > published.fetched.last_modified:
        return False
    return published.recorded_hashes.get(hashed.file.name) == hashed.sha256


def _exhibition(old: Manifest | None, asked: Exhibition) -> Exhibition:
    base = old.exhibition if old else Exhibition()
    said = replace(base, starts=asked.starts or base.starts, ends=asked.ends or base.ends)
    if said.starts and said.ends and said.ends < said.starts:
        raise PublishError(f"the exhibition would end ({said.ends}) before it starts ({said.starts})")
    return said


def _removed(old: Manifest | None, files: Iterable[LocalFile]) -> tuple[str, ...]:
    names = {file.name for file in files}
    return tuple(item.name for item in old.content if item.name not in names) if old else ()
