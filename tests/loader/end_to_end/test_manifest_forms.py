"""A manifest as a Windows editor or a web tool stores it: aircraft and ground read the same, or say what it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from campaigns.catalog.sync import sync_catalog
from campaigns.drafts.scan import classify_objects
from campaigns.models import Campaign
from campaigns.publishing.folder_publisher import publish_folder
from campaigns.publishing.manifest_writer import read_published_state
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import Airline
from loader.contract.keys import content_key, manifest_key
from tests.support.aircraft import AIRLINE, Aircraft

pytestmark = [pytest.mark.processes, pytest.mark.django_db]
FILM = b"the film"
DOCUMENT: dict[str, Any] = {"version": 3, "title": "Über den Wolken", "content": [{"name": "a", "size": len(FILM)}]}
TEXT = json.dumps(DOCUMENT, ensure_ascii=False)


@pytest.fixture
def put_manifest(aircraft: Aircraft, seaweed: SeaweedFS) -> Callable[..., None]:
    keys = seaweed.environment()
    client: Any = boto3.client(
        "s3",
        endpoint_url=seaweed.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    aircraft.media.put(content_key(AIRLINE, "c", "a"), FILM)

    def put(body: bytes, **headers: str) -> None:
        client.put_object(Bucket=aircraft.media.name, Key=manifest_key(AIRLINE, "c"), Body=body, **headers)

    return put


def as_the_ground_reads_it(aircraft: Aircraft) -> tuple[str, str, int | None]:
    sync_catalog(Airline.objects.get_or_create(name=AIRLINE)[0], aircraft.media, datetime.now(UTC))
    campaign = Campaign.objects.get()
    return campaign.manifest_state, campaign.title or campaign.manifest_problem, campaign.version


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(TEXT.encode()), {"ContentEncoding": "gzip"}),
        (gzip.compress(TEXT.encode()), {}),
        (TEXT.encode("utf-8-sig"), {}),
        (TEXT.encode("utf-16"), {"ContentType": "application/json; charset=utf-16"}),
    ],
    ids=["gzip", "gzip without a header", "byte order mark", "UTF-16"],
)
def test_aircraft_and_ground_read_it_and_publishing_writes_it_plainly(
    aircraft: Aircraft, tmp_path: Path, put_manifest: Callable[..., None], body: bytes, headers: dict[str, str]
) -> None:
    put_manifest(body, **headers)
    assert as_the_ground_reads_it(aircraft) == ("ok", "Über den Wolken", 3)
    assert aircraft.load().code == 0
    assert aircraft.path("c", "a").read_bytes() == FILM
    notices: list[str] = []
    published = read_published_state(AIRLINE, "c", aircraft.media, notices.append)
    assert (published.visible_version, notices, list(classify_objects(published).items)) == (3, [], ["a"])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.tgz").write_bytes(FILM)
    assert publish_folder(folder, AIRLINE, "c", aircraft.media).version == 4
    fetched = aircraft.media.get(manifest_key(AIRLINE, "c"), 10_000)
    assert fetched is not None
    assert json.loads(fetched.body)["title"] == "Über den Wolken"


def test_a_form_that_could_mean_several_things_is_named_by_aircraft_and_ground_alike(
    aircraft: Aircraft, put_manifest: Callable[..., None]
) -> None:
    put_manifest(TEXT.encode("latin-1"))
    state, problem, _ = as_the_ground_reads_it(aircraft)
    assert (state, "if it was saved as Latin-1 or Windows-1252, save it as UTF-8" in problem) == ("refused", True)
    assert aircraft.load().code == 1
    assert aircraft.errors() == {"c": f"BAD_MANIFEST: campaign.json is refused: {problem}"}
