"""The admin of users, airlines, who belongs to which, and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from django_q.admin import Schedule  # registers, so that it can be taken out

from ifeportal import signinadmin as signinadmin  # registers its own
from ifeportal.admins import ReadOnlyAdmin, Scoped
from ifeportal.airlines.forms import THRESHOLDS, AirlineForm
from ifeportal.jobadmin import JobAdmin
from ifeportal.models import Airline, AuditEntry, Job, Membership, Token, User
from loader.contract.names import check_name, fold
from loader.errors import BadName

if TYPE_CHECKING:
    _MembershipInline = admin.TabularInline[Membership, User]
    _UserAdmin = DjangoUserAdmin[User]
else:
    _MembershipInline = admin.TabularInline
    _UserAdmin = DjangoUserAdmin


class MembershipInline(_MembershipInline):
    """The airlines of a user, and what they may do there."""

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


class NamedAirlineForm(AirlineForm):
    """An airline made by a person: its name obeys the contract like one found in a bucket."""

    class Meta(AirlineForm.Meta):
        fields = ["name", "title", "archive_after_days", *THRESHOLDS, "colour", "contact"]

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

    form = NamedAirlineForm
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
    """Who belongs to which airline, and what they may do there."""

    list_display = ["user", "airline", "role", "created_at"]
    list_filter = ["role", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["user__username", "user__email", "airline__name", "airline__title"]
    autocomplete_fields = ["user", "airline"]
    date_hierarchy = "created_at"


admin.site.register(Job, JobAdmin)
# The pacemaker decides what runs when; a form that runs any function by name would be a way in.
admin.site.unregister(Schedule)


@admin.register(Token)
class TokenAdmin(ReadOnlyAdmin[Token]):
    """Tokens of the API: who has which, and to revoke one. They are made by their users, who see the key once."""

    list_display = ["name", "user", "begins_with", "airline", "may_write", "created", "expiry", "used_at"]
    list_filter = ["may_write", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["name", "user__username", "airline__name"]
    date_hierarchy = "created"
    fields = ["name", "user", "begins_with", "airline", "may_write", "created", "expiry", "used_at"]

    @admin.display(description="key")
    def begins_with(self, token: Token) -> str:
        """Enough of the key to tell one from another."""
        return token.begins_with

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff, by Django's permissions."""
        return request.user.is_staff and request.user.has_perm("ifeportal.delete_token")


@admin.register(AuditEntry)
class AuditEntryAdmin(Scoped[AuditEntry], ReadOnlyAdmin[AuditEntry]):
    """Who changed what: to read."""

    list_display = ["at", "who", "action", "target", "whose", "via", "address"]
    list_filter = ["via", "airline"]
    search_fields = ["who", "action", "target", "whose"]
    date_hierarchy = "at"
