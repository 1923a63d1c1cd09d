"""Base classes of every model admin: permissions, scoping to airlines, an audit entry for each write.

Staff have Django's permissions. A manager of an airline who is not staff sees only subclasses of `ManagerAdmin`, with
rows of the airlines they manage. A row of another airline is a 404, like a row that does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin.filters import FieldListFilter, RelatedFieldListFilter, SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import BaseModelAdmin, IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import BadRequest, FieldDoesNotExist
from django.db import transaction
from django.db.models import DateField, DateTimeField, Field, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify

from ifeportal import audit
from ifeportal.access import Role, ScopedQuerySet
from ifeportal.admin.columns import column_of, renamed
from ifeportal.models import Airline
from ifeportal.tables.search import check_search

M = TypeVar("M", bound=Model)
Action = Literal["module", "view", "add", "change", "delete"]

# The lookups of Django's filters and date hierarchies.
OFFERED_LOOKUPS: Final = ("", "exact", "in", "isnull", "isempty", "gte", "lt", "year", "month", "day")
_MANAGES: Final = "manages_an_airline"  # attribute of a request
NO_ACTION: Final = [("", "Choose an action")]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
    _BaseModelAdmin = BaseModelAdmin
else:

    class _BaseModelAdmin(BaseModelAdmin):
        def __class_getitem__(cls, _: object) -> type:
            return cls

    class _ModelAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, _: object) -> type:
            return cls


def scoped_rows(model: type[Model]) -> ScopedQuerySet[Model] | None:
    """Return all rows of a model whose rows belong to airlines; None for another model."""
    rows = model._default_manager.all()
    return rows if isinstance(rows, ScopedQuerySet) else None


def airline_of(row: Model) -> Airline | None:
    """Return the airline that a row belongs to; None if it belongs to none."""
    rows = scoped_rows(type(row))
    if rows is None:
        return None
    related: Any = row
    for step in rows.airline_path.split("__") if rows.airline_path else ():
        related = getattr(related, step, None)
    return related if isinstance(related, Airline) else None


def manages_an_airline(request: HttpRequest) -> bool:
    """Return whether the user manages an airline. Asked once for a request: every list of a page asks it."""
    if not hasattr(request, _MANAGES):
        setattr(request, _MANAGES, Airline.objects.with_role(request.user, Role.MANAGER).exists())
    return bool(getattr(request, _MANAGES))


def page_link(row: Any) -> SafeString:
    """Return a link to the row's page in the portal."""
    return format_html('<a href="{}">open</a>', row.get_absolute_url())


class ChangeMessage(list[dict[str, dict[str, list[str]]]]):
    """Django's change message, with the values before and after, of the row and of its inline rows."""

    changes: audit.Changes
    inline_changes: list[tuple[str, Model, audit.Changes]]


