"""Publishing to stores that differ from S3: conditions, checksums and ETags, with a real store behind a proxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import call_command

from campaigns.publishing.errors import PublishError
from campaigns.publishing.folder_publisher import PublishResult, publish_folder
from campaigns.publishing.progress import PublishProgress
from fleet.simulation.faults import ErrorResponse, Fault, Request, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.management import base
from ifeportal.storage.conditional_writes import UNCONDITIONAL
from loader.contract.keys import signature_key
from loader.contract.manifest import parse_manifest
from loader.errors import WorldError
from loader.s3.client import S3Bucket
from tests.support.signing_keys import private_key

MANIFEST = "ACME/c/campaign.json"
IsRefused = Callable[[Request], bool]


class Picky(Fault):
    """Answers `answer` to each request which `refuses`."""

    def __init__(self, refuses: IsRefused, answer: ErrorResponse) -> None:
        self._refuses, self._answer = refuses, answer
        self.refused = 0

    def for_request(self, request: Request) -> Fault:
        if not self._refuses(request):
            return Fault()
        self.refused += 1
        return self._answer


class PickyProxy(FaultProxy):
    """A proxy in front of a store that refuses some requests."""

    def __init__(self, target: str, refuses: IsRefused, answer: ErrorResponse) -> None:
        super().__init__(target)
        self._picky = Picky(refuses, answer)
        self.rules.append(Rule(self._picky, method="*", times=None))

    @property
    def refused(self) -> int:
        return self._picky.refused


def quoted_if_match(request: Request) -> bool:
    return request.method == "PUT" and request.find("If-Match").startswith('"')


def any_condition(request: Request) -> bool:
    return request.method == "PUT" and bool(request.find("If-Match") or request.find("If-None-Match"))


def every_manifest(request: Request) -> bool:
    return request.method == "PUT" and request.target.partition("?")[0].endswith("campaign.json")


def flexible_checksums(request: Request) -> bool:
    names = {name.lower() for name, _ in request.headers}
    return "aws-chunked" in request.find("Content-Encoding") or any(
        "checksum" in name or name == "x-amz-trailer" for name in names
    )


@pytest.fixture
def store(seaweed: SeaweedFS) -> Iterator[Callable[[IsRefused, ErrorResponse], PickyProxy]]:
    started: list[PickyProxy] = []

    def start(refuses: IsRefused, answer: ErrorResponse) -> PickyProxy:
        started.append(PickyProxy(seaweed.endpoint, refuses, answer))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "campaign"
    folder.mkdir()
    (folder / "a.tgz").write_bytes(b"first")
    return folder


def through(link: PickyProxy, media: S3Bucket, seaweed: SeaweedFS) -> S3Bucket:
    keys = seaweed.environment()
    access, secret = keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]
    return S3Bucket(media.name, endpoint=link.endpoint, access_key=access, secret_key=secret, sleep=lambda _: None)


def publish_twice(folder: Path, media: S3Bucket) -> list[PublishResult]:
    first = publish_folder(folder, "ACME", "c", media)
    (folder / "b.tgz").write_bytes(b"second")
    return [first, publish_folder(folder, "ACME", "c", media)]


def current_version(media: S3Bucket) -> int | None:
    fetched = media.get(MANIFEST, 10_000)
    assert fetched is not None
    return parse_manifest(fetched.body, airline="ACME", campaign="c").version


def test_a_store_that_takes_if_match_only_without_quotes_takes_a_second_version_with_one_warning(
    store: Callable[..., PickyProxy], folder: Path, media: S3Bucket, seaweed: SeaweedFS
) -> None:
    link = store(quoted_if_match, ErrorResponse(412, "PreconditionFailed"))
    first, second = publish_twice(folder, through(link, media, seaweed))
    assert link.refused == 1
    assert (first.notices, second.notices) == ((), (UNCONDITIONAL,))
    assert (first.version, second.version, current_version(media)) == (1, 2, 2)


@pytest.mark.parametrize(
    "answer",
    [
        ErrorResponse(501, "NotImplemented"),
        ErrorResponse(400, "InvalidArgument"),
        ErrorResponse(405, "MethodNotAllowed"),
        ErrorResponse(412, "PreconditionFailed"),
        ErrorResponse(400),
    ],
    ids=lambda answer: f"{answer.status} {answer.code}",
)
def test_a_store_without_conditional_writes_is_published_to_with_one_warning(
    store: Callable[..., PickyProxy], folder: Path, media: S3Bucket, seaweed: SeaweedFS, answer: ErrorResponse
) -> None:
    link = store(any_condition, answer)
    results = publish_twice(folder, through(link, media, seaweed))
    assert link.refused == 2
    assert [result.notices for result in results] == [(UNCONDITIONAL,)] * 2
    assert [result.version for result in results] == [1, 2]
    assert current_version(media) == 2


def test_the_command_publishes_and_signs_without_conditional_writes_and_warns_once(
    store: Callable[..., PickyProxy],
    folder: Path,
    media: S3Bucket,
    seaweed: SeaweedFS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = store(any_condition, ErrorResponse(501, "NotImplemented"))
    monkeypatch.setattr(base, "media_bucket", lambda: through(link, media, seaweed))
    key = tmp_path / "key.pem"
    key.write_bytes(_pem("sam"))
    key.chmod(0o600)
    out, err = StringIO(), StringIO()
    names = {"airline": "ACME", "campaign": "c", "sign_with": [key], "json": True}
    call_command("publish_campaign", folder, stdout=out, stderr=err, **names)
    assert link.refused == 2
    assert json.loads(out.getvalue())["notices"] == [UNCONDITIONAL]
    assert err.getvalue().count(UNCONDITIONAL) == 1
    assert media.get(signature_key("ACME", "c"), 10_000) is not None


def _pem(name: str) -> bytes:
    return private_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_another_publisher_is_still_noticed_where_conditions_are_refused(
    store: Callable[..., PickyProxy], folder: Path, media: S3Bucket, seaweed: SeaweedFS
) -> None:
    link = store(any_condition, ErrorResponse(501, "NotImplemented"))
    theirs = b'{"content": [], "version": 7}'

    def overtake(step: PublishProgress) -> None:
        if step.phase == "uploading":
            media.put(MANIFEST, theirs)

    with pytest.raises(PublishError, match="someone else published"):
        publish_folder(folder, "ACME", "c", through(link, media, seaweed), on_progress=overtake)
    assert link.refused == 1
    fetched = media.get(MANIFEST, 10_000)
    assert fetched is not None
    assert fetched.body == theirs


def test_a_store_that_refuses_every_write_is_an_error_and_changes_nothing(
    store: Callable[..., PickyProxy], folder: Path, media: S3Bucket, seaweed: SeaweedFS
) -> None:
    publish_folder(folder, "ACME", "c", media)
    (folder / "b.tgz").write_bytes(b"second")
    link = store(every_manifest, ErrorResponse(400))
    with pytest.raises(WorldError, match="400"):
        publish_folder(folder, "ACME", "c", through(link, media, seaweed))
    assert link.refused == 2
    assert current_version(media) == 1


def test_uploads_of_any_size_use_no_newer_checksum_headers(
    store: Callable[..., PickyProxy], folder: Path, media: S3Bucket, seaweed: SeaweedFS
) -> None:
    (folder / "large.tgz").write_bytes(bytes(9 * 1_048_576))
    link = store(flexible_checksums, ErrorResponse(400, "InvalidArgument"))
    result = publish_folder(folder, "ACME", "c", through(link, media, seaweed))
    assert {item.outcome for item in result.items} == {"uploaded"}
    assert (link.refused, current_version(media)) == (0, 1)
    assert {each.method for each in link.log} >= {"PUT", "POST"}  # a part, and the completion of the upload
