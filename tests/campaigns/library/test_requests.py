"""Uses of library items, editing and deleting them, and the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from campaigns.library.models import CampaignUse, LibraryItem
from campaigns.library.uses import set_uses
from campaigns.models import Campaign, ContentItem, ManifestState
from campaigns.uploads import deletion
from campaigns.uploads.models import Upload, UploadStatus
from ifeportal.models import AuditEntry
from ifeportal.operations.models import Operation
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import fresh_throttles as fresh_throttles
from tests.support.campaign_drafts import create_hashed_draft
from tests.support.library import new_item
from tests.support.upload_work import new_upload

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
LIBRARY = "/api/v1/library/"
NEW = datetime(2026, 12, 2, tzinfo=UTC)


@pytest.fixture
def media() -> MemoryBucket:
    return MemoryBucket()


def publish(cast: Cast, campaign: str, item: LibraryItem, **columns: Any) -> None:
    row = Campaign.objects.create(airline=cast.acme, name=campaign, manifest_state=ManifestState.OK)
    ContentItem.objects.create(campaign=row, name=item.name, size=item.size, **({"sha256": item.sha256} | columns))


def test_uses_need_the_same_name_and_the_same_bytes(cast: Cast, media: MemoryBucket) -> None:
    film, other = new_item(cast.acme, "film", b"film"), new_item(cast.acme, "other", b"film")
    foreign = new_item(cast.beta, "film", b"film")
    draft = create_hashed_draft(cast.acme, media, {"film": b"film", "other": b"not the film"})
    publish(cast, "2026-11", film)
    publish(cast, "2026-10", film, sha256="0" * 64)
    publish(cast, "2026-09", film, listed=False)
    set_uses([film, other, foreign])
    assert film.uses == (CampaignUse("2026-11", None, True), CampaignUse("2026-12", draft.pk, False))
    assert (other.uses, foreign.uses) == ((), ())
    assert list(LibraryItem.objects.used()) == [film]
    assert set(LibraryItem.objects.unused()) == {other, foreign}
    Campaign.objects.update(withdrawn_at=NEW)
    set_uses([film])
    assert [use.campaign for use in film.uses] == ["2026-12"]


def test_the_api_lists_filters_and_renames(cast: Cast, client_of: ClientOf) -> None:
    film = new_item(cast.acme, "film", b"film", title="Old", kind="movie", added_by=cast.mona)
    new_item(cast.acme, "map", b"map", kind="map", added_at=NEW)
    new_item(cast.beta, "theirs")
    publish(cast, "2026-11", film)
    mona, alice = client_of(cast.mona), client_of(cast.alice)

    def names(query: str = "") -> list[str]:
        return [row["name"] for row in alice.get(f"{LIBRARY}{query}").json()["results"]]

    assert names() == ["film", "map"]
    assert names("?ordering=-added_at") == ["map", "film"]
    assert names("?kind=map") == names("?used=false") == names("?q=ma") == ["map"]
    assert names("?used=true") == names(f"?sha256={film.sha256}") == ["film"]
    address = f"{LIBRARY}{film.pk}/"
    before = alice.get(address)
    assert before.json() == {
        "id": film.pk,
        "airline": "ACME",
        "name": "film",
        "title": "Old",
        "kind": "movie",
        "size": 4,
        "sha256": film.sha256,
        "crc32": None,
        "added_at": "2026-12-01T12:00:00.000Z",
        "added_by": "mona",
        "used_in": [{"campaign": "2026-11", "draft": None, "published": True}],
    }
    assert alice.get(address, headers={"If-None-Match": before["ETag"]}).status_code == 304
    ContentItem.objects.all().delete()
    assert alice.get(address, headers={"If-None-Match": before["ETag"]}).json()["used_in"] == []

    changed = mona.patch(address, {"title": " New "})
    assert (changed.status_code, changed.json()["title"], changed.json()["kind"]) == (200, "New", "movie")
    entry = AuditEntry.objects.get(action="library.changed")
    assert (entry.target, entry.changes) == ("film in the library of ACME", {"title": ["Old", "New"]})
    assert mona.patch(address, {"kind": "a\nb"}).status_code == 400
    assert alice.patch(address, {"title": "No"}).status_code == 403
    assert client_of(cast.bruno).patch(address, {"title": "No"}).status_code == 404


def test_a_deleted_item_is_removed_by_an_operation_and_its_upload_follows(
    cast: Cast, client_of: ClientOf, media: MemoryBucket
) -> None:
    film = new_item(cast.acme, "film", b"film", media)
    upload = new_upload(cast.acme, cast.mona, campaign="", object_key="ACME/.library/film.tgz")
    Upload.objects.update(status=UploadStatus.UPLOADED)
    assert client_of(cast.otto).delete(f"{LIBRARY}{film.pk}/").status_code == 403
    answer = client_of(cast.mona).delete(f"{LIBRARY}{film.pk}/")
    assert (answer.status_code, answer.json()["kind"], answer.json()["title"]) == (202, "deletion", "Delete film")
    assert not LibraryItem.objects.exists()
    upload.refresh_from_db()
    assert upload.status == UploadStatus.DELETED
    assert AuditEntry.objects.filter(action="library.deleted").count() == 1
    assert client_of(cast.mona).delete(f"{LIBRARY}{film.pk}/").status_code == 404
    checkpoint = Operation.objects.get(kind="deletion").checkpoint
    deletion.delete_from_store(media, checkpoint)
    assert not list(media.list())


def test_a_changed_object_is_not_deleted(cast: Cast, client_of: ClientOf, media: MemoryBucket) -> None:
    film = new_item(cast.acme, "film", b"film", media)
    client_of(cast.mona).delete(f"{LIBRARY}{film.pk}/")
    media.put("ACME/.library/film.tgz", b"another")
    deletion.delete_from_store(media, Operation.objects.get(kind="deletion").checkpoint)
    assert [info.key for info in media.list()] == ["ACME/.library/film.tgz"]
