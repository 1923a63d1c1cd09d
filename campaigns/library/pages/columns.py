"""Tables of the library and of the choice of items for a campaign. Pure; all text is escaped here."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from operator import itemgetter
from typing import Any, Final

from django.db.models import F
from django.urls import reverse

from campaigns.library.models import CampaignUse, LibraryItem
from campaigns.library.requests import Presence
from campaigns.library.serialization import library_state
from ifeportal import formatting
from ifeportal.tables.cells import age, figure_text, labelled
from ifeportal.tables.columns import Column, Table, fields

SHA256_SHOWN: Final = 12  # digits in the list
USES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """An item on a page. `may_act`: the user manages the airline. `presence`: in the campaign to choose for."""

    item: LibraryItem
    may_act: bool = False
    presence: Presence = Presence.ABSENT


def _name(row: LibraryRow, context: Any) -> str:
    item = row.item
    return (
        f'<a href="{escape(item.get_absolute_url())}">{escape(item.name)}</a>'
        f'<div class="muted small about">{escape(item.title)}</div>'
    )


def _airline(row: LibraryRow, context: Any) -> str:
    return labelled("Airline", escape(str(row.item.airline)))


def _kind(row: LibraryRow, context: Any) -> str:
    return labelled("Kind", escape(row.item.kind) or '<span class="muted">none</span>')


def _size(row: LibraryRow, context: Any) -> str:
    return labelled("Size", formatting.size(row.item.size))


def _sha256(row: LibraryRow, context: Any) -> str:
    sum = escape(row.item.sha256)
    return labelled("SHA-256", f'<code title="{sum}">{sum[:SHA256_SHOWN]}</code>')


def _added(row: LibraryRow, context: Any) -> str:
    by = escape(row.item.added_by.get_username() if row.item.added_by else "a deleted user")
    return labelled("Added", f'{age(row.item.added_at, context["now"])} <span class="muted">by {by}</span>')


def use_html(airline: str, use: CampaignUse) -> str:
    """Return the campaign, a link if it is published, with what it is."""
    name = escape(use.campaign)
    if not use.published:
        return f'{name} <span class="muted">draft</span>'
    return f'<a href="{escape(reverse("campaign", args=[airline, use.campaign]))}">{name}</a>'


def _uses(row: LibraryRow, context: Any) -> str:
    uses = row.item.uses
    shown = ", ".join(use_html(row.item.airline.name, use) for use in uses[:USES_SHOWN])
    more = f" and {len(uses) - USES_SHOWN:,} more" if len(uses) > USES_SHOWN else ""
    return labelled("Used in", f"{shown}{more}" if uses else '<span class="muted">no campaign</span>')


def _actions(row: LibraryRow, context: Any) -> str:
    """Render the form that changes title and kind, and the link to the page that asks before it deletes."""
    if not row.may_act:
        return ""
    item, of = row.item, f'<span class="sr"> {escape(row.item.name)}</span>'
    return (
        f'<details class="menu" id="edit-{item.pk}"><summary class="button">Edit{of}</summary>'
        f'<form method="post" action="{reverse("library-item", args=[item.pk])}" class="library-edit">'
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{context["csrf_token"]}">'
        f'<input type="hidden" name="query" value="{escape(context["query"])}">'
        f'<label>Title<input type="text" name="title" maxlength="500" value="{escape(item.title)}"></label>'
        f'<label>Kind<input type="text" name="kind" maxlength="100" value="{escape(item.kind)}" list="kinds"></label>'
        f'<button class="button main" type="submit">Save</button></form></details> '
        f'<a class="button" href="{reverse("library-delete", args=[item.pk])}">Delete{of}</a>'
    )


def _joined_uses(state: Any) -> str:
    return ", ".join(use["campaign"] for use in state["used_in"])


_SIZE: Final = Column(
    "size", "Size", itemgetter("size"), css="num c-size", sort=F("size"), render=_size
)  # fmt: skip
_KIND: Final = Column(
    "kind", "Kind", itemgetter("kind"), css="c-kind", header_css="", sort=F("kind"), search="kind__icontains",
    render=_kind,
)  # fmt: skip
_ADDED: Final = Column(
    "added_at", "Added at", itemgetter("added_at"), word="added", label="Added", css="c-when", header_css="",
    sort=F("added_at"), render=_added,
)  # fmt: skip
_TITLE: Final = Column("title", "Title", itemgetter("title"), search="title__icontains")

LIBRARY: Final = Table(
    "library",
    (
        Column("id", "ID", itemgetter("id")),
        Column(
            "name", "Name", itemgetter("name"), label="Item", css="c-name name", header_css="", sort=F("name"),
            search="name__icontains", render=_name,
        ),
        Column(
            "airline", "Airline", itemgetter("airline"), css="c-airline", header_css="", sort=F("airline__name"),
            render=_airline,
        ),
        _TITLE,
        _KIND,
        _SIZE,
        Column(
            "sha256", "SHA-256", itemgetter("sha256"), css="c-sum", header_css="", search="sha256__istartswith",
            render=_sha256,
        ),
        *fields("crc32"),
        _ADDED,
        *fields("added_by"),
        Column("used_in", "Used in", _joined_uses, css="c-uses", header_css="", render=_uses),
        Column("actions", "Actions", css="c-actions", header_css="", render=_actions),
    ),
    order="-added",
    serialize=library_state,
)  # fmt: skip


PRESENT: Final = {
    Presence.SAME: "In this campaign",
    Presence.OTHER: "Another file of this name",
    Presence.COPYING: "Being added",
}


def _picked(row: LibraryRow, context: Any) -> str:
    """Render the box that selects the item, and its name."""
    item = row.item
    disabled = " disabled" if row.presence is not Presence.ABSENT else ""
    checked = " checked" if str(item.pk) in context["selected"] and not disabled else ""
    return (
        f'<label class="pick"><input type="checkbox" name="item" value="{item.pk}" data-size="{item.size}"'
        f"{checked}{disabled}> <span>{escape(item.name)}"
        f'<span class="muted small about">{escape(item.title)}</span></span></label>'
    )


def _presence(row: LibraryRow, context: Any) -> str:
    text = PRESENT.get(row.presence, "Not yet")
    return labelled("In the campaign", figure_text(text, "presence", "text") if text else "")


def _pick_attributes(row: LibraryRow) -> dict[str, object]:
    return {"data-presence": row.presence}


PICKER: Final = Table(
    "library items",
    (
        Column(
            "name", "Item", css="c-name name", header_css="", sort=F("name"), search="name__icontains", render=_picked
        ),
        _TITLE,
        _KIND,
        _SIZE,
        _ADDED,
        Column("presence", "In the campaign", css="c-uses", header_css="", render=_presence),
    ),
    order="-added",
    row_attributes=_pick_attributes,
)  # fmt: skip
