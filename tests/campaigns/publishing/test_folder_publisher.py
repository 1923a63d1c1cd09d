"""Publishing a folder: only changes are uploaded, campaign.json is written last, unknown fields are preserved."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from campaigns.publishing.errors import PublishError
from campaigns.publishing.folder_publisher import PublishResult, publish_folder
from campaigns.publishing.progress import PublishProgress
from loader.contract.manifest import parse_manifest
from loader.errors import Code, WorldError
from loader.s3.interface import GetResult
from loader.s3.memory import MemoryBucket
from loader.s3.part_plan import PART_SIZE

MANIFEST = "ACME/2026-12/campaign.json"


class RecordingBucket(MemoryBucket):
    """Records the order of writes, can refuse an upload, and gives multipart ETags like boto3."""

    def __init__(self) -> None:
        self.now = datetime(2026, 12, 1, tzinfo=UTC)
        super().__init__("ife-media", lambda: self.now)
        self.written: list[str] = []
        self.refuse: dict[str, WorldError] = {}
        self.before_put: Callable[[str], None] = lambda key: None

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        self.before_put(key)
        etag = super().put(key, body, if_none_match=if_none_match, if_match=if_match)
        self.written.append(key)
        return etag

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        if key in self.refuse:
            raise self.refuse[key]
        return super().upload(key, path, progress=progress)

    def opaque(self, key: str) -> None:
        """Give the object an ETag that is no MD5, as encryption by KMS does."""
        self._objects[key] = self._objects[key]._replace(etag=hashlib.md5(key.encode()).hexdigest())


@pytest.fixture
def media() -> RecordingBucket:
    return RecordingBucket()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "december"
    folder.mkdir()
    (folder / "movie-001.tgz").write_bytes(b"movie one")
    (folder / "Über den Wolken.tgz").write_bytes(b"clouds")
    (folder / "empty.tgz").write_bytes(b"")
    return folder


def publish(folder: Path, media: MemoryBucket, **more: Any) -> PublishResult:
    return publish_folder(folder, "ACME", "2026-12", media, **more)


def manifest(media: MemoryBucket) -> dict[str, Any]:
    fetched = media.get(MANIFEST, 10**6)
    assert isinstance(fetched, GetResult)
    parse_manifest(fetched.body, airline="ACME", campaign="2026-12")
    document: dict[str, Any] = json.loads(fetched.body)
    return document


def outcomes(result: PublishResult) -> dict[str, str]:
    return {item.name: item.outcome for item in result.items}


def test_every_file_is_sent_and_the_manifest_names_it_with_size_and_hash(folder: Path, media: RecordingBucket) -> None:
    result = publish(folder, media, title="December", starts=date(2026, 12, 1), ends=date(2026, 12, 31))
    document = manifest(media)
    assert (document["schema"], document["airline"], document["campaign"]) == (1, "ACME", "2026-12")
    assert (document["version"], document["title"]) == (1, "December")
    assert document["exhibition"] == {"starts": "2026-12-01", "ends": "2026-12-31"}
    assert document["content"] == [
        {
            "name": path.stem,
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "crc32": f"{zlib.crc32(path.read_bytes()):08x}",
        }
        for path in sorted(folder.iterdir())
    ]
    for path in folder.iterdir():
        assert media.open(f"ACME/2026-12/{path.name}").read() == path.read_bytes()
    assert (result.version, result.changed, result.bytes_total, result.bytes_uploaded) == (1, True, 15, 15)
    assert set(outcomes(result).values()) == {"uploaded"}


def test_the_manifest_is_written_last(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    (folder / "movie-001.tgz").write_bytes(b"movie one, longer")
    publish(folder, media)
    assert media.written[3] == media.written[-1] == MANIFEST
    assert media.written.count(MANIFEST) == 2


def test_endings_in_capitals_are_published_in_small_letters(folder: Path, media: RecordingBucket) -> None:
    (folder / "MOVIE-2.TGZ").write_bytes(b"of Windows")
    result = publish(folder, media)
    assert "the ending is published as .tgz: MOVIE-2.TGZ" in result.notices
    assert next(item["name"] for item in manifest(media)["content"]) == "MOVIE-2"
    assert media.open("ACME/2026-12/MOVIE-2.tgz").read() == b"of Windows"
    assert publish(folder, media).bytes_uploaded == 0
    (folder / "movie-2.tgz").write_bytes(b"another")
    with pytest.raises(PublishError, match="differ only in case"):
        publish(folder, media)


def test_publishing_again_sends_and_writes_nothing(folder: Path, media: RecordingBucket) -> None:
    first = publish(folder, media)
    written = len(media.written)
    again = publish(folder, media)
    assert len(media.written) == written
    assert (again.version, again.changed, again.bytes_uploaded) == (first.version, False, 0)
    assert set(outcomes(again).values()) == {"unchanged"}


def test_only_changed_items_are_uploaded_and_the_version_increases_by_one(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.written.clear()
    (folder / "movie-001.tgz").write_bytes(b"movie two")
    result = publish(folder, media)
    assert media.written == ["ACME/2026-12/movie-001.tgz", MANIFEST]
    assert (result.version, result.bytes_uploaded) == (2, 9)
    assert outcomes(result) == {"empty": "unchanged", "movie-001": "uploaded", "Über den Wolken": "unchanged"}


def test_other_fields_of_the_manifest_are_preserved(folder: Path, media: RecordingBucket) -> None:
    body = {
        "schema": 7,
        "title": "Kept",
        "expires": "2027-01-01",
        "exhibition": {"ends": "2026-12-31", "region": "EU"},
        "version": 41,
        "content": [
            {
                "name": "movie-001.tgz",
                "size": 1,
                "title": "The Long Way Up",
                "kind": "movie",
                "priority": 9,
                "lang": "en",
            }
        ],
    }
    media.put(MANIFEST, json.dumps(body).encode())
    publish(folder, media, starts=date(2026, 12, 5))
    document = manifest(media)
    assert (document["schema"], document["title"], document["expires"]) == (7, "Kept", "2027-01-01")
    assert document["exhibition"] == {"starts": "2026-12-05", "ends": "2026-12-31", "region": "EU"}
    assert document["version"] == 42
    movie = document["content"][0]
    assert movie["size"] == 9
    assert {**movie, "sha256": 0, "crc32": 0, "size": 0} == {
        **{"name": "movie-001", "size": 0, "sha256": 0, "crc32": 0, "title": "The Long Way Up"},
        **{"kind": "movie", "priority": 9, "lang": "en"},
    }
    assert [item["name"] for item in document["content"]] == ["movie-001", "empty", "Über den Wolken"]


def test_a_new_title_alone_is_a_new_version(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.written.clear()
    assert publish(folder, media, title="Other").version == 2
    assert media.written == [MANIFEST]


def test_items_removed_from_the_folder_leave_the_manifest_but_not_the_bucket(
    folder: Path, media: RecordingBucket
) -> None:
    publish(folder, media)
    (folder / "movie-001.tgz").unlink()
    result = publish(folder, media)
    assert result.removed == ("movie-001",)
    assert any("movie-001" in notice and "stay in the bucket" in notice for notice in result.notices)
    assert [item["name"] for item in manifest(media)["content"]] == ["empty", "Über den Wolken"]
    assert media.open("ACME/2026-12/movie-001.tgz").size == 9


def test_an_object_missing_from_the_bucket_is_uploaded_again(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.delete("ACME/2026-12/movie-001.tgz")
    media.written.clear()
    result = publish(folder, media)
    assert media.written == ["ACME/2026-12/movie-001.tgz"]
    assert (result.changed, result.version) == (False, 1)


def test_an_object_of_another_size_is_sent_again(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.put("ACME/2026-12/movie-001.tgz", b"foreign")
    assert outcomes(publish(folder, media))["movie-001"] == "uploaded"


def test_a_manifest_without_hashes_gets_them_and_nothing_is_sent_that_the_etag_proves(
    folder: Path, media: RecordingBucket
) -> None:
    publish(folder, media)
    sizes = [{"name": path.name, "size": path.stat().st_size} for path in sorted(folder.iterdir())]
    media.put(MANIFEST, json.dumps(sizes).encode())
    result = publish(folder, media)
    assert (result.bytes_uploaded, result.version) == (0, 1)
    assert all(item["sha256"] for item in manifest(media)["content"])


def test_the_recorded_hash_is_used_where_the_etag_is_no_hash(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.opaque("ACME/2026-12/movie-001.tgz")
    assert outcomes(publish(folder, media))["movie-001"] == "unchanged"


def test_an_object_newer_than_the_manifest_is_not_believed_to_be_what_it_recorded(
    folder: Path, media: RecordingBucket
) -> None:
    """An interrupted run uploaded other bytes of the same size; then the folder is restored."""
    publish(folder, media)
    media.now += timedelta(minutes=1)
    media.put("ACME/2026-12/movie-001.tgz", b"MOVIE ONE")
    assert outcomes(publish(folder, media))["movie-001"] == "uploaded"
    assert media.open("ACME/2026-12/movie-001.tgz").read() == b"movie one"


def test_the_etag_of_a_file_sent_in_parts_is_predicted(tmp_path: Path, media: RecordingBucket) -> None:
    for name, size in (("a", PART_SIZE - 1), ("b", PART_SIZE), ("c", 2 * PART_SIZE + 5)):
        (tmp_path / f"{name}.tgz").write_bytes(b"x" * size)
        media.put(f"ACME/2026-12/{name}.tgz", b"x" * size)
    for name, parts in (("b", [PART_SIZE]), ("c", [PART_SIZE, PART_SIZE, 5])):
        digests = b"".join(hashlib.md5(b"x" * part).digest() for part in parts)
        etag = f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"
        key = f"ACME/2026-12/{name}.tgz"
        media._objects[key] = media._objects[key]._replace(etag=etag)
    assert set(outcomes(publish(tmp_path, media)).values()) == {"unchanged"}


def test_an_upload_that_fails_leaves_the_old_manifest_and_the_next_run_sends_the_rest(
    folder: Path, media: RecordingBucket
) -> None:
    publish(folder, media)
    old = manifest(media)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes() + b"!")
    media.now += timedelta(minutes=1)
    media.refuse = {"ACME/2026-12/Über den Wolken.tgz": WorldError(Code.NETWORK, "reset")}
    with pytest.raises(WorldError, match="reset"):
        publish(folder, media)
    assert manifest(media) == old
    media.refuse = {}
    result = publish(folder, media)
    assert outcomes(result) == {"empty": "unchanged", "movie-001": "unchanged", "Über den Wolken": "uploaded"}
    assert result.version == 2


def test_an_object_that_vanishes_before_the_end_keeps_the_manifest_from_being_written(
    folder: Path, media: RecordingBucket
) -> None:
    def vanish(key: str) -> None:
        if key.endswith("Über den Wolken.tgz"):
            media.delete("ACME/2026-12/empty.tgz")

    media.before_put = vanish
    with pytest.raises(WorldError, match="empty"):
        publish(folder, media)
    assert MANIFEST not in media.written


@pytest.mark.parametrize("first", [True, False])
def test_two_publishers_never_overwrite_each_other(folder: Path, media: RecordingBucket, first: bool) -> None:
    if not first:
        publish(folder, media)
    (folder / "more.tgz").write_bytes(b"more")
    theirs = b'{"content": [], "version": 5}'

    def meanwhile(key: str) -> None:
        if key == MANIFEST:
            media.before_put = lambda key: None
            media.put(MANIFEST, theirs)

    media.before_put = meanwhile
    with pytest.raises(PublishError, match="someone else published") as caught:
        publish(folder, media)
    assert caught.value.retryable
    assert media.open(MANIFEST).read() == theirs
    assert publish(folder, media).version == 6


def test_a_campaign_taken_away_meanwhile_is_not_made_again_unawares(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media)
    media.before_put = lambda key: media.delete(MANIFEST) if key == MANIFEST else None
    with pytest.raises(PublishError, match="someone else"):
        publish(folder, media, title="new")


@pytest.mark.parametrize(
    ("body", "version"), [(b"[", 1), (b'{"version": 8, "content": NaN}', 9), (b'{"airline": "BETA", "content": []}', 1)]
)
def test_a_broken_manifest_is_replaced_with_a_notice(
    folder: Path, media: RecordingBucket, body: bytes, version: int
) -> None:
    media.put(MANIFEST, body)
    result = publish(folder, media)
    assert result.version == manifest(media)["version"] == version
    assert "is invalid and is replaced" in result.notices[0]


def test_a_file_that_changes_while_it_is_read_is_not_published(folder: Path, media: RecordingBucket) -> None:
    def still_growing(step: PublishProgress) -> None:
        if step.phase == "hashing" and step.name == "movie-001" and step.advanced:
            with (folder / "movie-001.tgz").open("ab") as stream:
                stream.write(b"more")

    with pytest.raises(PublishError, match=r"movie-001\.tgz changed while") as caught:
        publish(folder, media, on_progress=still_growing)
    assert caught.value.retryable
    assert media.written == []


def test_a_file_that_changes_while_it_is_sent_keeps_the_manifest_from_being_written(
    folder: Path, media: RecordingBucket
) -> None:
    def touched(step: PublishProgress) -> None:
        if step.phase == "uploading" and step.advanced:
            os.utime(folder / f"{step.name}.tgz", (1, 1))

    with pytest.raises(PublishError, match="changed while"):
        publish(folder, media, on_progress=touched)
    assert MANIFEST not in media.written


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path: Path, media: RecordingBucket) -> None:
    with pytest.raises(PublishError, match=r"there is no \.tgz file"):
        publish(tmp_path, media)
    with pytest.raises(PublishError, match="cannot be read"):
        publish(tmp_path / "nowhere", media)
    assert media.requests.list == 0


def test_all_illegal_and_conflicting_names_are_reported_together(tmp_path: Path, media: RecordingBucket) -> None:
    names = [
        "good.tgz",
        "-rf.tgz",
        "a.part.tgz",
        "x\ny.tgz",
        "Straße.tgz",
        "STRASSE.tgz",
        "trailing .tgz",
        "\u202ea.tgz",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.tgz"))).write_bytes(b"")
    (tmp_path / "nowhere.tgz").symlink_to(tmp_path / "missing")
    with pytest.raises(PublishError) as caught:
        publish(tmp_path, media)
    assert len(caught.value.reasons) == 8
    assert all(reason.isprintable() for reason in caught.value.reasons)
    assert "good" not in str(caught.value)
    assert media.requests.list == 0


def test_a_decomposed_name_is_published_composed(tmp_path: Path, media: RecordingBucket) -> None:
    (tmp_path / unicodedata.normalize("NFD", "Über.tgz")).write_bytes(b"x")
    result = publish(tmp_path, media)
    assert [item.name for item in result.items] == ["Über"]
    assert "ACME/2026-12/Über.tgz" in media.written
    assert "normalisation form C" in result.notices[0]


def test_a_name_there_both_composed_and_decomposed_is_a_conflict(tmp_path: Path, media: RecordingBucket) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "Über.tgz")).write_bytes(b"x")
    with pytest.raises(PublishError, match="differ only in case or normalisation"):
        publish(tmp_path, media)


def test_files_that_are_not_tgz_are_skipped_and_reported(folder: Path, media: RecordingBucket) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.tgz").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "OLD.TGZ.bak").write_bytes(b"x")
    (folder / "._movie-001.tgz").write_bytes(b"x")
    result = publish(folder, media)
    assert len(result.items) == 3
    assert {notice.partition(" (")[0] for notice in result.notices} == {
        "skipped sub",
        "skipped notes.txt",
        "skipped OLD.TGZ.bak",
        "skipped ._movie-001.tgz",
    }


def test_a_link_to_a_file_is_published_as_the_file(folder: Path, media: RecordingBucket, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"linked")
    (folder / "link.tgz").symlink_to(tmp_path / "elsewhere")
    publish(folder, media)
    assert media.open("ACME/2026-12/link.tgz").read() == b"linked"


@pytest.mark.parametrize(("airline", "campaign"), [("..", "2026-12"), ("ACME", ".fleet"), ("A/B", "c"), ("ACME", "")])
def test_an_illegal_airline_or_campaign_is_refused(
    folder: Path, media: RecordingBucket, airline: str, campaign: str
) -> None:
    with pytest.raises(PublishError):
        publish_folder(folder, airline, campaign, media)
    assert media.written == []


def test_an_exhibition_that_ends_before_it_starts_is_refused(folder: Path, media: RecordingBucket) -> None:
    publish(folder, media, starts=date(2026, 12, 10))
    with pytest.raises(PublishError, match="before it starts"):
        publish(folder, media, ends=date(2026, 12, 9))


def test_a_stale_signature_is_reported(folder: Path, media: RecordingBucket) -> None:
    media.put(f"{MANIFEST}.dsse", b"{}")
    assert any("sign the campaign again" in notice for notice in publish(folder, media).notices)


def test_reported_bytes_add_up_to_the_total(folder: Path, media: RecordingBucket) -> None:
    steps: list[PublishProgress] = []
    publish(folder, media, on_progress=steps.append)
    for phase in ("hashing", "uploading"):
        assert sum(step.advanced for step in steps if step.phase == phase) == 15
        assert {step.name for step in steps if step.phase == phase} == {"empty", "movie-001", "Über den Wolken"}
