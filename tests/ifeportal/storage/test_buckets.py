"""The buckets of the settings: what is signed for clients has the address that clients use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import LazySettings

from ifeportal.storage.buckets import media_bucket, media_bucket_for_requests
from loader.s3.client import S3Bucket


@pytest.mark.parametrize("bucket", [media_bucket, media_bucket_for_requests.__wrapped__])
def test_signed_requests_have_the_public_address_of_the_store(
    bucket: Callable[[], S3Bucket], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MEDIA_BUCKET, settings.MEDIA_PUBLIC_URL = "media", "https://s3.example.net"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:8333")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    signed = bucket().resume_upload("ACME/.incoming/1/data", "id").sign_part(1, 5)
    assert signed.url.startswith("https://s3.example.net/media/ACME/.incoming/1/data?")
