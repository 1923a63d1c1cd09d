"""Base classes of every model admin: permissions, scoping to airlines, an audit entry for each write.

Staff use what Django's permissions allow. A manager of an airline who is not staff sees only subclasses of
`ManagerAdmin`, with rows of the airlines they manage. A row of another airline answers 404, like one that does not
exist.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin.filters import FieldListFilter, RelatedFieldListFilter, SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest
from django.db import transaction
from django.db.models import Field, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify

from ifeportal import audit
from ifeportal.access import Role, ScopedQuerySet
from ifeportal.models import Airline

M = TypeVar("M", bound=Model)
Action = Literal["module", "view", "add", "change", "delete"]

# What Django's filters and date hierarchies look up: choices, emptiness, spans of time.
OFFERED_LOOKUPS: Final = ("", "exact", "in", "isnull", "isempty", "gte", "lt", "year", "month", "day")

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
else:

    class _ModelAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, _: object) -> type:
            return cls


def scoped_rows(model: type[Model]) -> ScopedQuerySet[Model] | None:
    """All rows of a model whose rows belong to airlines; None for another model."""
    rows = model._default_manager.all()
    return rows if isinstance(rows, ScopedQuerySet) else None


def airline_of(row: Model) -> Airline | None:
    """The airline a row belongs to, if it belongs to one."""
    rows = scoped_rows(type(row))
    if rows is None:
        return None
    found: Any = row
    for step in rows.airline_path.split("__") if rows.airline_path else ():
        found = getattr(found, step, None)
    return found if isinstance(found, Airline) else None


def page_link(row: Any) -> SafeString:
    """A link to the row's page in the portal."""
    return format_html('<a href="{}">open</a>', row.get_absolute_url())


class ChangeMessage(list[dict[str, dict[str, list[str]]]]):
    """Django's words for what a form has changed, and what it was and is, of the row and of those below it."""

    changes: audit.Changes
    inline_changes: list[tuple[str, Model, audit.Changes]]


class AuditedAdmin(_ModelAdmin[M]):
    """Every addition, change, deletion and action leaves an entry in the audit log, in the transaction of the write."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, dict[str, list[str]]]]:
        """Django's words, with the values."""
        told = ChangeMessage(super().construct_change_message(request, form, formsets, add))
        told.changes = audit.changes_of(form, added=add)
        told.inline_changes = [row for formset in formsets or () for row in _inline_changes(formset)]
        return told

    def log_addition(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        """In Django's history and in the audit log."""
        self._record(request, "added", obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: M, message: Any) -> LogEntry:
        """The same; an action says what it did as a text."""
        self._record(request, slugify(message) if isinstance(message, str) else "changed", obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[M]) -> Any:
        """The same, for each row."""
        for row in queryset:
            self._record(request, "deleted", row, None)
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[M], *args: Any) -> HttpResponse | None:
        """An action and its entries together. Raises BadRequest for a choice that can be no row."""
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.clean(chosen, None)
            except forms.ValidationError as error:
                raise BadRequest("What was chosen is no row.") from error
        with transaction.atomic():
            return super().response_action(request, queryset, *args)

    @staticmethod
    def _record(request: HttpRequest, word: str, row: Model, message: Any) -> None:
        changes, below = (message.changes, message.inline_changes) if isinstance(message, ChangeMessage) else ({}, [])
        actor = audit.Actor.of(request)
        for what, each, its in [(word, row, changes), *below]:
            audit.record(actor, f"{each._meta.model_name}.{what}", str(each), airline=airline_of(each), changes=its)


def _inline_changes(formset: Any) -> list[tuple[str, Model, audit.Changes]]:
    """The rows an inline has written: what happened to each."""
    added = {id(row) for row in formset.new_objects}
    deleted: list[tuple[str, Model, audit.Changes]] = [("deleted", row, {}) for row in formset.deleted_objects]
    gone = {id(form) for form in formset.deleted_forms}
    return deleted + [
        ("added" if id(form.instance) in added else "changed", form.instance, audit.changes_of(form))
        for form in formset.forms
        if form.has_changed() and id(form) not in gone
    ]


