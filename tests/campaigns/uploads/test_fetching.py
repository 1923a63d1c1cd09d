"""Uploads from a URL: the worker fetches the file, resumes, and refuses what it must not fetch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.stages import fetching
from campaigns.uploads.stages import work as upload_work
from ifeportal.operations.kinds import CancelRequested, Continue
from ifeportal.operations.models import Operation
from ifeportal.outbound import client
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.https_source import Exchange, HttpsSource, https_source, serve_file
from tests.support.upload_work import MIB, TestSlice, fail, new_upload, noise, run_slice, run_to_end, tgz

pytestmark = pytest.mark.django_db
BODY = tgz({"movie.mp4": noise(20 * MIB)})
KEY = "ACME/2026-12/movie.tgz"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Iterator[HttpsSource]:
    settings.OUTBOUND_ALLOW_PRIVATE = True
    monkeypatch.setattr(upload_work, "WATCH_INTERVAL", 0.02)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "source.pem"))
    with https_source(tmp_path) as server:
        yield server


@pytest.fixture
def media() -> MemoryBucket:
    return MemoryBucket()


def from_url(cast: Cast, source: HttpsSource, path: str = "/movie.tgz?signature=secret") -> Upload:
    return new_upload(cast.acme, cast.mona, body=None, source_url=source.url + path, part_size=0)


def test_file_is_fetched_in_parts_and_placed(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    source.respond = serve_file(BODY)
    upload = run_to_end(from_url(cast, source), media)
    assert media.open(KEY).size == len(BODY)
    assert (upload.status, upload.size, upload.received_bytes) == (UploadStatus.UPLOADED, len(BODY), len(BODY))
    assert len(source.requests) == 1


def test_fetching_resumes_at_a_part(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    source.respond = serve_file(BODY)
    upload = from_url(cast, source)
    assert isinstance(run_slice(upload, media, over=True), Continue)
    upload.refresh_from_db()
    assert (upload.status, upload.received_bytes) == (UploadStatus.LOADING, 16 * MIB)
    run_to_end(upload, media, over=True)
    assert source.requests[1]["Range"] == f"bytes={16 * MIB}-"
    assert source.requests[1]["If-Range"] == '"1"'
    assert media.open(KEY).size == len(BODY)


def test_size_may_be_unknown(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    def respond(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        exchange.wfile.write(BODY)

    source.respond = respond
    upload = run_to_end(from_url(cast, source), media)
    assert upload.object_size == len(BODY)


@pytest.mark.parametrize("size", [0, 16 * MIB])
def test_empty_file_and_file_of_whole_parts(cast: Cast, media: MemoryBucket, source: HttpsSource, size: int) -> None:
    source.respond = serve_file(bytes(size))
    upload = new_upload(cast.acme, cast.mona, "a.bin", None, source_url=source.url, part_size=0, campaign="")
    run_to_end(upload, media)
    assert (upload.status, upload.size) == (UploadStatus.UPLOADED, size)


def test_file_that_changes_is_fetched_again_once(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    source.respond = serve_file(b"x" * 20 * MIB)
    upload = from_url(cast, source)
    run_slice(upload, media, over=True)
    source.respond = serve_file(BODY, '"2"')
    run_to_end(upload, media, over=True)
    assert upload.object_key == "" or media.open(KEY).size == len(BODY)
    assert list(media.list_uploads()) == []


def test_file_that_changes_twice_fails(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    upload = from_url(cast, source)
    for version in ('"1"', '"2"'):
        source.respond = serve_file(BODY, version)
        run_slice(upload, media, over=True)
        if version == '"2"':
            run_slice(upload, media, over=True)
    source.respond = serve_file(BODY, '"3"')
    error = fail(upload, media, over=True)
    assert (error.failure.code, error.can_retry) == (Code.OBJECT_CHANGED, True)
    assert "twice" in str(error)
    assert list(media.list_uploads()) == []
    run_to_end(upload, media, over=True)
    assert media.open(KEY).size == len(BODY)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (404, Code.OBJECT_GONE, "127.0.0.1 has no file at this URL (404)."),
        (403, Code.FORBIDDEN, "127.0.0.1 does not permit access to this URL (403)."),
        (418, Code.NETWORK, "127.0.0.1 answered with an unexpected status (418)."),
    ],
)
def test_status_that_no_retry_changes(
    cast: Cast, media: MemoryBucket, source: HttpsSource, status: int, code: Code, sentence: str
) -> None:
    source.respond = lambda exchange: exchange.answer(status, {"Location": "/x"})
    error = fail(from_url(cast, source), media)
    assert (error.failure.code, str(error)) == (code, sentence)


def test_busy_server_is_asked_again(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    source.respond = lambda exchange: exchange.answer(503, {"Retry-After": "7"})
    with pytest.raises(WorldError) as caught:
        run_slice(from_url(cast, source), media)
    assert (caught.value.permanent, caught.value.retry_after) == (False, 7.0)
    assert "secret" not in str(caught.value)


def test_redirect_to_a_private_address_is_refused(
    cast: Cast, media: MemoryBucket, source: HttpsSource, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = False
    monkeypatch.setattr(client, "is_public", lambda address: address == "127.0.0.1")
    port = source.server_address[1]
    source.respond = lambda exchange: exchange.answer(302, {"Location": f"https://127.0.0.2:{port}/"})
    error = fail(from_url(cast, source), media)
    assert str(error) == "127.0.0.2 has an address that is not on the public internet."
    assert error.failure.code == Code.FORBIDDEN
    assert len(source.requests) == 1


def test_loopback_is_refused(cast: Cast, media: MemoryBucket, source: HttpsSource, settings: LazySettings) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = False
    assert "not on the public internet" in str(fail(from_url(cast, source), media))
    assert source.requests == []


def test_endless_body_ends_at_the_limit(
    cast: Cast, media: MemoryBucket, source: HttpsSource, settings: LazySettings
) -> None:
    settings.UPLOAD_MAX_SIZE = 3 * MIB

    def respond(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while True:
            exchange.wfile.write(bytes(65_536))

    source.respond = respond
    error = fail(from_url(cast, source), media)
    assert (error.failure.code, error.can_retry) == (Code.SIZE_MISMATCH, True)
    assert source.disconnected.wait(20)


def test_announced_size_above_the_limit_is_not_fetched(
    cast: Cast, media: MemoryBucket, source: HttpsSource, settings: LazySettings
) -> None:
    settings.UPLOAD_MAX_SIZE = 3 * MIB
    source.respond = lambda exchange: exchange.answer(200, {"Content-Length": str(3 * MIB + 1)})
    assert "larger than 3,145,728 bytes" in str(fail(from_url(cast, source), media))


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], ids=["headers", "body"])
def test_slow_trickle_ends(
    cast: Cast, media: MemoryBucket, source: HttpsSource, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(fetching, "PART_SECONDS", 0.3)

    def respond(exchange: Exchange) -> None:
        exchange.wfile.write(head)
        while not source.disconnected.wait(0.02):
            exchange.wfile.write(b"x")

    source.respond = respond
    with pytest.raises(WorldError) as caught:
        run_slice(from_url(cast, source), media)
    assert caught.value.code == Code.TOO_SLOW
    assert source.disconnected.wait(20)


def test_body_that_ends_early_is_fetched_again(cast: Cast, media: MemoryBucket, source: HttpsSource) -> None:
    whole = serve_file(BODY)

    def respond(exchange: Exchange) -> None:
        source.respond = whole
        exchange.answer(200, {"Content-Length": str(len(BODY)), "ETag": '"1"'}, BODY[: 17 * MIB])

    source.respond = respond
    upload = from_url(cast, source)
    with pytest.raises(WorldError) as caught:
        run_slice(upload, media)
    assert caught.value.code == Code.SHORT_BODY
    assert Operation.objects.get(pk=upload.pk).checkpoint["fetch"]["parts"] == 1
    run_to_end(upload, media)
    assert source.requests[1]["Range"] == f"bytes={16 * MIB}-"


def test_cancelling_ends_the_request(
    cast: Cast, media: MemoryBucket, source: HttpsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def respond(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"x")
            begun.set()
            source.disconnected.wait(0.01)

    def report(current: TestSlice, *_: object, **__: object) -> None:
        if begun.is_set():
            raise CancelRequested

    source.respond = respond
    monkeypatch.setattr(TestSlice, "report", report)
    with pytest.raises(CancelRequested):
        run_slice(from_url(cast, source), media)
    assert source.disconnected.wait(20)
