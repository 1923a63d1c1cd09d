"""What no upload uses any more is deleted from the bucket once it is old; everything else stays."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings

from campaigns.uploads import cleanup, deletion, jobs
from campaigns.uploads.models import Upload
from ifeportal.jobs.runner import JobFailed
from ifeportal.models import Job
from ifeportal.operations.models import Operation, OperationState
from ifeportal.work_lease import NO_LEASE
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast

pytestmark = pytest.mark.both_databases
NOW = datetime(2026, 12, 5, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=49)


class Store(MemoryBucket):
    """A bucket whose clock stands still, and whose listings of some prefixes fail."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.at)
        self.at = OLD
        self.broken = ""

    def list_uploads(self, prefix: str = "") -> Any:
        """List the unfinished uploads. Raises WorldError for the broken prefix."""
        if self.broken and prefix.startswith(self.broken):
            raise WorldError(Code.FORBIDDEN, "access denied")
        return super().list_uploads(prefix)


@pytest.fixture
def bucket() -> Store:
    return Store()


def begun(cast: Cast, bucket: Store, name: str, **columns: Any) -> Upload:
    """Create an upload with parts at the store and an incoming object."""
    state = columns.pop("state", OperationState.WAITING)
    finished_at = columns.pop("finished_at", None)
    operation = Operation.objects.create(
        kind="upload", airline=cast.acme, title=name, state=state, finished_at=finished_at
    )
    key = f"ACME/.incoming/{operation.uuid}/data"
    upload_id = bucket.begin_upload(key).upload_id
    bucket.put(key, b"bytes")
    values = {"name": name, "item": name, "incoming_key": key, "store_upload_id": upload_id, **columns}
    return Upload.objects.create(operation=operation, **values)


def clean(cast: Cast, bucket: Store, **options: Any) -> int:
    return cleanup.clean_airline(cast.acme, bucket, NOW, **options)


def test_what_no_row_knows_is_deleted_and_logged(cast: Cast, bucket: Store, caplog: pytest.LogCaptureFixture) -> None:
    bucket.begin_upload("ACME/.incoming/unknown/data")
    bucket.put("ACME/.incoming/unknown/data", b"x")
    bucket.put("ACME/.library/film.tgz", b"x")
    bucket.begin_upload("ACME/2026-12/film.tgz")
    bucket.begin_upload("BETA/.incoming/unknown/data")
    with caplog.at_level(logging.WARNING):
        assert clean(cast, bucket) == 2
    assert [each.key for each in bucket.list("ACME/")] == ["ACME/.library/film.tgz"]
    assert sorted(each.key for each in bucket.list_uploads()) == [
        "ACME/2026-12/film.tgz",
        "BETA/.incoming/unknown/data",
    ]
    assert caplog.text.count("ACME/.incoming/unknown/data") == 2
    assert clean(cast, bucket) == 0


def test_what_is_young_stays(cast: Cast, bucket: Store, settings: LazySettings) -> None:
    bucket.at = NOW - timedelta(hours=47)
    bucket.begin_upload("ACME/.incoming/unknown/data")
    bucket.put("ACME/.incoming/unknown/data", b"x")
    assert clean(cast, bucket) == 0
    settings.UPLOAD_ORPHAN_AGE = 3_600.0
    assert clean(cast, bucket) == 2


def test_uploads_under_way_and_those_that_may_be_retried_stay(cast: Cast, bucket: Store) -> None:
    begun(cast, bucket, "open")
    begun(cast, bucket, "failed", state=OperationState.FAILED, finished_at=NOW - timedelta(days=6))
    begun(cast, bucket, "not recorded yet", store_upload_id="")
    assert clean(cast, bucket) == 0


