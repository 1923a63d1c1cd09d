"""The admin of users, airlines, who belongs to which, and tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.admin import Schedule  # registers, so that it can be taken out
from rest_framework.authtoken.admin import TokenAdmin as DrfTokenAdmin
from rest_framework.authtoken.models import TokenProxy

from ifeportal.admins import Scoped
from ifeportal.jobadmin import JobAdmin
from ifeportal.models import Airline, Job, Membership, User
from loader.contract import BadName, check_name, fold

if TYPE_CHECKING:
    _MembershipInline = admin.TabularInline[Membership, User]
    _UserAdmin = DjangoUserAdmin[User]
    _AirlineForm = forms.ModelForm[Airline]
else:
    _MembershipInline = admin.TabularInline
    _UserAdmin = DjangoUserAdmin
    _AirlineForm = forms.ModelForm


class MembershipInline(_MembershipInline):
    """The airlines of a user."""

    model = Membership
    extra = 0
    autocomplete_fields = ["airline"]


@admin.register(User)
class UserAdmin(_UserAdmin):
    """People and programs that sign in, and the airlines they see."""

    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_staff", "is_active", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active", "memberships__airline"]
    date_hierarchy = "date_joined"


class AirlineForm(_AirlineForm):
    """An airline made by a person: its name obeys the contract like one found in a bucket."""

    def clean_name(self) -> str:
        """The name as it stands in keys and addresses. Raises ValidationError where it could stand in neither."""
        name: str = self.cleaned_data["name"]
        try:
            check_name(name)
        except BadName as error:
            raise forms.ValidationError(f"It cannot stand in a key: {error}.") from error
        if any(fold(other) == fold(name) for other in Airline.objects.values_list("name", flat=True)):
            raise forms.ValidationError("There is an airline of that name, or one that differs only in case.")
        return name


@admin.register(Airline)
class AirlineAdmin(Scoped[Airline]):
    """Airlines. The name is fixed once given: it stands in every key."""

    form = AirlineForm
    list_display = ["name", "title", "discovered", "created_at", "page"]
    list_filter = ["discovered"]
    search_fields = ["name", "title"]
    date_hierarchy = "created_at"
    readonly_fields = ["discovered", "created_at", "page"]

    def get_readonly_fields(self, request: HttpRequest, obj: Airline | None = None) -> list[str]:
        """The name too, once the row exists."""
        fixed = ["discovered", "created_at"]
        return ["name", *fixed, "page"] if obj else fixed


@admin.register(Membership)
class MembershipAdmin(Scoped[Membership]):
    """Who sees which airline."""

    list_display = ["user", "airline", "created_at"]
    list_filter = ["airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["user__username", "user__email", "airline__name", "airline__title"]
    autocomplete_fields = ["user", "airline"]
    date_hierarchy = "created_at"


admin.site.register(Job, JobAdmin)
# The pacemaker decides what runs when; a form that runs any function by name would be a way in.
admin.site.unregister(Schedule)
admin.site.unregister(TokenProxy)


@admin.register(TokenProxy)
class TokenAdmin(DrfTokenAdmin):
    """Tokens of the API. A whole key is shown once, in the message after it is made, and never kept elsewhere."""

    list_display = ["user", "begins_with", "created", "revoke"]
    list_display_links = None
    list_select_related: ClassVar[list[str]] = ["user"]
    autocomplete_fields = ["user"]
    date_hierarchy = "created"

    @admin.display(description="key")
    def begins_with(self, token: TokenProxy) -> str:
        """Enough of the key to tell one from another."""
        return f"{token.key[:6]}…"

    @admin.display(description="")
    def revoke(self, token: TokenProxy) -> SafeString:
        """A link to the page that asks whether to delete the token."""
        address = reverse("admin:authtoken_tokenproxy_delete", args=[token.user_id])
        return format_html('<a href="{}">revoke</a>', address)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A token is made and revoked, not changed."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TokenProxy | None:
        """The token of the user of that id, its key cut so that no page or history entry can show it."""
        token: TokenProxy | None = super().get_object(request, object_id, from_field)
        if token is not None:
            token.key = self.begins_with(token)
        return token

    def delete_model(self, request: HttpRequest, obj: TokenProxy) -> None:
        """Revoke the token; found by its user, as the key in hand is cut."""
        TokenProxy.objects.filter(user=obj.user).delete()

    def log_addition(self, request: HttpRequest, obj: TokenProxy, message: Any) -> LogEntry:
        """Enter it in the history; Django's own entry would hold the key."""
        assert request.user.is_authenticated
        return LogEntry.objects.create(
            user=request.user,
            content_type=ContentType.objects.get_for_model(obj, for_concrete_model=False),
            object_id=str(obj.user_id),
            object_repr=f"token of {obj.user}"[:200],
            action_flag=ADDITION,
            change_message=json.dumps(message),
        )
