"""Only superusers grant rights and change staff; admins end sessions and tokens of others; queue rows stay hidden."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django_q.models import OrmQ, Success, Task

from ifeportal.accounts.limits.attempts import Limit, take
from ifeportal.accounts.models import AttemptCount
from ifeportal.accounts.tokens import create_token
from ifeportal.models import AuditEntry, Token, User
from tests.conftest import Cast
from tests.ifeportal.accounts.test_sign_in import give_an_app, is_in, sign_in
from tests.ifeportal.admin.test_every_model import address

pytestmark = pytest.mark.both_databases
NEW = {"password1": "another long sentence", "password2": "another long sentence", "usable_password": "true"}


@pytest.fixture
def olga(cast: Cast, client: Client) -> Client:
    """Return the browser of a staff user with every permission, who is no superuser."""
    cast.olga.user_permissions.set(Permission.objects.all())
    client.force_login(cast.olga)
    return client


def form(user: User, **more: Any) -> dict[str, Any]:
    """Return the form of the user's admin page, with every right ticked."""
    rights = {"is_staff": "on", "is_superuser": "on", "groups": [group.pk for group in Group.objects.all()]}
    rights["user_permissions"] = [permission.pk for permission in Permission.objects.all()[:3]]
    inline = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    return {"username": user.username, "is_active": "on", "first_name": "Changed"} | dates | inline | rights | more


def rights(user: User) -> tuple[bool, bool, int, int]:
    user = User.objects.get(pk=user.pk)
    return user.is_staff, user.is_superuser, user.groups.count(), user.user_permissions.count()


def test_a_staff_user_changes_a_user_but_grants_no_right(cast: Cast, olga: Client) -> None:
    Group.objects.create(name="mighty")
    assert olga.post(address(User, "change", cast.alice.pk), form(cast.alice)).status_code == 302
    cast.alice.refresh_from_db()
    assert cast.alice.first_name == "Changed"
    assert rights(cast.alice) == (False, False, 0, 0)
    page = olga.get(address(User, "change", cast.alice.pk)).content.decode()
    assert 'name="is_superuser"' not in page
    assert "Only superusers grant these rights" in page
    assert 'name="user_permissions"' not in page
    assert olga.post(address(User, "add"), form(cast.alice, username="eve", **NEW)).status_code == 302
    assert rights(User.objects.get(username="eve")) == (False, False, 0, 0)


@pytest.mark.parametrize("name", ["olga", "ada"])
def test_a_staff_user_changes_no_staff_not_even_oneself(cast: Cast, olga: Client, name: str) -> None:
    user: User = getattr(cast, name)
    before: dict[str, Any] = {**User.objects.filter(pk=user.pk).values().get()}
    assert olga.get(address(User, "change", user.pk)).status_code == 200
    assert olga.post(address(User, "change", user.pk), form(user)).status_code == 403
    password = f"/admin/ifeportal/user/{user.pk}/password/"
    assert [olga.get(password).status_code, olga.post(password, NEW).status_code] == [403, 403]
    assert olga.post(address(User, "delete", user.pk), {"post": "yes"}).status_code == 403
    for action in ("delete_selected", "end_sessions", "revoke_tokens"):
        chosen = {"action": action, "_selected_action": [cast.alice.pk, user.pk], "post": "yes", "confirmed": "yes"}
        assert olga.post(address(User, "changelist"), chosen).status_code == 403
    after: dict[str, Any] = {**User.objects.filter(pk=user.pk).values().get()}
    assert {key for key in after if after[key] != before[key]} <= {"last_login"}
    assert User.objects.filter(pk=cast.alice.pk).exists()


def test_a_staff_user_sets_the_password_of_an_ordinary_user(cast: Cast, olga: Client) -> None:
    assert olga.post(f"/admin/ifeportal/user/{cast.alice.pk}/password/", NEW).status_code == 302
    assert olga.post(address(User, "delete", cast.nick.pk), {"post": "yes"}).status_code == 302


def test_only_a_superuser_changes_groups(cast: Cast, olga: Client) -> None:
    group = Group.objects.create(name="ordinary")
    cast.olga.groups.add(group)
    given = {"name": "mighty", "permissions": [permission.pk for permission in Permission.objects.all()]}
    assert olga.get(address(Group, "change", group.pk)).status_code == 200
    for page in (address(Group, "change", group.pk), address(Group, "add")):
        assert olga.post(page, given).status_code == 403
    assert olga.post(address(Group, "delete", group.pk), {"post": "yes"}).status_code == 403
    olga.force_login(cast.ada)
    assert olga.post(address(Group, "change", group.pk), given).status_code == 302
    assert AuditEntry.objects.filter(action="group.changed").exists()


