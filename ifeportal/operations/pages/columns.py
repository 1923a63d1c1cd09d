"""Table of operations: on the activity page, and as a file. Pure; all text is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from operator import itemgetter
from typing import Any, Final

from django.db.models import F
from django.urls import reverse

from ifeportal.access import Role
from ifeportal.formatting import quantity
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation
from ifeportal.operations.serialization import operation_state
from ifeportal.tables.cells import age, bar, figure, held, labelled
from ifeportal.tables.columns import Column, Table, fields


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """An operation on the page. `may_act`: the user has the role that cancels and retries it."""

    operation: Operation
    state: Mapping[str, Any]
    may_act: bool

    @classmethod
    def of(cls, operation: Operation, roles: Mapping[int, str] | None) -> ActivityRow:
        """`roles`: the user's role by id of the airline; None: every role everywhere."""
        kind = registered_kinds().get(operation.kind)
        may_act = kind is not None and _has_role(roles, operation.airline_id, kind.role)
        return cls(operation, operation_state(operation), may_act)


def _has_role(roles: Mapping[int, str] | None, airline: int, role: Role) -> bool:
    if roles is None:
        return True
    return airline in roles and Role.values.index(roles[airline]) >= Role.values.index(role)


def kind_label(name: str) -> str:
    kind = registered_kinds().get(name)
    return kind.label if kind else name


def _title(row: ActivityRow, context: Any) -> str:
    """Render the title, a link if the operation has a page; below it its kind, its airline and the error."""
    title, page = escape(row.operation.title), row.state["page"]
    name = f'<a href="{escape(page)}">{title}</a>' if page else title
    about = f"{kind_label(row.operation.kind)} · {row.operation.airline}"
    return f'{name}<div class="muted small about">{escape(about)}</div>{_error(row)}'


def _error(row: ActivityRow) -> str:
    state = row.state
    hidden = "" if state["error"] or state["error_code"] else " hidden"
    return (
        f'<div class="fault" data-show="error error_code"{hidden}>{_text("error_code", state, "code")} '
        f"{_text('error', state, 'text')} {_text('advice', state, 'advice')}</div>"
    )


def _text(field: str, state: Mapping[str, Any], css: str) -> str:
    return f'<span class="{css}" data-field="{field}">{escape(state[field])}</span>'


def _status(row: ActivityRow, context: Any) -> str:
    """Render the status word, the stage, and what the operation waits for."""
    word = escape(row.state["status"])
    waiting = row.state["waiting_for"]
    return (
        f'<span class="state" data-field="status" data-as="state" data-state="{word}">{word}</span> '
        f'<span class="stage muted" data-field="stage">{escape(row.state["stage"])}</span>{_position(row)}'
        f'<div class="small waits" data-show="waiting_for"{"" if waiting else " hidden"}>'
        f"{_text('waiting_for', row.state, 'text')}</div>"
    )


def _position(row: ActivityRow) -> str:
    position = row.state["position"]
    hidden = "" if position else " hidden"
    text = "" if position is None else f"{position:,}"
    return (
        f'<div class="small muted" data-show="position"{hidden}>Position in the queue: '
        f'<span data-field="position">{text}</span></div>'
    )


def _progress(row: ActivityRow, context: Any) -> str:
    """Render the bar and the bytes; work that is not counted in bytes, such as a scan, has none to show."""
    state = row.state
    label = f"Progress of {row.operation.title}"
    hidden = "" if state["bytes_done"] or state["bytes_total"] else " hidden"
    return (
        f'<div class="gauge">{bar(state["percent"], label)}{figure(state["percent"], "percent", "percent")}</div>'
        f'<div class="small" data-show="bytes_done bytes_total"{hidden}>'
        f"{held(state['bytes_done'], state['bytes_total'])}</div>"
    )


def _rate(row: ActivityRow, context: Any) -> str:
    return labelled("Rate", figure(row.state["rate_bps"], "rate_bps", "rate"))


def _left(row: ActivityRow, context: Any) -> str:
    return labelled("Left", figure(row.state["eta_seconds"], "eta_seconds", "duration"))


