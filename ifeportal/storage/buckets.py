"""The media bucket and the status bucket of the settings.

Credentials and endpoint come from AWS's own variables.
"""

from __future__ import annotations

from django.conf import settings

from loader.s3.client import S3Bucket


def media_bucket() -> S3Bucket:
    """The bucket that says what should fly."""
    return S3Bucket(settings.MEDIA_BUCKET)


def status_bucket() -> S3Bucket:
    """The bucket that says what has arrived."""
    return S3Bucket(settings.STATUS_BUCKET)
