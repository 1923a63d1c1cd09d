"""Sessions: a fixed end, whatever is saved; ended everywhere at once; ended rows are deleted."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F
from django.test import Client, override_settings
from django.utils import timezone

from ifeportal.accounts.jobs import clear_sessions
from ifeportal.accounts.limits.attempts import Limit, take
from ifeportal.accounts.limits.throttles import PASSKEY_SIGN_INS
from ifeportal.accounts.models import AttemptCount, PasswordResetRequest
from ifeportal.accounts.sessions.revocation import end_sessions
from ifeportal.accounts.sessions.store import ANONYMOUS_AGE, SIGNED_IN_AT, SessionStore
from ifeportal.jobs.runner import JobFailed
from ifeportal.models import AuditEntry, Job, User
from tests.conftest import PASSWORD, Cast
from tests.ifeportal.accounts.test_sign_in import give_an_app, is_in, sign_in

pytestmark = pytest.mark.both_databases
AGE = settings.SESSION_COOKIE_AGE


def move_sign_in(client: Client, seconds: float) -> None:
    """Have the client's sign-in be `seconds` earlier."""
    session = client.session
    session[SIGNED_IN_AT] -= seconds
    session.save()


def test_a_session_ends_8_hours_after_the_sign_in_whatever_is_saved(cast: Cast, client: Client) -> None:
    sign_in(client)
    move_sign_in(client, AGE - 360)
    for path in ("/account/app/", "/account/passkeys/add/", "/account/tokens/"):
        client.post(path, {"name": "x", "access": "read", "days": "1"})
        assert client.session.get_expiry_age() <= 360
    row = Session.objects.get(session_key=client.session.session_key)
    assert row.expire_date <= timezone.now() + timedelta(seconds=360)
    move_sign_in(client, 360)
    assert not is_in(client)


@pytest.mark.parametrize("way", ["confirming", "a new password", "a new key"])
def test_only_a_sign_in_renews_a_session(cast: Cast, client: Client, way: str) -> None:
    sign_in(client)
    move_sign_in(client, 3_600)
    began = client.session[SIGNED_IN_AT]
    if way == "confirming":
        client.post("/account/confirm/", {"password": PASSWORD})
    elif way == "a new password":
        new = {"oldpassword": PASSWORD, "password1": "another long sentence", "password2": "another long sentence"}
        assert client.post("/account/password/", new).status_code == 302
    else:
        with override_settings(SECRET_KEY="x" * 50, SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
            assert is_in(client)
            assert client.session[SIGNED_IN_AT] == began
        return
    assert client.session[SIGNED_IN_AT] == began
    assert is_in(client)


def test_confirming_ones_identity_gives_the_session_a_new_key(cast: Cast, client: Client) -> None:
    sign_in(client)
    old = client.session.session_key
    client.post("/account/confirm/", {"password": "wrong"})
    assert client.session.session_key == old
    client.post("/account/confirm/", {"password": PASSWORD})
    new = client.session.session_key
    assert new != old
    assert is_in(client)
    client.cookies[settings.SESSION_COOKIE_NAME] = str(old)
    assert not is_in(client)
    assert [row.session_key for row in UserSession.objects.all()] == [new]


def test_a_session_of_an_earlier_release_ends_8_hours_after_its_next_save(cast: Cast, client: Client) -> None:
    sign_in(client)
    session = client.session
    del session[SIGNED_IN_AT]
    session.save()
    assert 0 <= time.time() - client.session[SIGNED_IN_AT] < 60


def test_a_session_without_a_user_ends_within_an_hour(db: None, client: Client) -> None:
    client.get("/login/passkey/", headers={"Accept": "application/json"})
    assert client.session.get_expiry_age() <= ANONYMOUS_AGE
    assert SIGNED_IN_AT not in client.session


def test_strangers_make_only_so_many_sessions(db: None) -> None:
    json = {"Accept": "application/json"}
    answers = [Client().get("/login/passkey/", headers=json).status_code for _ in range(PASSKEY_SIGN_INS.count + 2)]
    assert answers == [200] * PASSKEY_SIGN_INS.count + [429] * 2
    assert Session.objects.count() == PASSKEY_SIGN_INS.count


def test_the_daily_job_deletes_what_has_ended_and_nothing_else(cast: Cast) -> None:
    ended, alive = Client(), Client()
    for client in (ended, alive):
        sign_in(client)
    Session.objects.filter(session_key=ended.session.session_key).update(expire_date=timezone.now())
    AccessAttempt.objects.create(username="old", ip_address="192.0.2.1", failures_since_start=5)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(days=2))
    sign_in(Client(), password="wrong")
    take(Limit("old", 1, -1), "x")
    PasswordResetRequest.objects.create(email="a@example.org", requested_at=timezone.now() - timedelta(days=1))
    clear_sessions()
    assert [row.session_key for row in Session.objects.all()] == [alive.session.session_key]
    assert [row.session_key for row in UserSession.objects.all()] == [alive.session.session_key]
    assert is_in(alive)
    assert [row.username for row in AccessAttempt.objects.all()] == ["alice"]
    assert not AttemptCount.objects.filter(scope="old").exists()
    assert AttemptCount.objects.exists()
    assert not PasswordResetRequest.objects.exists()
    assert Job.objects.get(name="clear_sessions").due_at > timezone.now() + timedelta(hours=23)


