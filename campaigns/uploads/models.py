"""Tables of uploads: what was announced, the parts that were signed, and the object that became of it.

The operation of an upload has its owner, its progress and its error; `Upload` has what only uploads have.
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q

from ifeportal.access import ScopedQuerySet
from ifeportal.operations.models import Operation


class UploadStatus(models.TextChoices):
    """Status word of an upload in the API. LOADING: bytes arrive, or are checked, packed or placed."""

    PENDING = "pending", "Pending"
    LOADING = "loading", "Loading"
    UPLOADED = "uploaded", "Uploaded"
    DELETED = "deleted", "Deleted"
    FAILED = "failed", "Failed"


class Stage(models.TextChoices):
    """What happens while an upload is loading: the stage of its operation."""

    RECEIVING = "receiving", "Receiving"
    FETCHING = "fetching", "Fetching from the URL"
    CHECKING = "checking", "Checking"
    PACKING = "packing", "Packing"
    PLACING = "placing", "Placing"


UNFINISHED: Final = (UploadStatus.PENDING, UploadStatus.LOADING)


class UploadQuerySet(ScopedQuerySet["Upload"]):
    airline_path = "operation__airline"


class Upload(models.Model):
    """One file on its way into the media bucket. Sizes in bytes, sums in hexadecimal.

    `name` is the file's name as announced; `item` the name of the content item, without .tgz. `campaign` is "" for the
    library. `size` and `sha256` are as announced, and as found once it is uploaded; null and "" while unknown. The
    bytes arrive as the multipart upload `store_upload_id` of `incoming_key`. `touched_at`: when the client last signed
    a part or the store received one. `received_bytes`: what the store last listed. `file_modified` (Unix milliseconds)
    and `first_part_sha256` let a browser recognise the file. `object_*` is the object in place.
    """

    operation = models.OneToOneField(Operation, primary_key=True, on_delete=models.CASCADE, related_name="upload")
    status = models.CharField(max_length=8, choices=UploadStatus, default=UploadStatus.PENDING)
    name = models.CharField(max_length=300)
    item = models.CharField(max_length=200)
    campaign = models.CharField(max_length=200, blank=True, default="")
    title = models.CharField(max_length=500, blank=True, default="")
    kind = models.CharField(max_length=100, blank=True, default="")
    content_type = models.CharField(max_length=200, blank=True, default="")
    size = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    replace = models.BooleanField(default=False)
    source_url = models.TextField(blank=True, default="")
    source_etag = models.CharField(max_length=200, blank=True, default="")
    part_size = models.BigIntegerField(default=0)
    parts_total = models.PositiveIntegerField(default=0)
    incoming_key = models.CharField(max_length=1_100, blank=True, default="")
    store_upload_id = models.CharField(max_length=1_100, blank=True, default="")
    received_bytes = models.BigIntegerField(default=0)
    touched_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True, help_text="When the client said that all parts were sent.")
    file_modified = models.BigIntegerField(null=True)
    first_part_sha256 = models.CharField(max_length=64, blank=True, default="")
    object_key = models.CharField(max_length=1_100, blank=True, default="")
    object_etag = models.CharField(max_length=200, blank=True, default="")
    object_size = models.BigIntegerField(null=True)
    object_sha256 = models.CharField(max_length=64, blank=True, default="")
    object_crc32 = models.CharField(max_length=8, blank=True, default="")
    uploaded_at = models.DateTimeField(null=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ["-operation__created_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=UploadStatus.values), name="upload_status_known"),
            models.CheckConstraint(
                condition=(Q(size=None) | Q(size__gte=0)) & Q(received_bytes__gte=0), name="upload_bytes"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_checksums(self) -> bool:
        """Whether the client announced that each part is sent with its SHA-256, which the store then verifies.

        A store accepts the sum of a part only of an upload that was begun with checksums, and then of every part.
        """
        return bool(self.first_part_sha256)


class UploadPart(models.Model):
    """The announced SHA-256 of a part, stored when the part is signed: the store does not list checksums."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveSmallIntegerField()
    sha256 = models.CharField(max_length=44, blank=True, default="", help_text="Base64, as the store wants it.")

    objects: ClassVar[models.Manager[UploadPart]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload", "number"], name="upload_part_once"),
            models.CheckConstraint(condition=Q(number__gte=1, number__lte=10_000), name="upload_part_number"),
        ]

    def __str__(self) -> str:
        return f"part {self.number} of upload {self.upload_id}"
