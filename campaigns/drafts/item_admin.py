"""Admin of draft items: an inline on the page of a small draft, and a paginated list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, Q, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.drafts import requests
from campaigns.drafts.filters import ShowFilter
from campaigns.drafts.forms import ITEM_FIELDS, ItemForm
from campaigns.models import BUSY_STATES, IS_HASHED, Draft, DraftItem
from ifeportal import formatting
from ifeportal.access import Role
from ifeportal.admin.base import ManagerAdmin
from ifeportal.audit import Actor
from ifeportal.bulk import where_in
from ifeportal.operations.requests import RequestRejected

if TYPE_CHECKING:
    _Inline = admin.TabularInline[DraftItem, Draft]
else:
    _Inline = admin.TabularInline

INCLUDED: Final = ("included", True)
AUDIT_WORDS: Final = {
    INCLUDED: "put-in",
    ("included", False): "left-out",
    ("required", True): "required",
    ("required", False): "not-required",
}
HASH_RANK: Final = Case(  # items to look at first
    When(name_error__gt="", then=0),
    When(size=None, then=1),
    When(Q(hash_pending=True), then=3),
    When(IS_HASHED, then=5),
    When(error_code__gt="", then=2),
    default=4,
)
MESSAGES_LIMIT: Final = 20  # skipped items that get a message each


def draft_page(draft: Draft) -> str:
    """Return the address of a draft's page."""
    return reverse("admin:campaigns_draft_change", args=[draft.pk])


def row_id(text: object) -> int:
    """Parse the id of a row; 0, which no row has, for anything else."""
    return int(str(text)) if str(text).isdecimal() and str(text).isascii() and len(str(text)) < 19 else 0


class ItemColumns:
    """Columns of the inline and of the list."""

    @admin.display(description="hash", ordering=HASH_RANK)
    def state_text(self, item: DraftItem) -> str:
        return item.state_text

    @admin.display(description="size", ordering="size")
    def size_text(self, item: DraftItem) -> str:
        return "" if item.size is None else formatting.size(item.size)

    @admin.display(description="problems", ordering="error_text")
    def errors(self, item: DraftItem) -> str:
        return item.error_text if item.is_fault else item.name_error