def test_only_a_superuser_deletes_the_second_factor_and_the_connection_of_staff(cast: Cast, olga: Client) -> None:
    for user in (cast.ada, cast.alice):
        give_an_app(user)
        SocialAccount.objects.create(user=user, provider="sso", uid=user.username)
    for model in (Authenticator, SocialAccount):
        rows = model.objects.filter(user=cast.ada)
        chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
        assert olga.post(address(model, "changelist"), chosen).status_code == 403
        assert olga.post(address(model, "delete", rows[0].pk), {"post": "yes"}).status_code == 403
        other = model.objects.filter(user=cast.alice)[0]
        assert olga.post(address(model, "delete", other.pk), {"post": "yes"}).status_code == 302


def test_a_superuser_grants_every_right(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    assert client.post(address(User, "change", cast.alice.pk), form(cast.alice)).status_code == 302
    assert rights(cast.alice) == (True, True, 0, 3)


# Sessions and tokens of others.


def choose(client: Client, action: str, *users: User, **more: Any) -> Any:
    chosen = {"action": action, "_selected_action": [user.pk for user in users]}
    return client.post(address(User, "changelist"), chosen | more)


@pytest.mark.parametrize("action", ["end_sessions", "revoke_tokens"])
def test_an_admin_ends_sessions_and_tokens_of_others_after_a_question(cast: Cast, client: Client, action: str) -> None:
    browsers = {name: Client() for name in ("alice", "bob", "mona")}
    keys = {}
    for name, browser in browsers.items():
        sign_in(browser, name)
        _, keys[name] = create_token(getattr(cast, name), "mine", days=1, airline=None, may_write=False)
    client.force_login(cast.ada)
    page = choose(client, action, cast.alice, cast.bob)
    assert page.status_code == 200
    assert "alice" in page.content.decode()
    assert all(is_in(browser) for browser in browsers.values())
    assert Token.objects.count() == 3
    answer = choose(client, action, cast.alice, cast.bob, confirmed="yes")
    assert answer.status_code == 302
    sessions = action == "end_sessions"
    assert [is_in(browsers[name]) for name in ("alice", "bob", "mona")] == [not sessions, not sessions, True]
    answers = [Client().get("/api/v1/", headers={"Authorization": f"Bearer {keys[name]}"}) for name in keys]
    assert [answer.status_code for answer in answers] == ([200] * 3 if sessions else [401, 401, 200])
    kind = "sessions" if sessions else "tokens"
    entries = AuditEntry.objects.filter(action=f"user.{kind}.ended").order_by("target")
    assert [(entry.target, entry.who, entry.changes, entry.via) for entry in entries] == [
        (name, "ada", {kind: [1, 0]}, "admin") for name in ("alice", "bob")
    ]
    assert is_in(client)


def test_an_admin_ends_the_sessions_of_all_users(cast: Cast, client: Client) -> None:
    browsers = [Client() for _ in range(2)]
    for browser, name in zip(browsers, ("alice", "bob"), strict=True):
        sign_in(browser, name)
    client.force_login(cast.ada)
    choose(client, "end_sessions", cast.alice, select_across="1", confirmed="yes")
    assert not any(is_in(browser) for browser in (*browsers, client))


def test_users_without_the_right_to_change_users_end_no_session(cast: Cast, client: Client) -> None:
    cast.olga.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(cast.olga)
    browser = Client()
    sign_in(browser)
    choose(client, "end_sessions", cast.alice, confirmed="yes")
    assert is_in(browser)
    assert not AuditEntry.objects.filter(action="user.sessions.ended").exists()


def test_a_deleted_count_allows_attempts_at_once(cast: Cast, client: Client) -> None:
    limit = Limit("test", 1, 60)
    assert [take(limit, "alice") for _ in range(2)] == [True, False]
    client.force_login(cast.ada)
    row = address(AttemptCount, "delete", AttemptCount.objects.get(scope="test").pk)
    assert client.post(row, {"post": "yes"}).status_code == 302
    assert take(limit, "alice")
    assert AuditEntry.objects.filter(action="attemptcount.deleted").exists()


# The queue of the workers.


@pytest.mark.parametrize("model", [Success, OrmQ, Task])
def test_the_rows_of_the_queue_have_no_admin(cast: Cast, client: Client, model: Any) -> None:
    client.force_login(cast.ada)
    path = f"/admin/django_q/{model._meta.model_name}/"
    assert client.get(path).status_code == 404
    assert client.post(path, {"action": "resubmit_task", "_selected_action": ["1"]}).status_code == 404
    assert "resubmit" not in client.get("/admin/").content.decode().lower()
