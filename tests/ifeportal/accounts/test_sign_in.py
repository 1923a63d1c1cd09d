"""Sign-in: lockout, password reset, second factors and their recovery, sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.hashers import identify_hasher, make_password
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse

from ifeportal.access import Role
from ifeportal.accounts import second_factor
from ifeportal.accounts.jobs import send_reset_links
from ifeportal.accounts.models import PasswordResetRequest
from ifeportal.conf import environment
from ifeportal.conf.authentication import FAILURE_LIMIT, signin_settings
from ifeportal.models import AuditEntry, User
from tests.conftest import PASSWORD, Cast

SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture(autouse=True)
def clear_counters() -> None:
    cache.clear()


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Set the portal's clock to the n-th 30-second step of the app, and return the code of that step."""

    def at(count: int) -> str:
        monkeypatch.setattr(totp, "yield_hotp_counters_from_time", lambda: iter([count]))
        return str(totp.format_hotp_value(totp.hotp_value(SECRET, count)))

    return at


def sign_in(client: Client, name: str = "alice", password: str = PASSWORD, **headers: Any) -> Any:
    return client.post("/login/", {"login": name, "password": password}, **headers)


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def give_an_app(user: User) -> RecoveryCodes:
    """Give the user an authenticator app and recovery codes."""
    totp.TOTP.activate(user, SECRET)
    return RecoveryCodes.activate(user)


# Lock-out.


def test_after_too_many_wrong_passwords_the_right_one_is_refused_too(cast: Cast, client: Client) -> None:
    for _ in range(FAILURE_LIMIT - 1):
        assert "Wrong user name or password" in sign_in(client, password="wrong").content.decode()
    answer = sign_in(client, password="wrong")
    assert answer.status_code == 429
    assert re.search(r"Locked out until \d\d:\d\d UTC", answer.content.decode())
    assert 0 < int(answer["Retry-After"]) <= 15 * 60
    again = sign_in(client)
    assert again.status_code == 429
    assert not is_in(client)


def test_the_spelling_of_the_name_does_not_bypass_the_limit(cast: Cast, client: Client) -> None:
    for name in ("alice", "ALICE", " Alice", "\N{FULLWIDTH LATIN SMALL LETTER A}lice", "aliCE"):
        sign_in(client, name, "wrong")
    assert sign_in(client).status_code == 429


def test_others_and_the_same_user_elsewhere_are_not_locked_out(cast: Cast, client: Client) -> None:
    for _ in range(FAILURE_LIMIT):
        sign_in(client, password="wrong")
    assert sign_in(Client(), "bob").status_code == 302
    assert sign_in(Client(), REMOTE_ADDR="10.0.0.9").status_code == 302


def test_another_address_of_the_network_does_not_evade_the_limit(cast: Cast, client: Client) -> None:
    for number in range(FAILURE_LIMIT):
        sign_in(client, password="wrong", REMOTE_ADDR=f"2001:db8:1:2::{number}")
    assert sign_in(Client(), REMOTE_ADDR="2001:db8:1:2:ffff::9").status_code == 429
    assert sign_in(Client(), REMOTE_ADDR="2001:db8:1:3::1").status_code == 302


@pytest.mark.parametrize(("behind_proxy", "status"), [(False, 429), (True, 302)])
def test_only_our_own_proxy_determines_the_client_address(
    cast: Cast, client: Client, behind_proxy: bool, status: int
) -> None:
    with override_settings(BEHIND_PROXY=behind_proxy):
        for number in range(FAILURE_LIMIT):
            sign_in(client, password="wrong", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}, 10.1.1.1")
        assert sign_in(Client(), HTTP_X_FORWARDED_FOR="10.1.1.1, 10.2.2.2").status_code == status


def test_a_port_in_a_proxy_header_does_not_change_the_address(cast: Cast, client: Client) -> None:
    with override_settings(BEHIND_PROXY=True):
        for number in range(FAILURE_LIMIT):
            sign_in(client, password="wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.9:{50123 + number}")
        assert sign_in(Client(), HTTP_X_FORWARDED_FOR="198.51.100.9:40000").status_code == 429
        assert sign_in(Client(), HTTP_X_FORWARDED_FOR="203.0.113.7:50123").status_code == 302
        signed_in = AuditEntry.objects.get(action="user.signed-in")
    assert signed_in.address == "203.0.113.7"


@pytest.mark.parametrize(("hops", "status"), [(1, 429), (2, 302)])
def test_behind_two_proxies_the_outer_one_determines_the_client_address(
    cast: Cast, client: Client, hops: int, status: int
) -> None:
    inner = "10.1.1.1"
    with override_settings(BEHIND_PROXY=True, PROXY_HOPS=hops):
        for number in range(FAILURE_LIMIT):
            sign_in(client, password="wrong", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}, 198.51.100.9, {inner}")
        assert sign_in(Client(), HTTP_X_FORWARDED_FOR=f"198.51.100.9, 203.0.113.7, {inner}").status_code == status


