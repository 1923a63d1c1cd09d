"""The media bucket and the status bucket of the settings. Credentials and endpoint come from the AWS variables."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from loader.s3.client import S3Bucket


def media_bucket() -> S3Bucket:
    """Return the bucket with manifests and content, which aircraft load from."""
    return S3Bucket(settings.MEDIA_BUCKET, public_endpoint=settings.MEDIA_PUBLIC_URL or None)


@cache
def media_bucket_for_requests() -> S3Bucket:
    """Return the media bucket for calls that a client of the portal waits for: with short timeouts.

    One per process, so that its connections are reused.
    """
    public = settings.MEDIA_PUBLIC_URL or None
    return S3Bucket(settings.MEDIA_BUCKET, connect_timeout=2.0, read_timeout=5.0, public_endpoint=public)


def status_bucket() -> S3Bucket:
    """Return the bucket with the progress and errors that aircraft report."""
    return S3Bucket(settings.STATUS_BUCKET)
