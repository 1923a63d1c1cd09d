"""Admin of users, groups, memberships, tokens, failed sign-ins, second factors and single sign-on connections.

Sign-in rows are read-only except for deletion: deleting a failed attempt unlocks, deleting a second factor resets it.
Only superusers grant rights, and change or reset the credentials of staff. No secret is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from allauth.account.admin import EmailAddress, EmailConfirmation
from allauth.mfa.admin import Authenticator
from allauth.socialaccount.admin import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.admin import UserSession
from axes.models import AccessAttempt
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import ReadOnlyPasswordHashField, ReadOnlyPasswordHashWidget, UserChangeForm
from django.contrib.auth.hashers import is_password_usable
from django.contrib.auth.models import AbstractUser, AnonymousUser, Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst

from ifeportal import audit
from ifeportal.accounts.models import AttemptCount
from ifeportal.accounts.sessions.revocation import end_sessions, revoke_tokens, suspend_tokens
from ifeportal.admin.base import Action, AirlineScopedAdmin, DeleteOnlyAdmin, PlainWidgets, StaffAdmin
from ifeportal.admin.people import LockedFilter, NeedsFilter
from ifeportal.conf.authentication import COOL_OFF, FAILURE_LIMIT
from ifeportal.models import Membership, Token, User

M = TypeVar("M", bound=Model)
RIGHTS: Final = ("is_staff", "is_superuser", "groups", "user_permissions")  # fields of a user that grant rights
RIGHTS_NOTE: Final = "Only superusers grant these rights, and change users who are staff."

# The portal stores e-mail addresses with users and the sign-in service in its settings. Deleting a `UserSession` row
# would not end the session.
REPLACED: Final = (Authenticator, Group, SocialAccount)
HIDDEN: Final = (EmailAddress, EmailConfirmation, SocialApp, SocialToken, UserSession)
for model in (*REPLACED, *HIDDEN):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


def may_change(actor: AbstractUser | AnonymousUser, user: User) -> bool:
    """Return whether the actor may change this user and their credentials: of staff, only a superuser may.

    Otherwise a staff user could take over the account of another one who has more rights.
    """
    return actor.is_superuser or not (user.is_staff or user.is_superuser)


def as_checkboxes(field: Any) -> Any:
    """Show the choices of a field as checkboxes: permissions in groups, one for each kind of row."""
    if field is None:
        return None
    field.widget = forms.CheckboxSelectMultiple()
    field.help_text = ""
    if field.queryset.model is Permission:
        rows = field.queryset.select_related("content_type").order_by("content_type__app_label", "content_type__model")
        groups = groupby(rows, key=lambda permission: str(permission.content_type.name))
        field.choices = [(capfirst(name), [(row.pk, row.name) for row in group]) for name, group in groups]
    return field


if TYPE_CHECKING:
    _MembershipInline = admin.TabularInline[Membership, User]
    _UserAdmin = DjangoUserAdmin[User]
    _GroupAdmin = DjangoGroupAdmin
    _UserChangeForm = UserChangeForm[User]
else:
    _MembershipInline = admin.TabularInline
    _UserAdmin = DjangoUserAdmin
    _GroupAdmin = DjangoGroupAdmin
    _UserChangeForm = UserChangeForm


class PasswordState(ReadOnlyPasswordHashWidget):
    """Whether a user has a password, and the button that sets one. No part of its hash is shown."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        is_set = bool(value) and is_password_usable(value)
        context["summary"] = [{"label": "Set" if is_set else "No password: the user signs in another way"}]
        return context


class UserForm(_UserChangeForm):
    """A user. The password is set on a page of its own."""

    password = ReadOnlyPasswordHashField(label="Password", widget=PasswordState)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "password" in self.fields:
            self.fields["password"].help_text = ""


