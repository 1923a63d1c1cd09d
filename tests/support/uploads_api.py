"""A store for tests of the uploads API, and requests to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.uploads.models import Upload
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.interface import UploadedPart
from loader.s3.memory import MemoryBucket

UPLOADS = "/api/v1/uploads/"
PART = 16 * MIB


class StoreOfUploads(MemoryBucket):
    """A bucket in memory that can be away, and whose parts can be claimed without their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.claimed: dict[str, dict[int, int]] = {}

    def begin_upload(self, key: str, *, checksums: bool = False) -> Any:
        """Begin an upload. Raises WorldError while the store is away."""
        if self.is_away:
            raise WorldError(Code.NETWORK, "the store is away")
        return super().begin_upload(key, checksums=checksums)

    def resume_upload(self, key: str, upload_id: str, *, checksums: bool = False) -> Any:
        """Return the upload, whose `list_parts` adds the claimed parts."""
        upload: Any = super().resume_upload(key, upload_id, checksums=checksums)
        list_parts = upload.list_parts

        def listed() -> list[UploadedPart]:
            if self.is_away:
                raise WorldError(Code.TIMEOUT, "the store is away")
            claimed = self.claimed.get(upload_id, {})
            return [*list_parts(), *(UploadedPart(number, "0" * 32, size) for number, size in claimed.items())]

        upload.list_parts = listed
        return upload

    def claim_parts(self, upload: Upload, sizes: dict[int, int]) -> None:
        """Make the store list these parts of the upload, {number: size}."""
        self.claimed[upload.store_upload_id] = sizes


@dataclass
class Uploader:
    """A user's client of the uploads API."""

    client: APIClient

    def create(self, **fields: Any) -> Any:
        body = {"airline": "ACME", "name": "film.tgz", "size": 3 * PART + 5, **fields}
        return self.client.post(UPLOADS, {name: value for name, value in body.items() if value is not ...})

    def created(self, **fields: Any) -> Upload:
        """Create an upload and return its row."""
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.content
        return Upload.objects.select_related("operation__airline").get(operation__uuid=answer.json()["id"])

    def get(self, upload: Upload, part: str = "") -> Any:
        return self.client.get(address(upload, part))

    def sign(self, upload: Upload, *numbers: int, **body: Any) -> Any:
        parts = [{"number": number} for number in numbers]
        return self.client.post(address(upload, "parts/"), {"parts": parts, **body})

    def complete(self, upload: Upload) -> Any:
        return self.client.post(address(upload, "complete/"))

    def delete(self, upload: Upload) -> Any:
        return self.client.delete(address(upload))


def address(upload: Upload, part: str = "") -> str:
    return f"{UPLOADS}{upload.operation.uuid}/{part}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> StoreOfUploads:
    """The media bucket of requests."""
    bucket = StoreOfUploads()
    monkeypatch.setattr("campaigns.uploads.api.viewset.media_bucket_for_requests", lambda: bucket)
    return bucket
