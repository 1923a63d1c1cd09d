"""The tools of `benchmarks.uploads`, each once with very small numbers; and very small runs of the jobs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from benchmarks.uploads import resident
from benchmarks.uploads.scenarios import DESCRIPTIONS, INTERRUPTIONS, JOBS
from benchmarks.uploads.setup import AIRLINE, PART, write_archive
from campaigns.uploads import operation
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.operations.models import Operation
from ifeportal.storage.buckets import media_bucket, media_bucket_for_requests
from loader.contract.units import MIB
from tests.support.bucket_pool import FreshBuckets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bucket(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch, seaweed: SeaweedFS, fresh_buckets: FreshBuckets
) -> Iterator[None]:
    """Make a new bucket the media bucket of the portal."""
    settings.MEDIA_BUCKET = fresh_buckets.take().name
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    media_bucket_for_requests.cache_clear()
    # Each worker process of the portal has one bucket, of its settings. Other tests have used this process.
    monkeypatch.setattr(operation, "_media", media_bucket)
    yield
    media_bucket_for_requests.cache_clear()


def test_the_file_is_a_real_archive_of_about_the_size(tmp_path: Path) -> None:
    write_archive(tmp_path / "film.tgz", 3 * MIB)
    assert 0.98 < (tmp_path / "film.tgz").stat().st_size / (3 * MIB) <= 1.0
    with tarfile.open(tmp_path / "film.tgz") as archive:
        assert [member.name for member in archive] == ["film.mp4"]


def test_every_job_is_documented() -> None:
    assert INTERRUPTIONS.keys() == DESCRIPTIONS.keys()
    text = " ".join((ROOT / "benchmarks/README.md").read_text().split())
    assert ", ".join(f"`{job}`" for job in JOBS) in text


@pytest.mark.django_db
def test_signing_is_counted_and_progress_is_published(bucket: None) -> None:
    assert resident.begin_session(AIRLINE)["value"]
    found = resident.sign(3)
    assert 1 <= found["statements"] <= 10
    assert found["store"] == 0
    resident.change(5)
    assert Operation.objects.get().bytes_done == 5


@pytest.mark.django_db
def test_admissions_are_counted() -> None:
    resident.begin_session(AIRLINE)
    found = resident.admit(waiting=20, times=2)
    assert len(found["seconds"]) == 2
    assert found["statements"] >= 3
    assert found["admitted"] >= 1


@pytest.mark.django_db(transaction=True)
def test_an_upload_without_a_browser_is_placed(bucket: None, tmp_path: Path) -> None:
    resident.begin_session(AIRLINE)
    write_archive(tmp_path / "film.tgz", PART + MIB)
    found = resident.work(resident.announce(str(tmp_path / "film.tgz"))["id"])
    assert (found["state"], found["key"]) == ("succeeded", f"{AIRLINE}/.library/film.tgz")
    assert found["finished"] >= found["completed"]


@pytest.mark.browser
@pytest.mark.processes
@pytest.mark.thorough  # starts a portal with its own store and database for each job: a minute
def test_a_very_small_run_measures_what_needs_a_browser(tmp_path: Path) -> None:
    numbers = ["--size", "40MiB", "--browser-size", "20MiB", "--browsers", "2", "--samples", "3"]
    options = ["--only", "resent,crowd,change", "--folder", str(tmp_path), *numbers]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.uploads", *options], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert "not measured" not in done.stderr, done.stderr
    assert done.stdout.count("| browser: ") == len(INTERRUPTIONS)
    assert "| operation changed to open page | p95 |" in done.stdout
    assert list(tmp_path.iterdir()) == []