def test_a_success_forgets_the_failures_before_it(cast: Cast, client: Client) -> None:
    for _ in range(2):
        for _ in range(FAILURE_LIMIT - 1):
            sign_in(Client(), password="wrong")
        assert sign_in(Client()).status_code == 302


def test_confirming_ones_password_is_counted_like_signing_in(cast: Cast, client: Client) -> None:
    sign_in(client)
    answers = [client.post("/account/confirm/", {"password": "wrong"}).status_code for _ in range(FAILURE_LIMIT)]
    assert answers == [200] * (FAILURE_LIMIT - 1) + [429]
    assert sign_in(Client()).status_code == 429


def test_an_administrator_unlocks_by_deleting_the_attempts(cast: Cast, client: Client) -> None:
    for _ in range(FAILURE_LIMIT):
        sign_in(Client(), password="wrong")
    client.force_login(cast.ada)
    listed = client.get("/admin/axes/accessattempt/").content.decode()
    assert "alice" in listed
    chosen = {"action": "delete_selected", "_selected_action": [AccessAttempt.objects.get().pk], "post": "yes"}
    assert client.post("/admin/axes/accessattempt/", chosen).status_code == 302
    assert sign_in(Client()).status_code == 302


def test_entered_passwords_are_never_stored(cast: Cast, client: Client) -> None:
    sign_in(client, password="my-secret-typo")
    attempt = AccessAttempt.objects.values().get()
    assert "my-secret-typo" not in str(attempt)


def test_a_name_longer_than_any_or_with_a_nul_is_just_wrong(cast: Cast, client: Client) -> None:
    for name in ("x" * 5000, "a\0b", "\N{SNOWMAN}"):
        assert sign_in(client, name, "wrong").status_code == 200
        assert client.post("/login/?x=%00", {"login": name, "password": "wrong"}).status_code == 200


# Passwords.


def test_passwords_are_hashed_with_argon2() -> None:
    hashers = signin_settings(environment.Config(), https=True)["PASSWORD_HASHERS"]
    with override_settings(PASSWORD_HASHERS=hashers):
        assert identify_hasher(make_password(PASSWORD)).algorithm == "argon2"


def test_sign_up_is_closed(cast: Cast, client: Client) -> None:
    for path in ("/signup/", "/account/signup/", "/login/signup/", "/login/passkey/signup/"):
        assert client.get(path, follow=True).status_code in (200, 404)
        assert client.post(path, {"username": "eve", "password1": PASSWORD}).status_code in (302, 404)
    assert not User.objects.filter(username="eve").exists()


def test_a_new_password_signs_one_out_everywhere_else(cast: Cast, client: Client) -> None:
    elsewhere = Client()
    sign_in(client)
    sign_in(elsewhere)
    key = client.session.session_key
    new = {"oldpassword": PASSWORD, "password1": "another long sentence", "password2": "another long sentence"}
    assert client.post("/account/password/", new)["Location"] == "/account/"
    assert is_in(client)
    assert client.session.session_key != key
    assert not is_in(elsewhere)
    assert AuditEntry.objects.filter(action="user.password", who="alice").count() == 1
    assert "another" not in str(list(AuditEntry.objects.values()))


def test_signing_in_begins_another_session(cast: Cast, client: Client) -> None:
    client.get("/login/")
    client.session["kept"] = True
    session = client.session
    session["before"] = "x"
    session.save()
    sign_in(client)
    assert client.session.session_key != session.session_key
    assert 0 < client.session.get_expiry_age() <= 8 * 3600


def test_a_forgotten_password_is_set_by_a_link_that_works_once(cast: Cast, client: Client) -> None:
    User.objects.filter(pk=cast.alice.pk).update(email="alice@example.org")
    assert client.post("/login/forgotten/", {"email": "Alice@example.org"}).status_code == 302
    assert mail.outbox == []
    send_reset_links()
    text = str(mail.outbox[0].body)
    link = re.search(rf"^{settings.PORTAL_URL}(/login/forgotten/\S+)", text, re.M)
    assert "testserver" not in text + mail.outbox[0].subject
    assert link
    form = client.get(link[1], follow=True)
    assert link[1] not in form.redirect_chain[-1][0]
    new = {"password1": "another long sentence", "password2": "another long sentence"}
    assert client.post(form.redirect_chain[-1][0], new)["Location"] == reverse("account_reset_password_from_key_done")
    assert not is_in(client)
    assert "already used or is too old" in Client().get(link[1], follow=True).content.decode()
    assert sign_in(client, password="another long sentence").status_code == 302


