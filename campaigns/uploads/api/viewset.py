"""Endpoints of uploads. Bytes never pass through them: clients send parts to the store, at signed addresses."""

from __future__ import annotations

from typing import Any, Final

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.uploads import requests
from campaigns.uploads.api.bodies import PartsBody, SignedParts, StoredParts, UploadBody
from campaigns.uploads.api.errors import as_problems
from campaigns.uploads.models import UNFINISHED, Upload, UploadStatus
from campaigns.uploads.serialization import upload_state
from campaigns.uploads.signing import sign_parts
from campaigns.uploads.store import stored_parts, try_to_begin
from ifeportal.access import Role, role_or_403, visible_or_404
from ifeportal.api.filters import BooleanFilter, ChoicesFilter
from ifeportal.api.operations.serializers import OperationSerializer
from ifeportal.api.schema import with_errors, with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet, column_names
from ifeportal.audit import Actor
from ifeportal.models import Airline
from ifeportal.operations.models import Operation
from ifeportal.operations.queries import set_positions
from ifeportal.storage.buckets import media_bucket_for_requests
from loader.s3.errors import UploadGone

UUID_PATTERN: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NOT_FOUND: Final = {"404": "It does not exist, or you cannot see it."}
CONFLICT: Final = {"409": "It is refused: `code` says why."}
STORE_AWAY: Final = {"503": "The object store or the database is not responding. Retry after `Retry-After` seconds."}


class MetaInfo(serializers.Serializer[Any]):
    """What is known of the file itself."""

    name = serializers.CharField()
    size = serializers.IntegerField(allow_null=True, help_text="Bytes.")
    content_type = serializers.CharField(allow_blank=True)
    sha256 = serializers.CharField(allow_null=True, help_text="Hexadecimal.")
    uploaded_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="UploadRow")
class UploadRow(OperationSerializer):
    """An upload: its operation, with the fields that only uploads have."""

    # Only the declared fields are shared with the base class, which documents another model.
    values_of = upload_state  # type: ignore[assignment]

    name = serializers.CharField(help_text="File name.")
    item = serializers.CharField(help_text="Name of the item, without .tgz.")
    campaign = serializers.CharField(help_text="Empty for the library.")
    content_kind = serializers.CharField(help_text="For example movie, music or map.")
    replace = serializers.BooleanField()
    source_url = serializers.CharField(help_text="Without its query.")
    part_size = serializers.IntegerField(allow_null=True, help_text="Bytes of every part but the last.")
    parts_total = serializers.IntegerField(allow_null=True)
    received_bytes = serializers.IntegerField(help_text="Bytes that the store had when it was last asked.")
    uploaded_percentage = serializers.IntegerField(allow_null=True, help_text="The same as percent.")
    completed_at = serializers.DateTimeField(allow_null=True, help_text="When the client completed it.")
    file_modified = serializers.IntegerField(allow_null=True, help_text="Unix milliseconds.")
    first_part_sha256 = serializers.CharField(help_text="Hexadecimal.")
    object_size = serializers.IntegerField(allow_null=True, help_text="Bytes of the .tgz in the bucket.")
    object_sha256 = serializers.CharField(allow_null=True, help_text="Of the .tgz in the bucket, hexadecimal.")
    meta_info = MetaInfo()


class UploadFilter(django_filters.FilterSet):
    """Filters by status, airline, campaign, and whose upload it is."""

    status = ChoicesFilter(field_name="status", choices=UploadStatus.choices)
    airline = django_filters.CharFilter(field_name="operation__airline__name")
    campaign = django_filters.CharFilter(field_name="campaign")
    mine = BooleanFilter(method="by_user", label="Requested by you.")

    def by_user(self, rows: QuerySet[Upload], name: str, mine: bool) -> QuerySet[Upload]:
        """Return the uploads of the user, or those of others."""
        own = {"operation__user": self.request.user.pk}
        return rows.filter(**own) if mine else rows.exclude(**own)