def _requested(row: ActivityRow, context: Any) -> str:
    """Render when it was requested and by whom, and when it ended."""
    operation = row.operation
    user = escape(row.state["user"] or "the portal")
    hidden = "" if operation.finished_at else " hidden"
    end = _end(operation.finished_at, context["now"])
    return labelled(
        "Requested",
        f'{age(operation.created_at, context["now"], "created_at")} <span class="muted">by {user}</span>'
        f'<div class="small muted" data-show="finished_at"{hidden}>ended {end}</div>',
    )


def _end(at: datetime | None, now: datetime) -> str:
    return age(at, now, "finished_at") if at else '<time data-as="age" data-field="finished_at"></time>'


def _actions(row: ActivityRow, context: Any) -> str:
    """Render the forms. They work without JavaScript; cancelling is confirmed in place."""
    if not row.may_act:
        return ""
    forms = [_retry(row, context)]
    if row.operation.is_open:
        forms.append(_cancel(row, context))
    return "".join(forms)


def _retry(row: ActivityRow, context: Any) -> str:
    hidden = "" if row.state["can_retry"] else " hidden"
    return (
        f'<form method="post" action="{reverse("operation-retry", args=[row.operation.uuid])}" data-in-place '
        f'data-show="can_retry"{hidden}>{_hidden_fields(context)}'
        f'<button class="button" type="submit">Retry{_of(row)}</button></form>'
    )


def _cancel(row: ActivityRow, context: Any) -> str:
    hidden = "" if row.state["can_cancel"] else " hidden"
    return (
        f'<details class="menu" id="cancel-{row.operation.pk}" data-show="can_cancel"{hidden}>'
        f'<summary class="button">Cancel{_of(row)}</summary>'
        f'<form method="post" action="{reverse("operation-cancel", args=[row.operation.uuid])}" data-in-place>'
        f"{_hidden_fields(context)}<p>Cancel this operation? What it has done so far is removed.</p>"
        f'<button class="button main" type="submit">Cancel the operation</button></form></details>'
    )


def _of(row: ActivityRow) -> str:
    return f'<span class="sr"> {escape(row.operation.title)}</span>'


def _hidden_fields(context: Any) -> str:
    token, query = context["csrf_token"], escape(context["query"])
    return (
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{token}">'
        f'<input type="hidden" name="query" value="{query}">'
    )


def _attributes(row: ActivityRow) -> Mapping[str, object]:
    return {"data-key": f"operation:{row.operation.pk}", "data-state": row.operation.state}


OPERATIONS: Final = Table(
    "operations",
    (
        Column("id", "ID", itemgetter("id")),
        Column(
            "title", "Title", itemgetter("title"), label="Operation", css="c-name name", header_css="",
            sort=F("title"), search="title__icontains", render=_title,
        ),
        *fields("kind", "airline"),
        Column(
            "status", "Status", itemgetter("status"), word="state", css="c-state", header_css="", sort=F("state"),
            render=_status,
        ),
        *fields("state", "stage", "bytes_done"),
        Column(
            "bytes_total", "Bytes total", itemgetter("bytes_total"), word="size", label="Progress",
            css="c-bar bar-col", header_css="", sort=F("bytes_total"), render=_progress,
        ),
        *fields("percent"),
        Column(
            "rate_bps", "Bytes per second", itemgetter("rate_bps"), word="rate", label="Rate", css="num c-speed",
            sort=F("rate_bps"), render=_rate,
        ),
        Column("eta_seconds", "Seconds left", itemgetter("eta_seconds"), label="Left", css="num c-left", render=_left),
        Column("user", "User", itemgetter("user"), search="user__username__icontains"),
        Column(
            "created_at", "Created at", itemgetter("created_at"), word="created", label="Requested", css="c-when",
            header_css="", sort=F("created_at"), render=_requested,
        ),
        *fields("started_at", "finished_at", "expires_at", "as_of", "waiting_for", "error_code"),
        Column("error", "Error", itemgetter("error"), search="error__icontains"),
        *fields("advice"),
        Column("actions", "Actions", css="c-actions", header_css="", render=_actions),
    ),
    order="-created",
    serialize=operation_state,
    row_attributes=_attributes,
)  # fmt: skip


def open_text(number: int) -> str:
    """Return the sentence below the heading."""
    return f"{quantity(number, 'operation')} not finished." if number else "No operation is under way."