class DraftItemInline(_Inline):
    """Items on the page of a draft that has no more than `INLINE_LIMIT`."""

    model = DraftItem
    form = ItemForm
    verbose_name_plural = "Items"
    extra = 0
    ordering = ["position", "name"]
    fields = ITEM_FIELDS

    def get_queryset(self, request: HttpRequest) -> QuerySet[DraftItem]:
        return super().get_queryset(request).select_related("draft__airline")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # the page checked the draft

    def has_change_permission(self, request: HttpRequest, obj: Draft | None = None) -> bool:
        return obj is not None and not obj.busy and may_change(self, request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a scan adds items

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # items are excluded, not deleted


def may_change(model_admin: Any, request: HttpRequest, draft: Draft) -> bool:
    """Return whether the admin of drafts lets the user change this one."""
    allowed: bool = model_admin.admin_site.get_model_admin(Draft).has_change_permission(request, draft)
    return allowed


@admin.register(DraftItem)
class DraftItemAdmin(ItemColumns, ManagerAdmin[DraftItem]):
    """Paginated list of draft items, editable in place."""

    task = "Campaigns"
    about = "Items of drafts. Open the items of one draft from its page."
    empty = "Items appear when the bucket is scanned for a draft."
    list_display = ["name", "state_text", "size_text", *ITEM_FIELDS, "errors", "modified", "draft_link"]
    list_display_links = None
    list_per_page = 50
    list_editable = ITEM_FIELDS
    list_filter = [ShowFilter, "required", "draft__airline"]
    linked_by = ["draft"]
    list_select_related = ["draft__airline"]
    search_fields = ["name", "title", "kind", "error_text", "draft__name"]
    actions = ["include_items", "exclude_items", "make_required", "make_optional", "rehash_items"]
    change_list_template = "admin/campaigns/draftitem/change_list.html"

    @admin.display(description="draft", ordering="draft__name")
    def draft_link(self, item: DraftItem) -> SafeString:
        return format_html('<a href="{}">{}</a>', draft_page(item.draft), item.draft)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # not in the menu: the page of a draft links here

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns[:-1] if "draft__id__exact" in request.GET else columns

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> type[ItemForm]:
        return ItemForm

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a scan adds items

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # items are excluded, not deleted

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> DraftItem:
        """Return an item to view. Raises PermissionDenied for changes, which the list makes; Http404."""
        item = super().get_object(request, object_id, from_field)
        if request.method == "POST":
            raise PermissionDenied("Change items in the list of their draft.")
        return item

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show or save the list, and validate the drafts of changed items."""
        draft_id = row_id(request.GET.get("draft__id__exact"))
        drafts = Draft.objects.select_related("airline").with_role(request.user, Role.MANAGER)
        context = {"draft": drafts.filter(pk=draft_id).first() if draft_id else None, **(extra_context or {})}
        with transaction.atomic():
            response = super().changelist_view(request, context)
            self._revalidate_touched(request)
        return response

    def save_model(self, request: HttpRequest, obj: DraftItem, form: Any, change: bool) -> None:
        # Changed fields only, by a conditional update: a job may have started since the list was shown.
        fields = {name: form.cleaned_data[name] for name in form.changed_data if name in ITEM_FIELDS}
        rows = DraftItem.objects.filter(pk=obj.pk).exclude(draft__state__in=BUSY_STATES)
        if fields and not rows.update(**fields):
            text = f"{obj.name}: skipped, a job is working on its draft."
            self.message_user(request, text, messages.WARNING)
            return
        _touched(request).add(obj.draft_id)

    def _revalidate_touched(self, request: HttpRequest) -> None:
        for draft in Draft.objects.filter(pk__in=_touched(request)).select_related("airline"):
            requests.revalidate(draft, edited=True)

    # Several at once.

    def _set(self, request: HttpRequest, items: QuerySet[DraftItem], field: str, value: bool, done: str) -> None:
        """Set a flag of items, and show how many were changed and which were skipped. `done`: what was done to them."""
        idle = items.exclude(draft__state__in=BUSY_STATES)
        including = (field, value) == INCLUDED
        chosen = idle.filter(name_error="") if including else idle
        already = idle.filter(**{field: value}).count()
        ids = list(chosen.exclude(**{field: value}).order_by().values_list("pk", "draft_id"))
        unfit = [(item, item.name_error) for item in idle.exclude(name_error="")[:MESSAGES_LIMIT] if including]
        busy = items.filter(draft__state__in=BUSY_STATES)[:MESSAGES_LIMIT]
        DraftItem.objects.filter(where_in(DraftItem, ["id"], [[pk] for pk, _ in ids])).update(**{field: value})
        for draft in Draft.objects.filter(pk__in={draft_id for _, draft_id in ids}).select_related("airline"):
            requests.revalidate(draft, edited=True)
            self._record(request, AUDIT_WORDS[field, value], draft, None)
        if ids or already:
            unchanged = f", {already:,} unchanged" if already else ""
            self.message_user(request, f"{len(ids):,} item{pluralize(len(ids))} {done}{unchanged}.", messages.SUCCESS)
        self._report_skipped(request, [*((item, "a job is working on its draft") for item in busy), *unfit])

    def _report_skipped(self, request: HttpRequest, skipped: list[tuple[DraftItem, str]]) -> None:
        for item, why in skipped[:MESSAGES_LIMIT]:
            self.message_user(request, f"{item.name}: skipped, {why}.", messages.WARNING)
        if len(skipped) >= MESSAGES_LIMIT:
            self.message_user(request, "More items may have been skipped.", messages.WARNING)

    @admin.action(description="Include in the campaign", permissions=["change"])
    def include_items(self, request: HttpRequest, items: QuerySet[DraftItem]) -> None:
        self._set(request, items, "included", True, "included")

    @admin.action(description="Exclude from the campaign", permissions=["change"])
    def exclude_items(self, request: HttpRequest, items: QuerySet[DraftItem]) -> None:
        self._set(request, items, "included", False, "excluded")

    @admin.action(description="Mark as required", permissions=["change"])
    def make_required(self, request: HttpRequest, items: QuerySet[DraftItem]) -> None:
        self._set(request, items, "required", True, "marked as required")

    @admin.action(description="Mark as optional", permissions=["change"])
    def make_optional(self, request: HttpRequest, items: QuerySet[DraftItem]) -> None:
        self._set(request, items, "required", False, "marked as optional")

    @admin.action(description="Hash again", permissions=["change"])
    def rehash_items(self, request: HttpRequest, items: QuerySet[DraftItem]) -> None:
        drafts = Draft.objects.filter(pk__in=items.order_by().values("draft_id")).select_related("airline")
        for draft in drafts:
            ids = list(items.filter(draft=draft).values_list("pk", flat=True))
            try:
                chosen = DraftItem.objects.filter(pk__in=ids)
                message = requests.request_rehash(draft, chosen, Actor.of(request))
            except RequestRejected as error:
                self.message_user(request, f"{draft}: skipped. {error}", messages.WARNING)
                continue
            self._record(request, "hash", draft, None)
            self.message_user(request, f"{draft}: {message}", messages.SUCCESS)


def _touched(request: HttpRequest) -> set[int]:
    """Return the set of drafts whose items this request changed, to add to."""
    touched: set[int] = request.META.setdefault("campaigns.touched", set())
    return touched
