"""Table of uploads: on the page, and as a file. Its rows are operations. Pure; all text is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from operator import itemgetter
from typing import Any, Final

from django.db.models import F
from django.urls import reverse

from campaigns.uploads.models import UploadStatus
from campaigns.uploads.serialization import upload_state
from ifeportal.operations.models import Operation
from ifeportal.operations.pages.columns import OPERATIONS, ActivityRow
from ifeportal.tables.cells import figure, labelled
from ifeportal.tables.columns import Column, Table, fields

_SHARED: Final = {column.key: column for column in OPERATIONS.columns}


def upload_row(operation: Operation, *, may_act: bool) -> ActivityRow:
    """Return the row of the page. `may_act`: the user manages the airline."""
    return ActivityRow(operation, _state(operation), may_act)


def _state(operation: Operation) -> dict[str, Any]:
    return upload_state(operation.upload)


def _name(row: ActivityRow, context: Any) -> str:
    """Render the file name, where it goes, and the error."""
    state = row.state
    source = f' <span class="small">from {escape(state["source_url"])}</span>' if state["source_url"] else ""
    return (
        f'<span class="file">{escape(state["name"])}</span>'
        f'<div class="muted small about">{_place(state)}{source}</div>{_error(state)}'
    )


def _place(state: Mapping[str, Any]) -> str:
    airline, campaign = str(state["airline"]), str(state["campaign"])
    return f"{escape(airline)} · {escape(campaign)}" if campaign else f"{escape(airline)} · library"


def _error(state: Mapping[str, Any]) -> str:
    hidden = "" if state["error"] or state["error_code"] else " hidden"
    texts = " ".join(
        f'<span class="{css}" data-field="{field}">{escape(state[field])}</span>'
        for field, css in (("error_code", "code"), ("error", "text"), ("advice", "advice"))
    )
    return f'<div class="fault" data-show="error error_code"{hidden}>{texts}</div>'


def _size(row: ActivityRow, context: Any) -> str:
    return labelled("Size", figure(row.state["meta_info"]["size"], "size", "size"))


def _actions(row: ActivityRow, context: Any) -> str:
    """Render the forms, which work without JavaScript. Deleting is confirmed in place."""
    if not row.may_act:
        return ""
    retry = _form(row, context, "upload-retry", "Retry", main=False) if row.state["can_retry"] else ""
    return retry + (_delete(row, context) if row.state["status"] != UploadStatus.DELETED else "")


def _delete(row: ActivityRow, context: Any) -> str:
    is_open = row.operation.is_open
    verb = "Cancel" if is_open else "Delete"
    question = "Cancel this upload? What was sent is deleted." if is_open else "Delete this upload and its object?"
    form = _form(row, context, "upload-delete", f"{verb} the upload", main=True, before=f"<p>{question}</p>")
    return (
        f'<details class="menu" id="delete-{row.operation.pk}"><summary class="button">{verb}'
        f'<span class="sr"> {escape(row.state["name"])}</span></summary>{form}</details>'
    )


def _form(row: ActivityRow, context: Any, name: str, label: str, *, main: bool, before: str = "") -> str:
    css = "button main" if main else "button"
    named = "" if main else f'<span class="sr"> {escape(row.state["name"])}</span>'
    return (
        f'<form method="post" action="{reverse(name, args=[row.operation.uuid])}">{before}'
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{context["csrf_token"]}">'
        f'<input type="hidden" name="query" value="{escape(context["query"])}">'
        f'<button class="{css}" type="submit">{label}{named}</button></form>'
    )


def _attributes(row: ActivityRow) -> Mapping[str, object]:
    return {"data-key": f"operation:{row.operation.pk}", "data-state": row.operation.state}


def _meta(key: str) -> Any:
    return lambda state: state["meta_info"][key]


UPLOADS: Final = Table(
    "uploads",
    (
        Column("id", "ID", itemgetter("id")),
        Column(
            "name", "File", itemgetter("name"), css="c-name name", header_css="", sort=F("upload__name"),
            search="upload__name__icontains", render=_name,
        ),
        *fields("item", "airline"),
        Column("campaign", "Campaign", itemgetter("campaign"), search="upload__campaign__icontains"),
        *fields("title", "content_kind"),
        _SHARED["status"],
        *fields("state", "stage"),
        Column("size", "Size", _meta("size"), css="num c-size", sort=F("upload__size"), render=_size),
        *fields("bytes_done"),
        _SHARED["bytes_total"],
        *fields("percent", "received_bytes"),
        _SHARED["rate_bps"],
        _SHARED["eta_seconds"],
        _SHARED["user"],
        _SHARED["created_at"],
        *fields("finished_at", "expires_at", "waiting_for", "error_code", "error", "advice"),
        Column("sha256", "SHA-256", _meta("sha256")),
        Column("object_sha256", "SHA-256 of the object", itemgetter("object_sha256")),
        Column("actions", "Actions", css="c-actions", header_css="", render=_actions),
    ),
    order="-created",
    serialize=_state,
    row_attributes=_attributes,
)  # fmt: skip
