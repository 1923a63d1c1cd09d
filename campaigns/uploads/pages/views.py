"""Views of the uploads page: the list, its files, and the forms that fetch from a URL, delete and retry.

Bytes are sent by the page's script, through the API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from campaigns.uploads import requests
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.pages.columns import UPLOADS, upload_row
from campaigns.uploads.pages.destinations import destinations
from campaigns.uploads.pages.forms import SourceUrlForm
from campaigns.uploads.refusals import InvalidField, RequestRefused
from campaigns.uploads.requests import UPLOAD
from ifeportal.access import Role, role_or_403
from ifeportal.audit import Actor
from ifeportal.exports.responses import export
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.operations.actions import find_for_action, perform
from ifeportal.operations.models import Operation, OperationQuerySet
from ifeportal.operations.queries import set_positions
from ifeportal.operations.requests import RequestRejected
from ifeportal.tables.query import TableQuery, paginate, parse_query, select_rows
from ifeportal.tables.search import SEARCH_LIMIT
from ifeportal.web.responses import compressed, render_page

FILTER_PARAMETERS: Final = ("state", "airline", "mine", "q", "sort", "page", "size")
NAMED_AIRLINES: Final = 200  # in the filter
URL_FIELDS: Final = "upload_from_url"  # in the session: fields of a form that was refused, to show them again


@never_cache
@require_safe
@compressed
def uploads(request: HttpRequest) -> HttpResponseBase:
    """Show the uploads of the user's airlines, or export them; managers also choose files here."""
    rev = current_rev()  # before the rows
    choice = parse_query(request.GET, UPLOADS, UploadStatus.values)
    wanted = _wanted(request.GET)
    visible = Operation.objects.visible_to(request.user).filter(kind=UPLOAD)
    rows = select_rows(_select(visible, choice, wanted, request.user), UPLOADS, choice, "-pk")
    rows = rows.select_related("airline", "user", "upload")
    file = export(request, UPLOADS.with_rows(rows))
    if file:
        return file
    page = paginate(rows, choice.page, choice.size)
    found = list(page)
    set_positions(found)
    managed = set(Airline.objects.with_role(request.user, Role.MANAGER).values_list("pk", flat=True))
    return render_page(
        request,
        "uploads/uploads.html",
        {
            "rev": rev,
            "choice": choice,
            "wanted": wanted,
            "is_filtered": choice.is_filtered or bool(wanted),
            "query": _kept(request.GET),
            "table": UPLOADS,
            "page": page,
            "rows": [upload_row(row, may_act=row.airline_id in managed) for row in found],
            "newest": visible.order_by("-pk").values_list("pk", flat=True).first(),
            "statuses": UploadStatus.values,
            "airlines": list(Airline.objects.visible_to(request.user).order_by("name")[:NAMED_AIRLINES]),
            "destinations": destinations(request.user),
            "address": reverse("api-uploads-list"),
            "url_fields": request.session.pop(URL_FIELDS, {}),
        },
    )


def _wanted(params: QueryDict) -> dict[str, str]:
    """Return the filters besides status and search: `airline`, and `mine`."""
    airline = params.get("airline", "").replace("\0", "").strip()[:SEARCH_LIMIT]
    values = {"airline": airline, "mine": "1" if params.get("mine") == "1" else ""}
    return {name: value for name, value in values.items() if value}


def _select(
    rows: OperationQuerySet, choice: TableQuery, wanted: Mapping[str, str], user: AbstractUser | AnonymousUser
) -> OperationQuerySet:
    if choice.state:
        rows = rows.filter(upload__status=choice.state)
    if "airline" in wanted:
        rows = rows.filter(airline__name=wanted["airline"])
    return rows.filter(user=user.pk) if "mine" in wanted else rows


def _kept(params: Mapping[str, Any]) -> str:
    """Return the query string without unknown parameters, to come back to."""
    return urlencode({name: str(params[name])[:SEARCH_LIMIT] for name in FILTER_PARAMETERS if params.get(name)})


@require_POST
def from_url(request: HttpRequest) -> HttpResponse:
    """Have the portal fetch a file. Raises Http404, PermissionDenied for an airline that the user does not manage."""
    form = SourceUrlForm(request.POST)
    if not form.is_valid():
        return _refused(request, form.first_error())
    airline = role_or_403(Airline.objects.all(), request.user, Role.MANAGER, name=form.cleaned_data["airline"])
    try:
        upload = requests.create_upload(Actor.of(request), airline, form.parsed(), timezone.now())
    except (RequestRefused, InvalidField) as error:
        return _refused(request, str(error))
    messages.success(request, f"The portal fetches {upload.name}. You can close this page.")
    return _back(request)


def _refused(request: HttpRequest, sentence: str) -> HttpResponse:
    messages.error(request, sentence)
    # Without the query of the URL, which may be a signature.
    fields = {name: request.POST.get(name, "")[:SEARCH_LIMIT] for name in ("destination", "name")}
    request.session[URL_FIELDS] = fields
    return _back(request)


@require_POST
def delete(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Cancel an upload, or delete its object. Raises Http404, PermissionDenied."""
    rows = Upload.objects.select_related("operation__airline")
    upload = role_or_403(rows, request.user, Role.MANAGER, operation__uuid=uuid)

    def ask() -> str:
        deleted = requests.delete_upload(Actor.of(request), upload, timezone.now())
        return f"{deleted.name} is being deleted."

    return _answer(request, ask)


@require_POST
def retry(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Queue an upload again. Raises Http404, PermissionDenied."""
    role_or_403(Upload.objects.all(), request.user, Role.MANAGER, operation__uuid=uuid)

    def ask() -> str:
        return f"“{perform('retry', find_for_action(request.user, uuid), Actor.of(request)).title}” is queued again."

    return _answer(request, ask)


def _answer(request: HttpRequest, ask: Callable[[], str]) -> HttpResponse:
    try:
        messages.success(request, ask())
    except (RequestRefused, RequestRejected) as error:
        messages.error(request, str(error))
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    query = _kept(QueryDict(request.POST.get("query", "")[: SEARCH_LIMIT * len(FILTER_PARAMETERS)]))
    return redirect(f"{reverse('uploads')}?{query}" if query else reverse("uploads"))