def test_what_an_upload_does_not_use_any_more_goes(cast: Cast, bucket: Store) -> None:
    upload = begun(cast, bucket, "open")
    begun(cast, bucket, "failed", state=OperationState.FAILED, finished_at=NOW - timedelta(days=8))
    bucket.begin_upload(upload.incoming_key)  # a second one, whose process was killed before it aborted it
    assert clean(cast, bucket) == 3
    assert [each.upload_id for each in bucket.list_uploads()] == [upload.store_upload_id]
    assert [each.key for each in bucket.list()] == [upload.incoming_key]


def test_a_run_is_bounded(cast: Cast, bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "MOST_DELETED", 2)
    for number in range(5):
        bucket.put(f"ACME/.incoming/{number}/data", b"x")
    assert [clean(cast, bucket) for _ in range(4)] == [2, 2, 1, 0]
    monkeypatch.setattr(cleanup, "MOST_LISTED", 3)
    for number in range(5):
        bucket.put(f"ACME/.incoming/{number}/data", b"x")
    assert len(cleanup.list_leftovers(bucket, "ACME/.incoming/", NOW)) == 3


def test_one_airline_that_fails_does_not_stop_the_others(cast: Cast, bucket: Store) -> None:
    bucket.broken = "ACME/"
    bucket.put("BETA/.incoming/unknown/data", b"x")
    complete, failures = cleanup.clean([cast.acme, cast.beta], bucket, NOW, lambda: False)
    assert (complete, failures) == (True, ["ACME: FORBIDDEN: access denied"])
    assert not list(bucket.list())
    assert cleanup.clean([cast.acme], bucket, NOW, lambda: True) == (False, [])


def test_the_job_reports_what_failed(cast: Cast, bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Job.objects.create(name=jobs.CLEANUP_JOB, due_at=datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(jobs, "_media", lambda: bucket)
    monkeypatch.setattr(jobs, "deletion_time", lambda bucket: NOW)
    bucket.put("BETA/.incoming/unknown/data", b"x")
    bucket.broken = "ACME/"
    with pytest.raises(JobFailed, match="ACME: FORBIDDEN: access denied"):
        jobs.upload_cleanup()
    assert not list(bucket.list())
    assert Job.objects.get(name=jobs.CLEANUP_JOB).failures == 1


def checkpoint(**values: str) -> dict[str, str]:
    names = ("object_key", "object_etag", "incoming_key", "store_upload_id")
    return dict.fromkeys(names, "") | {"incoming_key": "ACME/.incoming/1/data", **values}


def test_a_deletion_deletes_the_object_in_place_and_may_be_repeated(bucket: Store) -> None:
    etag = bucket.put("ACME/.library/film.tgz", b"film")
    bucket.put("ACME/.incoming/1/data", b"x")
    upload_id = bucket.begin_upload("ACME/.incoming/1/data").upload_id
    of_object = checkpoint(object_key="ACME/.library/film.tgz", object_etag=etag, store_upload_id=upload_id)
    for _ in range(2):
        deletion.delete_from_store(bucket, of_object)
    assert not list(bucket.list())
    assert not list(bucket.list_uploads())


def test_a_deletion_spares_an_object_that_was_replaced(bucket: Store) -> None:
    etag = bucket.put("ACME/.library/film.tgz", b"film")
    bucket.put("ACME/.library/film.tgz", b"another")
    deletion.delete_from_store(bucket, checkpoint(object_key="ACME/.library/film.tgz", object_etag=etag))
    assert [each.key for each in bucket.list()] == ["ACME/.library/film.tgz"]


def test_the_operation_of_a_deletion_reports_its_bytes(bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_media", lambda: bucket)
    etag = bucket.put("ACME/.library/film.tgz", b"film")
    reported: list[int | None] = []
    operation = SimpleNamespace(
        checkpoint=checkpoint(object_key="ACME/.library/film.tgz", object_etag=etag), bytes_total=4
    )
    current: Any = SimpleNamespace(operation=operation, lease=NO_LEASE, report=reported.append)
    deletion.run(current)
    assert reported == [4]
    assert not list(bucket.list())