class AuditedAdmin(_ModelAdmin[M]):
    """Records every addition, change, deletion and action in the audit log, in the transaction of the write."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, dict[str, list[str]]]]:
        message = ChangeMessage(super().construct_change_message(request, form, formsets, add))
        message.changes = audit.changes_of(form, added=add)
        message.inline_changes = [row for formset in formsets or () for row in _inline_changes(formset)]
        return message

    def log_addition(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        self._record(request, "added", obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        """Record a change, or an action, whose message is a text."""
        self._record(request, slugify(message) if isinstance(message, str) else "changed", obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[M]) -> Any:
        for row in queryset:
            self._record(request, "deleted", row, None)
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[M], *args: Any) -> HttpResponse | None:
        """Run an action and record it in one transaction. Raises BadRequest for a selection that is not a row id."""
        for selected in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.clean(selected, None)
            except forms.ValidationError as error:
                raise BadRequest("A selected row has an invalid id.") from error
        with transaction.atomic():
            return super().response_action(request, queryset, *args)

    @staticmethod
    def _record(request: HttpRequest, action: str, row: Model, message: Any) -> None:
        entries: list[tuple[str, Model, audit.Changes]] = [(action, row, {})]
        if isinstance(message, ChangeMessage):
            entries = [(action, row, message.changes), *message.inline_changes]
        actor = audit.Actor.of(request)
        for word, each, changes in entries:
            audit.record(actor, f"{each._meta.model_name}.{word}", str(each), airline=airline_of(each), changes=changes)


def _inline_changes(formset: Any) -> list[tuple[str, Model, audit.Changes]]:
    """Return (action, row, changes) for every row that an inline formset wrote or deleted."""
    added = {id(row) for row in formset.new_objects}
    deleted: list[tuple[str, Model, audit.Changes]] = [("deleted", row, {}) for row in formset.deleted_objects]
    deleted_forms = {id(form) for form in formset.deleted_forms}
    return deleted + [
        ("added" if id(form.instance) in added else "changed", form.instance, audit.changes_of(form))
        for form in formset.forms
        if form.has_changed() and id(form) not in deleted_forms
    ]


class PickedDateTime(forms.SplitDateTimeWidget):
    """Date and time (UTC), chosen with the pickers of the browser."""

    def __init__(self) -> None:
        super().__init__(
            date_format="%Y-%m-%d",
            time_format="%H:%M:%S",
            date_attrs={"type": "date", "aria-label": "date"},
            time_attrs={"type": "time", "step": "1", "aria-label": "time, UTC"},
        )


class PlainWidgets(_BaseModelAdmin[M]):
    """Form fields with the date and time pickers of the browser, and without windows for related rows."""

    formfield_overrides: ClassVar[dict[Any, Any]] = {
        DateField: {"widget": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")},
        DateTimeField: {"widget": PickedDateTime},
    }
    linked_by: Sequence[str] = ()  # relations that links of our pages filter by, without a filter in the sidebar

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field without the buttons that open related rows in a window of their own."""
        formfield: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if formfield is not None and isinstance(formfield.widget, RelatedFieldWidgetWrapper):
            formfield.widget = formfield.widget.widget
        return formfield