@with_summaries("uploads", "List uploads", "Get an upload")
class UploadViewSet(ReadOnlyViewSet[Upload]):
    """Uploads of content into the media bucket."""

    queryset = Upload.objects.select_related("operation__airline", "operation__user").only(
        *column_names(Upload),
        *(f"operation__{name}" for name in column_names(Operation)),
        "operation__airline__name",
        "operation__user__username",
    )
    serializer_class = UploadRow  # type: ignore[assignment]
    filterset_class = UploadFilter
    search_fields = ["name", "title", "campaign"]
    default_ordering = ["-operation__created_at"]
    newest_first = True
    orderings = {
        "created_at": "operation__created_at",
        "finished_at": "operation__finished_at",
        "airline": "operation__airline__name",
        "campaign": "campaign",
        "name": "name",
        "size": "size",
        "status": "status",
    }
    lookup_field = "operation__uuid"
    lookup_url_kwarg = "id"
    lookup_value_regex = UUID_PATTERN

    def paginate_queryset(self, queryset: Any) -> list[Any] | None:
        """Return a page of uploads, with the positions of their operations in the queue."""
        rows: list[Any] = list(super().paginate_queryset(queryset) or [])
        set_positions([row.operation for row in rows])
        return rows

    def get_object(self) -> Upload:
        """Return the upload with its position in the queue. Raises Http404."""
        row: Upload = super().get_object()
        set_positions([row.operation])
        return row

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter and order a list. One upload is found by its id alone."""
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    @extend_schema(
        summary="Begin an upload",
        description="For managers of the airline. Send the parts next, or nothing more with `source_url`.",
        tags=["uploads"],
        request=UploadBody,
        responses={201: UploadRow},
        extensions=with_errors(
            {
                "404": "The airline does not exist, or you may not see it.",
                "413": "The file, or the body, is too large.",
                **CONFLICT,
            }
        ),
    )
    def create(self, request: Request) -> Response:
        """Create an upload. Raises Http404, PermissionDenied, ValidationError, Refused."""
        body = UploadBody(data=request.data)
        body.is_valid(raise_exception=True)
        airline = role_or_403(Airline.objects.all(), request.user, Role.MANAGER, name=body.validated_data["airline"])
        with as_problems():
            upload = requests.create_upload(Actor.of(request), airline, body.parsed(), timezone.now())
        if not upload.source_url:
            try_to_begin(upload, media_bucket_for_requests())
        return Response(upload_state(upload), status=201)

    @extend_schema(
        summary="Delete an upload",
        description="For managers of the airline. Cancels it, or deletes its object; the row stays.",
        tags=["uploads"],
        responses={200: UploadRow},
        extensions=with_errors(CONFLICT),
    )
    def destroy(self, request: Request, id: str) -> Response:
        """Delete the upload; repeating it changes nothing. Raises Http404, PermissionDenied, Refused."""
        with as_problems():
            upload = requests.delete_upload(Actor.of(request), self._own(request, id), timezone.now())
        return Response(upload_state(upload))

    @extend_schema(
        summary="List the parts that the store has",
        tags=["uploads"],
        responses={200: StoredParts},
        filters=False,
        extensions=with_errors({**NOT_FOUND, **CONFLICT, **STORE_AWAY}),
    )
    @action(detail=True, url_path="parts", pagination_class=None)
    def parts(self, request: Request, id: str) -> Response:
        """Return the parts in the store. Raises Http404, Refused, StoreUnavailable."""
        upload = visible_or_404(self.queryset.all(), request.user, operation__uuid=id)
        with as_problems():
            part_size = requests.plan_of(upload).part_size
            found = stored_parts(upload, media_bucket_for_requests()) if upload.status in UNFINISHED else []
        listed = [{"number": part.number, "size": part.size, "etag": part.etag} for part in found]
        return Response({"part_size": part_size, "parts": listed}, headers={"Cache-Control": "no-store"})

    @extend_schema(
        summary="Sign the requests that send parts",
        description="For managers of the airline. Send the bytes of each part to its `url`, with its `headers`.",
        tags=["uploads"],
        request=PartsBody,
        responses={200: SignedParts},
        extensions=with_errors({**NOT_FOUND, **CONFLICT, **STORE_AWAY}),
    )
    @parts.mapping.post
    def sign(self, request: Request, id: str) -> Response:
        """Return signed requests. Raises Http404, PermissionDenied, ValidationError, Refused, StoreUnavailable."""
        body = PartsBody(data=request.data)
        body.is_valid(raise_exception=True)
        wanted, valid_for = body.parsed()
        upload = self._own(request, id)
        with as_problems():
            signed = sign_parts(upload, wanted, media_bucket_for_requests(), timezone.now(), valid_for=valid_for)
        return Response({"parts": signed}, headers={"Cache-Control": "no-store"})

    @extend_schema(
        summary="Complete an upload",
        description="For managers of the airline. The portal then checks the file and moves it to its place.",
        tags=["uploads"],
        request=None,
        responses={202: UploadRow},
        extensions=with_errors({**NOT_FOUND, **CONFLICT, **STORE_AWAY}),
    )
    @action(detail=True, methods=["post"], url_path="complete", pagination_class=None)
    def complete(self, request: Request, id: str) -> Response:
        """Complete the upload; repeating it changes nothing. Raises Http404, PermissionDenied, Refused."""
        upload = self._own(request, id)
        with as_problems():
            requests.plan_of(upload)
            if upload.completed_at is None:
                requests.require_open(upload, timezone.now())
                self._require_all_parts(upload)
                requests.record_complete(Actor.of(request), upload, timezone.now())
        return Response(upload_state(upload), status=202)

    def _require_all_parts(self, upload: Upload) -> None:
        """Compare with the store. Another request may have completed the upload meanwhile; then the store has none."""
        try:
            found = stored_parts(upload, media_bucket_for_requests())
        except UploadGone as error:
            upload.refresh_from_db()
            if upload.completed_at is not None:
                return
            raise requests.gone() from error
        requests.require_all_parts(upload, {part.number: part.size for part in found})

    def _own(self, request: Request, id: str) -> Upload:
        """Return the upload if the user manages its airline, in one query. Raises Http404, PermissionDenied."""
        rows = self.queryset.all()
        own = rows.with_role(request.user, Role.MANAGER).filter(operation__uuid=id).first()
        return own or role_or_403(rows, request.user, Role.MANAGER, operation__uuid=id)
