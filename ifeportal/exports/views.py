"""Pages of a user's large exports: request, progress, download, cancel and delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, transaction
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from ifeportal import audit
from ifeportal.access import visible_or_404
from ifeportal.exports.access import still_has_access
from ifeportal.exports.downloads import TooManyDownloads, counted
from ifeportal.exports.jobs import EXPORTS_JOB
from ifeportal.exports.models import LIFETIME, Export, ExportPart, ExportState
from ifeportal.exports.responses import read_address
from ifeportal.jobs.queue import make_due
from ifeportal.models import User
from ifeportal.tables.export import CONTENT_TYPES
from ifeportal.web.errors import too_many_at_once
from ifeportal.web.responses import render_page

UNFINISHED_PER_USER: Final = 2
STORED_PER_USER: Final = 10
OUTDATED_FORM: Final = "This form is outdated. Open the page of the table again and export it from there."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def export_list(request: HttpRequest) -> HttpResponse:
    """Show the user's exports; with POST request another one."""
    if request.method == "POST":
        return _request_export(request)
    rows = Export.objects.visible_to(request.user)
    context = {"rows": rows, "unfinished": any(row.is_unfinished for row in rows), "hours": LIFETIME.days * 24}
    return render_page(request, "exports/list.html", context)


def _request_export(request: HttpRequest) -> HttpResponse:
    address = read_address(request.POST.get("address", ""), request.user.pk)
    if address is None:
        messages.error(request, OUTDATED_FORM)
        return redirect("exports")
    assert isinstance(request.user, User)
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=request.user.pk)  # two forms at the same time are counted
        mine = Export.objects.visible_to(user)
        if mine.unfinished().count() >= UNFINISHED_PER_USER:
            messages.error(request, f"{UNFINISHED_PER_USER} of your files are not finished yet. Wait, or cancel one.")
        elif mine.count() >= STORED_PER_USER:
            messages.error(request, f"You have {STORED_PER_USER} files. Delete one first.")
        else:
            row = Export.objects.create(user=user, **{name: address[name] for name in ("path", "query", "name")})
            audit.record(audit.Actor.of(request), "export.requested", row.name)
            transaction.on_commit(lambda: make_due(EXPORTS_JOB))
            messages.success(request, "The file is being prepared. This page shows its progress.")
    return redirect("exports")


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a file, or cancel one that is not finished."""
    row = visible_or_404(Export.objects.all(), request.user, pk=pk)
    with transaction.atomic():
        audit.record(audit.Actor.of(request), "export.deleted", row.name)
        row.delete()
    messages.success(request, f"Deleted {row.name}.")
    return redirect("exports")


@never_cache
@require_safe
def download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the file. Raises Http404 unless it is ready and the user still has all rights it was written with."""
    rows = Export.objects.filter(state=ExportState.READY, finished_at__gte=Now() - LIFETIME)
    row = visible_or_404(rows, request.user, pk=pk)
    assert isinstance(request.user, User)
    if not still_has_access(row.access, request.user):
        raise Http404
    numbers = list(ExportPart.objects.filter(export=row).order_by("number").values_list("pk", flat=True))
    try:
        response = counted(request, lambda: _file_response(request, row, numbers))
    except TooManyDownloads as error:
        return too_many_at_once(request.path, str(error))
    audit.record(audit.Actor.of(request), "export.downloaded", row.name)
    return response


def _file_response(request: HttpRequest, row: Export, parts: list[int]) -> StreamingHttpResponse:
    """Return a response that reads a part when the client has taken the one before."""
    # Under ASGI Django reads a synchronous iterator to its end before it sends the first byte.
    content = _read_async(parts) if isinstance(request, ASGIRequest) else _read(parts)
    response = StreamingHttpResponse(content, content_type=CONTENT_TYPES[row.kind])
    response["Content-Length"] = str(row.size)
    response["Content-Disposition"] = content_disposition_header(True, row.name) or ""
    return response


def _read(parts: list[int]) -> Iterator[bytes]:
    for pk in parts:
        yield ExportPart.objects.get(pk=pk).text


async def _read_async(parts: list[int]) -> AsyncIterator[bytes]:
    for pk in parts:
        yield await _read_part(pk)


@sync_to_async
def _read_part(pk: int) -> bytes:
    """Return a part. The connection is closed before the client reads it."""
    try:
        return ExportPart.objects.get(pk=pk).text
    finally:
        close_old_connections()