class StaffAdmin(PlainWidgets[M], AuditedAdmin[M]):
    """Admin for staff only, by Django's permissions. Choices of related rows contain those that the user may manage."""

    view_on_site = False
    offered_actions: Collection[Action] = ("module", "view", "add", "change", "delete")
    task: str = ""  # the task of `site.TASKS` that these rows belong to; without one, the System page lists them
    is_main_list: bool = False  # whether the navigation links to this list of the task
    group: str = ""  # on the System page, a key of `site.GROUPS`; empty for a group of the app
    about: str = ""  # what the rows are, one or two sentences
    names: ClassVar[Mapping[str, str]] = MappingProxyType({})  # of fields whose own name says little
    empty: str = ""  # what an empty list means, and how rows come into being

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._allowed("module", request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed("view", request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._allowed("add", request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed("change", request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed("delete", request, obj)

    def _allowed(self, action: Action, request: HttpRequest, row: Model | None = None) -> bool:
        """Return whether the user may do `action` to the row; without a row, to some row or to the list."""
        if action not in self.offered_actions or not request.user.is_staff:
            return False
        permitted = getattr(super(), f"has_{action}_permission")
        return bool(permitted(request) if action in ("module", "add") else permitted(request, row))

    def get_action_choices(self, request: HttpRequest, default_choices: Any = NO_ACTION) -> list[tuple[str, str]]:
        return super().get_action_choices(request, default_choices)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Show times with their age, and booleans as words, in the columns that name such a field."""
        return [self._column(entry) for entry in super().get_list_display(request)]

    def _column(self, entry: Any) -> Any:
        if not isinstance(entry, str) or entry in self.list_editable or hasattr(self, entry):
            return entry
        try:
            field: Any = self.opts.get_field(entry)
        except FieldDoesNotExist:
            return entry
        return renamed(field, self.names[entry]) if entry in self.names else column_of(field) or entry

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M:
        """Return the row. Raises Http404, where Django would redirect to the index with a message."""
        row = super().get_object(request, object_id, from_field)
        if row is None:
            raise Http404
        return row

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Return whether the list may be filtered by this query parameter: only lookups that the page offers are.

        Django allows every lookup on a field of the row. With those, a user who may only view the list can guess a
        hidden value character by character, and a pattern can keep the database busy for hours.
        """
        return lookup in self._offered_lookups(request) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def _offered_lookups(self, request: HttpRequest | None) -> set[str]:
        """Return every query parameter that the filters, the date hierarchy and our own links use."""
        filters = self.get_list_filter(request) if request is not None else self.list_filter
        lookups = {f"{name}{suffix}" for name in ("pk", self.opts.pk.name) for suffix in ("", "__exact", "__in")}
        for entry in (*filters, *self.linked_by, *filter(None, [self.date_hierarchy])):
            if isinstance(entry, type) and issubclass(entry, SimpleListFilter):
                lookups.add(str(entry.parameter_name))
            elif not callable(entry):
                lookups |= self._lookups_of(entry if isinstance(entry, str) else entry[0])
        return lookups

    def _lookups_of(self, path: str) -> set[str]:
        """Return the lookups of a filter on this field. A relation is looked up by the key of the related row."""
        field = get_fields_from_path(self.model, path)[-1]
        target = getattr(field, "target_field", None)
        stems = [path] if target is None else [path, f"{path}__{target.name}"]
        return {LOOKUP_SEP.join(filter(None, (stem, word))) for stem in stems for word in OFFERED_LOOKUPS}

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Raise IncorrectLookupParameters also for a year out of range, for which Django raises OverflowError."""
        try:
            return super().get_changelist_instance(request)
        except OverflowError as error:
            raise IncorrectLookupParameters(error) from error

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        """Search the list, or the choices of a related row. Raises SearchTooLong."""
        return super().get_search_results(request, queryset, check_search(search_term))

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> forms.ModelChoiceField[Any] | None:
        """Offer only rows that the user may manage."""
        rows = scoped_rows(db_field.remote_field.model)
        if rows is not None:
            kwargs.setdefault("queryset", rows.with_role(request.user, Role.MANAGER))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class AirlineScopedAdmin(StaffAdmin[M]):
    """Rows of the airlines that the user may see, with a column that links to their page in the portal."""

    list_per_page = 100
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> ScopedQuerySet[M]:
        rows = super().get_queryset(request)
        assert isinstance(rows, ScopedQuerySet)
        return rows.visible_to(request.user)

    @admin.display(description="page")
    def page(self, row: M) -> SafeString:
        return page_link(row)


class ManagerAdmin(AirlineScopedAdmin[M]):
    """Rows that managers of an airline may change, besides staff."""

    def get_queryset(self, request: HttpRequest) -> ScopedQuerySet[M]:
        return super().get_queryset(request).with_role(request.user, Role.MANAGER)

    def _allowed(self, action: Action, request: HttpRequest, row: Model | None = None) -> bool:
        if request.user.is_staff:
            return super()._allowed(action, request, row)
        return action in self.offered_actions and self._manages(request, row)

    @staticmethod
    def _manages(request: HttpRequest, row: Model | None = None) -> bool:
        """Return whether the user is a manager of the row's airline; without a row, of any airline."""
        if row is None:
            return manages_an_airline(request)
        airline = airline_of(row)
        airlines = Airline.objects.with_role(request.user, Role.MANAGER)
        return airline is not None and airlines.filter(pk=airline.pk).exists()


class ReadOnlyAdmin(StaffAdmin[M]):
    """Read-only rows."""

    offered_actions = ("module", "view")


class DeleteOnlyAdmin(StaffAdmin[M]):
    """Rows that the application writes; here they can only be deleted."""

    offered_actions = ("module", "view", "delete")


class ReadOnlyScopedAdmin(AirlineScopedAdmin[M], ReadOnlyAdmin[M]):
    """Read-only rows of airlines, filled from the buckets."""

    group = "Observed data"
    empty = "The poller creates these rows when it finds them in the buckets."


class ScopedFieldFilter(RelatedFieldListFilter):
    """Filter by a related row that belongs to an airline: offers the rows that the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Any:
        rows = scoped_rows(field.remote_field.model)
        assert rows is not None
        order = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(
            include_blank=False, ordering=order, limit_choices_to={"pk__in": rows.visible_to(request.user)}
        )


def _is_scoped_field(field: Field[Any, Any]) -> bool:
    return field.remote_field is not None and scoped_rows(field.remote_field.model) is not None


FieldListFilter.register(_is_scoped_field, ScopedFieldFilter, take_priority=True)
