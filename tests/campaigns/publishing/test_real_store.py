"""Publishing to a real S3 store: parts, Unicode keys, conditional writes, and the command as a process."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from campaigns.catalog.sync import sync_catalog
from campaigns.models import Campaign
from campaigns.publishing.errors import PublishError
from campaigns.publishing.folder_publisher import publish_folder
from campaigns.publishing.progress import PublishProgress
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import Airline
from loader.s3.client import S3Bucket
from tests.support.portal_forks import run

ROOT = Path(__file__).parents[3]
MIB = 1_048_576
SIZES = {
    "movie-001": 17 * MIB + 5,
    "exactly two parts": 16 * MIB,
    "just below": 8 * MIB - 1,
    "one part": 8 * MIB,
    "Über den Wolken, 映画 100% +&=;:@ 🎬": 70_000,
    "हिन्दी": 1,
    "leer": 0,
}
pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "campaign"
    folder.mkdir()
    noise = random.Random(7)
    for name, size in SIZES.items():
        (folder / f"{name}.tgz").write_bytes(noise.randbytes(size))
    return folder


def stop_after(count: int) -> Callable[[PublishProgress], None]:
    """Raises KeyboardInterrupt after a number of uploads."""
    begun: set[str] = set()

    def report(step: PublishProgress) -> None:
        if step.phase == "uploading":
            begun.add(step.name)
            if len(begun) > count:
                raise KeyboardInterrupt

    return report


def test_every_byte_arrives_and_a_second_run_sends_nothing(folder: Path, media: S3Bucket) -> None:
    first = publish_folder(folder, "ACME", "2026-12", media)
    for item in first.items:
        with media.open(f"ACME/2026-12/{item.name}.tgz") as body:
            sha256 = hashlib.sha256()
            while block := body.read():
                sha256.update(block)
        assert sha256.hexdigest() == item.sha256
    assert first.bytes_uploaded == sum(SIZES.values())
    puts = media.requests.put
    second = publish_folder(folder, "ACME", "2026-12", media)
    assert (second.changed, second.bytes_uploaded, media.requests.put) == (False, 0, puts)


def test_only_missing_objects_are_uploaded_after_an_interruption(folder: Path, media: S3Bucket) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish_folder(folder, "ACME", "2026-12", media, on_progress=stop_after(4))
    assert media.get("ACME/2026-12/campaign.json", 100) is None
    result = publish_folder(folder, "ACME", "2026-12", media)
    assert sum(item.outcome == "unchanged" for item in result.items) == 4
    assert (result.version, result.changed) == (1, True)


def test_the_second_of_two_publishers_is_refused(folder: Path, media: S3Bucket) -> None:
    def overtake(step: PublishProgress) -> None:
        if step.phase == "uploading" and not media.requests.delete:
            media.delete("nothing")
            media.put("ACME/2026-12/campaign.json", b'{"content": [], "version": 3}')

    with pytest.raises(PublishError, match="someone else"):
        publish_folder(folder, "ACME", "2026-12", media, on_progress=overtake)
    (folder / "leer.tgz").write_bytes(b"no longer")
    result = publish_folder(folder, "ACME", "2026-12", media, on_progress=lambda step: None)
    assert (result.version, result.bytes_uploaded) == (4, 9)


@pytest.mark.django_db
def test_the_catalog_reads_the_published_campaign(folder: Path, media: S3Bucket) -> None:
    published = publish_folder(folder, "ACME", "2026-12", media, title="December")
    airline = Airline.objects.create(name="ACME")
    result = sync_catalog(airline, media, datetime.now(UTC))
    campaign = Campaign.objects.get()
    assert (campaign.title, campaign.version, campaign.bytes_total) == ("December", 1, sum(SIZES.values()))
    assert {(item.name, item.size, item.sha256) for item in campaign.items.all()} == {
        (item.name, item.size, item.sha256) for item in published.items
    }
    assert (result.objects_seen, result.problems) == (len(SIZES) + 1, [])
    assert sync_catalog(airline, media, datetime.now(UTC)).campaigns_changed == []


def test_the_command_publishes_as_a_process_with_the_settings_of_its_environment(
    folder: Path, media: S3Bucket, seaweed: SeaweedFS
) -> None:
    environment = {**os.environ, **seaweed.environment(), "MEDIA_BUCKET": media.name}
    command = [sys.executable, "manage.py", "publish_campaign", str(folder), "--airline=ACME", "--campaign=2026-12"]
    done = run([*command, "--json"], env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes_uploaded"] == sum(SIZES.values())
    denied = {**environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    refused = run(command, env=denied)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "wrong" not in refused.stderr