@pytest.mark.parametrize("span", [timedelta(days=40), timedelta(days=-40)], ids=str)
def test_the_daily_job_deletes_nothing_while_the_clock_contradicts_the_database(
    cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch, span: timedelta
) -> None:
    sign_in(client)
    real_now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real_now() + span)
    if connection.vendor == "sqlite":  # it has no clock of its own, so nothing contradicts this one
        clear_sessions()
        assert Session.objects.exists() == (span < timedelta())
    else:
        with pytest.raises(JobFailed, match="CLOCK_SKEW: Nothing is deleted by date: the portal's clock is"):
            clear_sessions()
        assert Session.objects.count() == 1


# Ended everywhere.


def test_sessions_that_are_not_listed_end_too(cast: Cast, client: Client) -> None:
    sign_in(client)
    with override_settings(SECRET_KEY="x" * 50, SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert is_in(client)  # Django gives the session a new key
        assert not UserSession.objects.filter(session_key=client.session.session_key).exists()
        end_sessions(cast.alice)
        assert not is_in(client)
        assert sign_in(client).status_code == 302
        assert is_in(client)


def test_ending_the_other_sessions_needs_no_list_and_leaves_ones_own(cast: Cast, client: Client) -> None:
    elsewhere = Client()
    for each in (client, elsewhere):
        sign_in(each)
    client.post("/account/confirm/", {"password": PASSWORD})
    UserSession.objects.all().delete()
    assert client.post("/account/sessions/")["Location"] == "/account/"
    assert is_in(client)
    assert not is_in(elsewhere)
    assert AuditEntry.objects.filter(action="user.sessions.ended", who="alice").exists()
    assert [row.session_key for row in UserSession.objects.all()] == [client.session.session_key]


def test_removing_a_second_factor_ends_the_other_sessions(cast: Cast, client: Client) -> None:
    elsewhere = Client()
    for each in (client, elsewhere):
        sign_in(each)
    give_an_app(cast.alice)
    client.post("/account/confirm/", {"password": PASSWORD})
    assert client.post("/account/app/remove/").status_code == 302
    assert not Authenticator.objects.exists()
    assert is_in(client)
    assert not is_in(elsewhere)


def test_a_disabled_user_has_no_session_left_when_enabled_again(cast: Cast, client: Client) -> None:
    sign_in(client)
    admin = Client()
    admin.force_login(cast.ada)
    page = f"/admin/ifeportal/user/{cast.alice.pk}/change/"
    form = {"username": "alice", "date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    form |= {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    assert admin.post(page, form).status_code == 302
    assert not User.objects.get(pk=cast.alice.pk).is_active
    assert admin.post(page, form | {"is_active": "on"}).status_code == 302
    assert User.objects.get(pk=cast.alice.pk).is_active
    assert not is_in(client)


def test_an_earlier_secret_key_vouches_only_for_the_current_epoch(cast: Cast) -> None:
    before = cast.alice.get_session_auth_hash()
    with override_settings(SECRET_KEY="x" * 50, SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert list(cast.alice.get_session_auth_fallback_hash()) == [before]
        User.objects.filter(pk=cast.alice.pk).update(session_epoch=F("session_epoch") + 1)
        cast.alice.refresh_from_db()
        assert before not in {cast.alice.get_session_auth_hash(), *cast.alice.get_session_auth_fallback_hash()}


def test_the_store_preserves_the_sign_in_time_when_the_key_changes(cast: Cast) -> None:
    store = SessionStore()
    store[SESSION_KEY] = str(cast.alice.pk)
    store.create()
    store.save()
    began = store[SIGNED_IN_AT] = store[SIGNED_IN_AT] - 60
    store.cycle_key()
    assert SessionStore(store.session_key)[SIGNED_IN_AT] == began
