"""Columns of lists in the admin: times (UTC) with their age, booleans as words, sizes, counts, long text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, DateTimeField, Field, Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from ifeportal import formatting
from ifeportal.tables import cells

Column = Callable[[Any], str]


def instant(value: Any) -> SafeString:
    return mark_safe(cells.dated_age(value, timezone.now()))  # noqa: S308  # it has no text of others


def state(word: str, shape: str = "") -> SafeString:
    """Return a state word with its shape: `shape` is a `data-state` of the style sheet, by default the word."""
    return format_html('<span class="state" data-state="{}">{}</span>', shape or word, word)


def size(name: str, description: str) -> Column:
    """Return a column of bytes, as `734 MB`."""
    return _column(name, description, formatting.size)


def number(name: str, description: str) -> Column:
    """Return a column of a count, as `12,345`."""
    return _column(name, description, lambda value: formatting.NONE if value is None else formatting.count(value))


def long_text(name: str, description: str) -> Column:
    """Return a column of text that may be long."""
    return _column(name, description, lambda value: format_html('<span class="long">{}</span>', str(value)[:300]))


@cache  # Django compares the columns of two calls
def renamed(field: Field[Any, Any], description: str) -> Column:
    """Return the column of a field under another name, in the form that its type has."""
    shown = column_of(field)
    if isinstance(field, DateTimeField):
        description = f"{description} (UTC)"
    if shown is not None:
        return _column(field.name, description, instant if isinstance(field, DateTimeField) else formatting.yes_no)
    return _column(field.name, description, lambda value: "" if value is None else str(value))


@cache
def column_of(field: Field[Any, Any]) -> Column | None:
    """Return the column of a field that Django would show as an icon or as a time without age; else None."""
    if isinstance(field, DateTimeField):
        return _column(field.name, f"{field.verbose_name} (UTC)", instant)
    if isinstance(field, BooleanField):
        # Words, because Django's red cross for False would look like an error.
        return _column(field.name, str(field.verbose_name), formatting.yes_no)
    return None


def _column(name: str, description: str, show: Callable[[Any], str]) -> Column:
    @admin.display(description=description, ordering=name)
    def column(row: Model) -> str:
        return show(getattr(row, name))

    column.__name__ = name
    return column