class OwnedByUserAdmin(DeleteOnlyAdmin[M]):
    """Credentials of a user (`row.user`): those of staff can only be deleted by a superuser."""

    def _allowed(self, action: Action, request: HttpRequest, row: Any = None) -> bool:
        if action == "delete" and row is not None and not may_change(request.user, row.user):
            return False
        return super()._allowed(action, request, row)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(DeleteOnlyAdmin[Any]):
    """Failed sign-ins, counted by user name and network: FAILURE_LIMIT of them lock both until the time shown."""

    group = "Sign-in and access"
    about = "Wrong passwords by user name and network. Five lock both for 15 minutes; deleting the row unlocks at once."
    empty = "A row appears when someone enters a wrong password."
    list_display = ["username", "ip_address", "failures_since_start", "attempt_time", "locked_until"]
    list_filter = [LockedFilter]
    search_fields = ["username", "ip_address"]
    fields = ["username", "ip_address", "path_info", "failures_since_start", "attempt_time"]

    @admin.display(description="locked until (UTC)")
    def locked_until(self, attempt: AccessAttempt) -> str:
        """Return the time at which passwords are accepted again. Deleting the row unlocks at once."""
        until = attempt.attempt_time + COOL_OFF
        locked = attempt.failures_since_start >= FAILURE_LIMIT and until > timezone.now()
        return f"{until:%H:%M:%S}" if locked else ""


@admin.register(AttemptCount)
class AttemptCountAdmin(DeleteOnlyAdmin[AttemptCount]):
    """Counted attempts of the other limits; deleting a row allows new attempts at once."""

    group = "Sign-in and access"
    about = "Counts of other limited attempts, such as password resets. Deleting a row allows new attempts at once."
    empty = "A row appears when a limited action is used."
    list_display = ["scope", "subject", "count", "ends_at"]
    list_filter = ["scope"]
    search_fields = ["subject"]
    fields = ["scope", "subject", "count", "ends_at"]