def test_addresses_are_not_disclosed_and_users_without_a_password_get_none(cast: Cast, client: Client) -> None:
    cast.bob.email = "bob@example.org"
    cast.bob.set_unusable_password()
    cast.bob.save()
    answers = {
        client.post("/login/forgotten/", {"email": f"{name}@example.org"})["Location"] for name in ("bob", "eve")
    }
    assert answers == {reverse("account_reset_password_done")}
    send_reset_links()
    assert mail.outbox == []
    assert not PasswordResetRequest.objects.exists()


# The second factor.


def test_with_an_app_the_password_alone_is_not_enough(cast: Cast, client: Client, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    assert sign_in(client)["Location"] == "/login/second-factor/"
    assert not is_in(client)
    assert client.get("/api/v1/airlines/").status_code == 401
    wrong = client.post("/login/second-factor/", {"code": "000000" if code(7) != "000000" else "111111"})
    assert "Wrong or used code" in wrong.content.decode()
    assert client.post("/login/second-factor/", {"code": code(7)}).status_code == 302
    assert is_in(client)


def test_a_code_of_the_app_counts_once(cast: Cast, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    answers = []
    for _ in range(2):
        client = Client()
        sign_in(client)
        client.post("/login/second-factor/", {"code": code(7)})
        answers.append(is_in(client))
    assert answers == [True, False]


def test_a_recovery_code_counts_once(cast: Cast, code: Callable[[int], str]) -> None:
    code(7)
    recovery = give_an_app(cast.alice).get_unused_codes()[0]
    answers = []
    for _ in range(2):
        client = Client()
        sign_in(client)
        client.post("/login/second-factor/", {"code": recovery})
        answers.append(is_in(client))
    assert answers == [True, False]


def test_codes_cannot_be_guessed_without_end(cast: Cast, client: Client, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    sign_in(client)
    for _ in range(5):
        client.post("/login/second-factor/", {"code": "no"})
    assert "Too many wrong codes" in client.post("/login/second-factor/", {"code": code(7)}).content.decode()
    assert not is_in(client)


def test_counts_of_attempts_outlast_many_others() -> None:
    cache.set("attempts-of-somebody", 5)
    for number in range(2_000):
        cache.set(f"attempts-{number}", 1)
    assert cache.get("attempts-of-somebody") == 5


def test_setting_up_and_removing_an_app_is_in_the_audit_log(
    cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch, code: Callable[[int], str]
) -> None:
    monkeypatch.setattr(totp, "generate_totp_secret", lambda: SECRET)
    sign_in(client)
    assert client.get("/account/app/")["Location"].startswith("/account/confirm/")
    client.post("/account/confirm/", {"password": PASSWORD})
    assert SECRET in client.get("/account/app/").content.decode()
    assert client.post("/account/app/", {"code": code(7)})["Location"] == "/account/codes/"
    codes = re.findall(r"<code>(\d{8})</code>", client.get("/account/codes/").content.decode())
    assert len(codes) == 10
    assert codes[0] in client.get("/account/codes/file/").content.decode()
    assert client.post("/account/app/remove/").status_code == 302
    assert not Authenticator.objects.exists()
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "who")) == [
        ("user.signed-in", "alice"),
        ("user.app.added", "alice"),
        ("user.app.removed", "alice"),
    ]
    assert SECRET not in str(list(AuditEntry.objects.values()))


def test_the_second_factor_of_another_user_is_neither_visible_nor_changeable(cast: Cast, client: Client) -> None:
    key = Authenticator.objects.create(user=cast.bob, type=Authenticator.Type.WEBAUTHN, data={"name": "bobs"})
    sign_in(client)
    client.post("/account/confirm/", {"password": PASSWORD})
    for action in ("", "remove/"):
        assert client.get(f"/account/passkeys/{key.pk}/{action}").status_code == 404
        assert client.post(f"/account/passkeys/{key.pk}/{action}", {"name": "mine"}).status_code == 404
    assert "bobs" not in client.get("/account/").content.decode()


def test_the_words_of_the_setting_are_the_roles_there_are() -> None:
    assert {*environment.SECOND_FACTOR_GROUPS} == {"staff", *Role.values}
    assert environment.parse_second_factor_groups("staff, manager") == ("staff", "manager")
    assert environment.parse_second_factor_groups("none") == ()
    with pytest.raises(ValueError, match="must be none, or some of staff"):
        environment.parse_second_factor_groups("staff,boss")


@pytest.mark.parametrize(
    ("setting", "demanded"),
    [
        ((), set()),
        (("staff",), {"olga", "ada"}),
        (("manager",), {"mona", "bruno"}),
        (("staff", "manager"), {"olga", "ada", "mona", "bruno"}),
        (("viewer",), {"alice", "bob"}),
        (("operator",), {"otto"}),
    ],
)
def test_a_second_factor_is_required_of_the_users_in_the_setting(
    cast: Cast, setting: tuple[str, ...], demanded: set[str]
) -> None:
    with override_settings(SECOND_FACTOR_FOR=setting):
        found = {user.username for user in User.objects.all() if second_factor.is_required(user)}
    assert found == demanded


@override_settings(SECOND_FACTOR_FOR=("viewer", "staff"))
def test_a_user_without_a_required_second_factor_can_only_set_one_up(
    cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch, code: Callable[[int], str]
) -> None:
    monkeypatch.setattr(totp, "generate_totp_secret", lambda: SECRET)
    sign_in(client)
    for path in (
        "/",
        "/airlines/ACME/",
        "/freshness/",
        "/admin/",
        "/metrics",
        "/account/password/",
        "/account/sessions/",
    ):
        assert client.get(path)["Location"] == "/account/", path
    assert "missing: required for your role" in client.get("/account/").content.decode()
    refused = client.get("/api/v1/airlines/")
    assert refused.status_code == 403
    assert refused["Content-Type"] == "application/problem+json"
    assert client.get("/healthz").status_code == 200
    client.post("/account/confirm/", {"password": PASSWORD})
    client.post("/account/app/", {"code": code(7)})
    assert client.get("/account/codes/").status_code == 200
    assert client.get("/airlines/ACME/").status_code == 200
    assert client.get("/api/v1/airlines/").status_code == 200
    refused = client.post("/account/app/remove/")
    assert "your only one" in refused.content.decode()
    assert Authenticator.objects.filter(type="totp").exists()


@override_settings(SECOND_FACTOR_FOR=("viewer",))
def test_a_session_from_before_the_second_factor_must_use_it(
    cast: Cast, client: Client, code: Callable[[int], str]
) -> None:
    sign_in(client)
    give_an_app(cast.alice)
    confirm = client.get("/airlines/ACME/")["Location"]
    assert confirm == "/account/confirm/code/?next=%2Fairlines%2FACME%2F"
    assert client.get("/account/app/").status_code == 302  # the password alone cannot set up another app either
    assert client.get("/account/").status_code == 302
    assert client.get("/api/v1/airlines/").status_code == 403
    assert client.post(confirm, {"code": code(7), "next": "/airlines/ACME/"})["Location"] == "/airlines/ACME/"
    assert client.get("/airlines/ACME/").status_code == 200


def test_an_operator_resets_a_lost_second_factor(cast: Cast, client: Client, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    give_an_app(cast.bob)
    sign_in(client)
    client.post("/login/second-factor/", {"code": code(7)})
    output = StringIO()
    call_command("reset_second_factor", "alice", stdout=output)
    assert output.getvalue() == "Removed: recovery_codes, totp. Sessions ended: 1.\n"
    assert not is_in(client)
    assert sign_in(client)["Location"] == "/"
    assert Authenticator.objects.filter(user=cast.bob).count() == 2
    assert AuditEntry.objects.filter(action="user.second-factor.reset", target="alice", via="command").exists()
    with pytest.raises(CommandError, match="User eve does not exist"):
        call_command("reset_second_factor", "eve")


def test_no_page_of_the_admin_shows_a_secret(cast: Cast, client: Client) -> None:
    codes = give_an_app(cast.alice)
    client.force_login(cast.ada)
    for row in Authenticator.objects.all():
        shown = client.get(f"/admin/mfa/authenticator/{row.pk}/change/")
        assert shown.status_code == 200
        assert SECRET not in shown.content.decode()
        assert str(codes.instance.data["seed"]) not in shown.content.decode()


# Sessions.


def test_a_user_ends_all_other_sessions(cast: Cast, client: Client) -> None:
    elsewhere = Client()
    sign_in(client, HTTP_USER_AGENT="Mine/1")
    sign_in(elsewhere, HTTP_USER_AGENT="<b>Other</b>/2")
    page = client.get("/account/sessions/").content.decode()
    assert "Mine/1" in page
    assert "&lt;b&gt;Other&lt;/b&gt;/2" in page
    confirm = client.post("/account/sessions/")["Location"]
    assert confirm.startswith("/account/confirm/")
    assert is_in(elsewhere)
    assert client.post(confirm, {"password": PASSWORD, "next": "/account/sessions/"})["Location"] == "/account/"
    assert is_in(client)
    assert not is_in(elsewhere)


def test_no_foreign_redirect_follows_a_sign_in(cast: Cast, client: Client) -> None:
    answer = client.post("/login/", {"login": "alice", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


def test_a_disabled_user_learns_so_only_with_the_right_password(cast: Cast, client: Client) -> None:
    User.objects.filter(pk=cast.alice.pk).update(is_active=False)
    assert "Wrong user name or password" in sign_in(client, password="wrong").content.decode()
    assert sign_in(client)["Location"] == "/login/disabled/"
    assert not is_in(client)
