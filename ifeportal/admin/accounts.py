"""Admin of users, memberships, tokens, failed sign-ins, second factors and single sign-on connections.

Sign-in rows are read-only except for deletion: deleting a failed attempt unlocks, deleting a second factor resets it.
No secret is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.admin import EmailAddress, EmailConfirmation
from allauth.mfa.admin import Authenticator
from allauth.socialaccount.admin import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.admin import UserSession
from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.utils import timezone

from ifeportal.admin.base import AirlineScopedAdmin, DeleteOnlyAdmin
from ifeportal.conf.authentication import COOL_OFF, FAILURE_LIMIT
from ifeportal.models import Membership, Token, User

# The portal stores e-mail addresses with users and the sign-in service in its settings. Deleting a `UserSession` row
# would not end the session.
for model in (Authenticator, EmailAddress, EmailConfirmation, SocialAccount, SocialApp, SocialToken, UserSession):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(DeleteOnlyAdmin[Any]):
    """Failed sign-ins, counted by user name and network: FAILURE_LIMIT of them lock both until the time shown."""

    list_display = ["username", "ip_address", "failures_since_start", "attempt_time", "locked_until"]
    list_filter = ["attempt_time"]
    search_fields = ["username", "ip_address"]
    fields = ["username", "ip_address", "user_agent", "path_info", "failures_since_start", "attempt_time"]

    @admin.display(description="locked until (UTC)")
    def locked_until(self, attempt: AccessAttempt) -> str:
        """Return the time at which passwords are accepted again. Deleting the row unlocks at once."""
        until = attempt.attempt_time + COOL_OFF
        locked = attempt.failures_since_start >= FAILURE_LIMIT and until > timezone.now()
        return f"{until:%H:%M:%S}" if locked else ""


@admin.register(Authenticator)
class SecondFactorAdmin(DeleteOnlyAdmin[Any]):
    """Authenticator apps, passkeys and recovery codes."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__username"]
    fields = ["user", "type", "created_at", "last_used_at"]


@admin.register(SocialAccount)
class SocialAccountAdmin(DeleteOnlyAdmin[Any]):
    """Connections of users to accounts of the sign-in service.

    After a deletion, the next sign-in connects by e-mail address again.
    """

    list_display = ["user", "provider", "uid", "date_joined", "last_login"]
    list_select_related = ["user"]
    search_fields = ["user__username", "uid"]
    fields = ["user", "provider", "uid", "date_joined", "last_login"]


if TYPE_CHECKING:
    _MembershipInline = admin.TabularInline[Membership, User]
    _UserAdmin = DjangoUserAdmin[User]
else:
    _MembershipInline = admin.TabularInline
    _UserAdmin = DjangoUserAdmin


class MembershipInline(_MembershipInline):
    """The airlines of a user, and the user's role there."""

    model = Membership
    extra = 0
    autocomplete_fields = ["airline"]


@admin.register(User)
class UserAdmin(_UserAdmin):
    """People and programs that sign in, and the airlines they can see."""

    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_staff", "is_active", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active", "memberships__airline"]
    date_hierarchy = "date_joined"


@admin.register(Membership)
class MembershipAdmin(AirlineScopedAdmin[Membership]):
    """Users of airlines, and their roles there."""

    list_display = ["user", "airline", "role", "created_at"]
    list_filter = ["role", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["user__username", "user__email", "airline__name", "airline__title"]
    autocomplete_fields = ["user", "airline"]
    date_hierarchy = "created_at"


@admin.register(Token)
class TokenAdmin(DeleteOnlyAdmin[Token]):
    """API tokens; deleting one revokes it. Users create their tokens themselves and see the key once."""

    list_display = ["name", "user", "begins_with", "airline", "may_write", "created", "expiry", "used_at"]
    list_filter = ["may_write", "airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["name", "user__username", "airline__name"]
    date_hierarchy = "created"
    fields = ["name", "user", "begins_with", "airline", "may_write", "created", "expiry", "used_at"]

    @admin.display(description="key")
    def begins_with(self, token: Token) -> str:
        return token.begins_with