@admin.register(Authenticator)
class SecondFactorAdmin(OwnedByUserAdmin[Any]):
    """Authenticator apps, passkeys and recovery codes. A deletion ends the sessions and tokens of the user."""

    group = "Sign-in and access"
    about = "Authenticator apps, passkeys and recovery codes. Deleting one ends the sessions and tokens of its user."
    empty = "Users set up a second factor on their account page."
    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__username"]
    fields = ["user", "type", "created_at", "last_used_at"]

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        _end_access(obj.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        users = list(User.objects.filter(pk__in=queryset.values("user")))
        super().delete_queryset(request, queryset)
        for user in users:
            _end_access(user)


def _end_access(user: User) -> None:
    with transaction.atomic():
        end_sessions(user)
        suspend_tokens(user)


@admin.register(SocialAccount)
class SocialAccountAdmin(OwnedByUserAdmin[Any]):
    """Connections of users to accounts of the sign-in service.

    After a deletion, the next sign-in connects by e-mail address again.
    """

    group = "Sign-in and access"
    about = "Connections of users to the sign-in service. After a deletion, the next sign-in connects again."
    empty = "A row appears when a user signs in with the sign-in service."
    list_display = ["user", "provider", "uid", "date_joined", "last_login"]
    list_select_related = ["user"]
    search_fields = ["user__username", "uid"]
    fields = ["user", "provider", "uid", "date_joined", "last_login"]


class MembershipInline(PlainWidgets[Membership], _MembershipInline):
    """The airlines of a user, and the user's role there."""

    model = Membership
    extra = 0
    autocomplete_fields = ["airline"]


@admin.register(User)
class UserAdmin(StaffAdmin[User], _UserAdmin):
    """People and programs that sign in, and the airlines they can see.

    Only superusers grant rights (`RIGHTS`), and change staff. Disabling a user ends the sessions.
    """

    task = "People"
    is_main_list = True
    about = "People and programs that sign in, and the airlines they can see."
    empty = "Add a user, then choose their airlines and roles."
    form = UserForm
    inlines = [MembershipInline]
    list_display = ["username", "full_name", "email", "airlines", "rights", "is_active", "last_login"]
    list_filter = [NeedsFilter, "is_staff", "is_superuser", "is_active", "memberships__airline"]
    date_hierarchy = "date_joined"
    filter_horizontal = ()
    actions = ["end_sessions", "revoke_tokens"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("memberships__airline")

    @admin.display(description="name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description="airlines and roles")
    def airlines(self, user: User) -> str:
        """Return the airlines of the user with the role at each."""
        return ", ".join(f"{each.airline} ({each.role})" for each in user.memberships.all())

    @admin.display(description="staff", ordering="is_staff")
    def rights(self, user: User) -> str:
        """Return whether the user is a superuser or staff."""
        return "Superuser" if user.is_superuser else "Staff" if user.is_staff else ""

    def _allowed(self, action: Action, request: HttpRequest, row: Any = None) -> bool:
        if action in ("change", "delete") and row is not None and not may_change(request.user, row):
            return False
        return super()._allowed(action, request, row)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return as_checkboxes(super().formfield_for_manytomany(db_field, request, **kwargs))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = [*(str(name) for name in super().get_readonly_fields(request, obj)), "last_login", "date_joined"]
        return fields if request.user.is_superuser else [*fields, *RIGHTS]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> list[tuple[Any, Any]]:
        """Explain to others than superusers why they cannot change rights."""
        fieldsets = [*super().get_fieldsets(request, obj)]
        if obj is None or request.user.is_superuser:
            return fieldsets
        return [
            (name, {**options, "description": RIGHTS_NOTE} if "is_superuser" in options["fields"] else options)
            for name, options in fieldsets
        ]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save the user. A disabled one has no session, also if they are enabled again."""
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data and not obj.is_active:
            end_sessions(obj)

    @admin.action(description="End all sessions of the selected users", permissions=["change"])
    def end_sessions(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        return self._end(request, users, "sessions", end_sessions)

    @admin.action(description="Revoke all API tokens of the selected users", permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        return self._end(request, users, "tokens", revoke_tokens)

    def _end(
        self, request: HttpRequest, users: QuerySet[User], kind: str, end: Callable[[User], int]
    ) -> HttpResponse | None:
        """Ask, then end the credentials of the users. Raises PermissionDenied if one of them may not be changed."""
        if not all(may_change(request.user, user) for user in users):
            raise PermissionDenied("Only superusers end sessions and tokens of staff.")
        if "confirmed" not in request.POST:
            context = self.admin_site.each_context(request) | {
                "title": "Are you sure?",
                "kind": kind,
                "users": users,
                "opts": self.opts,
                "action": request.POST["action"],
            }
            return TemplateResponse(request, "admin/ifeportal/user/end_credentials.html", context)
        ended = 0
        for user in users:
            count = end(user)
            audit.record(audit.Actor.of(request), f"user.{kind}.ended", str(user), changes={kind: (count, 0)})
            ended += count
        self.message_user(request, f"Users: {len(users)}. Ended {kind}: {ended}.")
        return None


@admin.register(Group)
class GroupAdmin(StaffAdmin[Group], _GroupAdmin):
    """Groups of permissions. Only superusers change them: every member gets what a group grants."""

    group = "Sign-in and access"
    about = "Sets of permissions for staff. Only superusers change them."
    empty = "Add a group to give several staff users the same permissions."
    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        return as_checkboxes(super().formfield_for_manytomany(db_field, request, **kwargs))

    def _allowed(self, action: Action, request: HttpRequest, row: Any = None) -> bool:
        if action in ("add", "change", "delete") and not request.user.is_superuser:
            return False
        return super()._allowed(action, request, row)


@admin.register(Membership)
class MembershipAdmin(AirlineScopedAdmin[Membership]):
    """Users of airlines, and their roles there."""

    task = "People"
    about = "Who belongs to which airline, with which role. The page of a user lists theirs too."
    empty = "Add a membership so that a user can see an airline."
    list_display = ["user", "airline", "role", "created_at"]
    list_filter = ["role", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["user__username", "user__email", "airline__name", "airline__title"]
    autocomplete_fields = ["user", "airline"]
    date_hierarchy = "created_at"


@admin.register(Token)
class TokenAdmin(DeleteOnlyAdmin[Token]):
    """API tokens; deleting one revokes it. Users create their tokens themselves and see the key once."""

    group = "Sign-in and access"
    about = "Keys of programs. Users create them on their account page; deleting one revokes it."
    empty = "Users create tokens on their account page."
    list_display = ["name", "user", "begins_with", "airline", "may_write", "created", "expiry", "used_at"]
    list_filter = ["may_write", "has_second_factor", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["name", "user__username", "airline__name"]
    date_hierarchy = "created"
    fields = [
        "name",
        "user",
        "begins_with",
        "airline",
        "may_write",
        "has_second_factor",
        "created",
        "expiry",
        "used_at",
    ]

    @admin.display(description="key")
    def begins_with(self, token: Token) -> str:
        return token.begins_with
