"""The media bucket and the status bucket of the settings. Credentials and endpoint come from the AWS variables."""

from __future__ import annotations

from django.conf import settings

from loader.s3.client import S3Bucket


def media_bucket() -> S3Bucket:
    """Return the bucket with manifests and content, which aircraft load from."""
    return S3Bucket(settings.MEDIA_BUCKET)


def status_bucket() -> S3Bucket:
    """Return the bucket with the progress and errors that aircraft report."""
    return S3Bucket(settings.STATUS_BUCKET)
