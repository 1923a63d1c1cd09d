"""Values that an ETag reveals are not fetched; everything else is fetched once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import boto3
import pytest

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from tests.support.poll_fleet import poll_fleet
from tests.support.polling_world import MIB, PollingWorld, transfer

pytestmark = pytest.mark.django_db

SIZE = 10 * MIB + 5


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def multipart(body: bytes) -> str:
    return hashlib.md5(hashlib.md5(body).digest()).hexdigest() + "-1"


def encrypted(body: bytes) -> str:
    """Return an ETag as with KMS: 32 hexadecimal digits that are the MD5 of something else."""
    return md5(b"with a key of its own" + body)


def poll(world: PollingWorld) -> int:
    """Poll and return how many bodies of the status bucket were fetched."""
    before = world.status.requests.get
    world.poll()
    return world.status.requests.get - before


@pytest.mark.parametrize("value", [0, MIB, 10 * MIB, SIZE])
@pytest.mark.parametrize("written", [md5, lambda body: md5(body).upper(), lambda body: f'"{md5(body)}"'])
def test_objects_of_our_loader_are_recognised_by_any_form_of_their_etag(
    world: PollingWorld, value: int, written: Callable[[bytes], str]
) -> None:
    world.status.etag = written
    world.manifest(items={"a": SIZE})
    world.progress("N1/2026-12/a", value)
    assert poll(world) == 0
    assert transfer("a").bytes_done == value
    assert poll(world) == 0


ETAGS: dict[str, Callable[[bytes], str]] = {
    "of several parts": multipart,
    "of several parts, and many": lambda body: f"{md5(body)}-10000",
    "of an encrypted object": encrypted,
    "of an encrypted object, in capitals": lambda body: encrypted(body).upper(),
    "of another hash": lambda body: hashlib.sha256(body).hexdigest(),
    "weak": lambda body: f'W/"{md5(body)}"',
    "a number": lambda body: str(len(body)),
    "the value itself": lambda body: body.decode(),
    "too long for the database": lambda body: md5(body) * 20,
}


@pytest.mark.parametrize("value", [0, 3 * MIB, SIZE])
@pytest.mark.parametrize("kind", ETAGS)
def test_an_etag_that_gives_nothing_away_costs_one_request(world: PollingWorld, kind: str, value: int) -> None:
    world.status.etag = ETAGS[kind]
    world.manifest(items={"a": SIZE})
    world.progress("N1/2026-12/a", value)
    assert poll(world) == 1
    assert (transfer("a").bytes_done, transfer("a").status == "complete") == (value, value == SIZE)
    assert poll(world) == 0


@pytest.mark.parametrize("value", [1, 4_194_305, MIB - 1, SIZE - 1, SIZE + MIB])
def test_a_value_that_our_loader_would_not_write_costs_one_request(world: PollingWorld, value: int) -> None:
    world.manifest(items={"a": SIZE})
    world.progress("N1/2026-12/a", value)
    assert poll(world) == 1
    assert transfer("a").bytes_reported == value
    assert poll(world) == 0


@pytest.mark.parametrize("body", [b"4194304\n", b" 4194304", b"04194304"])
def test_a_value_spelt_otherwise_costs_one_request(world: PollingWorld, body: bytes) -> None:
    world.manifest(items={"a": SIZE})
    world.progress("N1/2026-12/a", body)
    assert poll(world) == 1
    assert transfer("a").bytes_done == 4 * MIB
    assert poll(world) == 0


def test_an_etag_that_does_not_fit_the_length_is_not_believed(world: PollingWorld) -> None:
    world.status.etag = lambda _: md5(b"%d" % MIB)
    world.manifest(items={"a": SIZE})
    world.progress("N1/2026-12/a", 99)
    assert poll(world) == 1
    assert transfer("a").bytes_done == 99


def test_without_a_size_only_zero_bytes_are_known(world: PollingWorld) -> None:
    world.progress("N1/2026-12/none", 0)
    world.progress("N1/2026-12/some", MIB)
    assert poll(world) == 1
    assert (transfer("none").bytes_done, transfer("some").bytes_done) == (0, MIB)
    assert poll(world) == 0


def test_each_of_many_kinds_side_by_side_is_fetched_once(world: PollingWorld) -> None:
    """Uploaded by different programs, as in a fleet with loaders of several vendors."""
    world.manifest(items={f"item-{number}": SIZE for number in range(12)})
    values = {f"item-{number}": number * MIB // (1 + number % 2) for number in range(12)}
    for number, (name, value) in enumerate(values.items()):
        world.status.etag = (md5, multipart, encrypted)[number % 3]
        world.progress(f"N1/2026-12/{name}", value)
    guessed = [n for n, value in enumerate(values.values()) if n % 3 == 0 and value % MIB == 0 and value < SIZE]
    assert poll(world) == 12 - len(guessed)
    assert 0 < len(guessed) < 4, "some are recognised and some are not"
    assert {name: transfer(name).bytes_done for name in values} == values
    assert poll(world) == 0


def test_an_upload_in_parts_to_a_real_store(
    db: None, world: PollingWorld, seaweed: SeaweedFS, status: S3Bucket
) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=seaweed.endpoint,
        region_name="us-east-1",
        aws_access_key_id=seaweed.access_key,
        aws_secret_access_key=seaweed.secret_key,
    )
    world.manifest(items={"parts": SIZE, "plain": SIZE})
    key = "ACME/N1/2026-12/parts.tgz.progress"
    upload = client.create_multipart_upload(Bucket=status.name, Key=key)["UploadId"]
    part = client.upload_part(Bucket=status.name, Key=key, UploadId=upload, PartNumber=1, Body=b"%d" % (4 * MIB))
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    client.complete_multipart_upload(Bucket=status.name, Key=key, UploadId=upload, MultipartUpload=parts)  # type: ignore[arg-type]
    status.put("ACME/N1/2026-12/plain.tgz.progress", b"%d" % (4 * MIB))
    etags = {info.key: info.etag for info in status.list("ACME/")}
    assert etags[key].endswith("-1"), "the store marks what came in parts"

    before = status.requests.get
    poll_fleet(world.media, status, datetime.now(UTC))
    assert status.requests.get == before + 1
    assert (transfer("parts").bytes_done, transfer("plain").bytes_done) == (4 * MIB, 4 * MIB)
    poll_fleet(world.media, status, datetime.now(UTC))
    assert status.requests.get == before + 1