class StaffAdmin(AuditedAdmin[M]):
    """For staff, by Django's permissions; others have nothing to do here. Choices hold what the user may manage."""

    view_on_site = False
    offered_actions: Collection[Action] = ("module", "view", "add", "change", "delete")
    linked_by: Sequence[str] = ()  # relations that pages of ours narrow the list by, without a filter beside it

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

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M:
        """The row. Raises Http404; Django itself would go to another page and say there that there is none."""
        row = super().get_object(request, object_id, from_field)
        if row is None:
            raise Http404
        return row

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Return whether the list may be narrowed by this parameter of its address: only by what it offers.

        Django allows every lookup on a field of the row, which lets a user who may only view the list guess a value
        that is not shown, sign by sign, and lets a pattern keep the database busy for hours.
        """
        return lookup in self._offered_lookups(request) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def _offered_lookups(self, request: HttpRequest | None) -> set[str]:
        """Return every parameter that the filters, the date hierarchy and links of ours put into an address."""
        filters = self.get_list_filter(request) if request is not None else self.list_filter
        found = {f"{name}{suffix}" for name in ("pk", self.opts.pk.name) for suffix in ("", "__exact", "__in")}
        for entry in (*filters, *self.linked_by, *filter(None, [self.date_hierarchy])):
            if isinstance(entry, type) and issubclass(entry, SimpleListFilter):
                found.add(str(entry.parameter_name))
            elif not callable(entry):
                found |= self._lookups_of(entry if isinstance(entry, str) else entry[0])
        return found

    def _lookups_of(self, path: str) -> set[str]:
        """Return the lookups of a filter on this field; a relation is looked up by the key of the other row."""
        field = get_fields_from_path(self.model, path)[-1]
        target = getattr(field, "target_field", None)
        stems = [path] if target is None else [path, f"{path}__{target.name}"]
        return {LOOKUP_SEP.join(filter(None, (stem, word))) for stem in stems for word in OFFERED_LOOKUPS}

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list asked for. Raises IncorrectLookupParameters also for a year that no calendar has."""
        try:
            return super().get_changelist_instance(request)
        except OverflowError as error:
            raise IncorrectLookupParameters(error) from error

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> forms.ModelChoiceField[Any] | None:
        """Only what the user may manage can be chosen."""
        rows = scoped_rows(db_field.remote_field.model)
        if rows is not None:
            kwargs.setdefault("queryset", rows.with_role(request.user, Role.MANAGER))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class AirlineScopedAdmin(StaffAdmin[M]):
    """Rows of the airlines the user may see; a column that leads to their page in the portal."""

    list_per_page = 100
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> ScopedQuerySet[M]:
        """The rows the user may see."""
        rows = super().get_queryset(request)
        assert isinstance(rows, ScopedQuerySet)
        return rows.visible_to(request.user)

    @admin.display(description="page")
    def page(self, row: M) -> SafeString:
        """A link to the row's page in the portal."""
        return page_link(row)


class ManagerAdmin(AirlineScopedAdmin[M]):
    """Rows that the managers of an airline work on, staff or not; a subclass narrows what may be done."""

    def get_queryset(self, request: HttpRequest) -> ScopedQuerySet[M]:
        """The rows of the airlines the user manages."""
        return super().get_queryset(request).with_role(request.user, Role.MANAGER)

    def _allowed(self, action: Action, request: HttpRequest, row: Model | None = None) -> bool:
        if request.user.is_staff:
            return super()._allowed(action, request, row)
        return action in self.offered_actions and self._manages(request, row)

    @staticmethod
    def _manages(request: HttpRequest, row: Model | None = None) -> bool:
        """Whether the user is a manager of the row's airline; without a row, of any."""
        airlines = Airline.objects.with_role(request.user, Role.MANAGER)
        airline = airline_of(row) if row is not None else None
        return airlines.exists() if row is None else airline is not None and airlines.filter(pk=airline.pk).exists()


class ReadOnlyAdmin(StaffAdmin[M]):
    """Rows to look at: none can be added, changed or deleted by hand."""

    offered_actions = ("module", "view")


class DeleteOnlyAdmin(StaffAdmin[M]):
    """Rows that the application writes; here they can only be deleted."""

    offered_actions = ("module", "view", "delete")


class ReadOnlyScopedAdmin(AirlineScopedAdmin[M], ReadOnlyAdmin[M]):
    """What the buckets say."""


class ScopedFieldFilter(RelatedFieldListFilter):
    """A filter by airline, campaign or the like: it offers what the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Any:
        """The choices, as Django orders them."""
        rows = scoped_rows(field.remote_field.model)
        assert rows is not None
        order = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(
            include_blank=False, ordering=order, limit_choices_to={"pk__in": rows.visible_to(request.user)}
        )


def _is_scoped_field(field: Field[Any, Any]) -> bool:
    return field.remote_field is not None and scoped_rows(field.remote_field.model) is not None


FieldListFilter.register(_is_scoped_field, ScopedFieldFilter, take_priority=True)
