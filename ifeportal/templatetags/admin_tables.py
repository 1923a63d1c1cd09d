"""Template tags of tables and forms in the admin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from django import template
from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, DateTimeField, IntegerField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from ifeportal import formatting
from ifeportal.tables import cells

register = template.Library()


@register.filter
def labelled_cells(cells: Sequence[str], headers: Sequence[Mapping[str, Any]]) -> Iterator[SafeString]:
    """Yield Django's cells (`<td …>`) with a role, and the header's text for screens that show a row as a card."""
    for cell, header in zip_longest(cells, headers, fillvalue=None):
        if cell is None:
            continue
        tag, rest = cell[:3], cell[3:].replace(">-</td>", "></td>")  # "<td" or "<th"; Django writes "-" for no value
        role = "rowheader" if tag == "<th" else "cell"
        label = header["text"] if header is not None and header.get("text") else ""
        label = "" if "<" in str(label) else capfirst(str(label))  # the checkbox that selects all rows
        yield format_html('{} role="{}" data-label="{}"{}', _safe(tag), role, label, _safe(rest))


@register.simple_tag
def admin_label(field: Any) -> SafeString:
    """Return the label of a field of a form, without Django's colon."""
    bound = field.field
    if field.is_readonly:
        names = getattr(field.model_admin, "names", {})
        return format_html('<span class="label">{}</span>', capfirst(names.get(bound["name"], bound["label"])))
    attributes = {"class": "required"} if bound.field.required else {}
    label: SafeString = bound.label_tag(contents=capfirst(bound.label), attrs=attributes, label_suffix="")
    return label


@register.simple_tag
def admin_value(field: Any) -> str:
    """Return the value of a read-only field: times with their age, booleans as words, bytes with a unit."""
    name = field.field["name"]
    try:
        model_field = field.form.instance._meta.get_field(name)
    except FieldDoesNotExist:
        return str(field.contents())
    if hasattr(field.model_admin, name):  # a method of the admin shows it
        return str(field.contents())
    value = getattr(field.form.instance, model_field.attname)
    if isinstance(model_field, DateTimeField):
        return _safe(cells.dated_age(value, timezone.now()))
    if isinstance(model_field, BooleanField):
        return formatting.yes_no(value)
    if isinstance(model_field, IntegerField) and isinstance(value, int):
        return _number(model_field, value)
    return str(field.contents())


def _number(field: IntegerField[Any, Any], value: int) -> str:
    if field.name.endswith("_bps"):
        return formatting.rate(value)
    if field.name == "size" or field.name.startswith("bytes_"):
        return f"{formatting.size(value)} ({formatting.count(value)} bytes)"
    return str(value)


def _safe(html: str) -> SafeString:
    return mark_safe(html)  # noqa: S308  (a part of HTML that Django's `items_for_result` has escaped)
