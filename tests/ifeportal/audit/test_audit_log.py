"""The audit log: recorded changes, permissions to read it, search, and that entries cannot change."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Group, Permission
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse

from ifeportal import audit
from ifeportal.admin.base import AuditedAdmin, StaffAdmin
from ifeportal.models import Airline, AuditEntry, Job, Membership, User
from tests.conftest import PASSWORD, Cast

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOSTILE = "=cmd()<script>alert(1)</script>"


@pytest.fixture
def ada(cast: Cast, client: Client) -> Client:
    client.force_login(cast.ada)
    return client


def entry(airline: Airline | None, who: str = "otto", **more: Any) -> AuditEntry:
    given = {"at": NOON, "action": "tail.duty", "target": "N1", "via": "page", "whose": airline.name if airline else ""}
    return AuditEntry.objects.create(**(given | {"airline": airline, "who": who} | more))


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


# Recorded changes.


@pytest.mark.parametrize(
    ("behind_proxy", "headers", "address"),
    [
        (False, {}, "192.0.2.1"),
        (False, {"X-Forwarded-For": "198.51.100.7"}, "192.0.2.1"),
        (True, {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}, "198.51.100.7"),
        (True, {"X-Forwarded-For": "fe80::1%eth0"}, "fe80::1"),
        (True, {"X-Forwarded-For": "198.51.100.9:50123"}, "198.51.100.9"),
        (True, {"X-Forwarded-For": "no address"}, "192.0.2.1"),
        (True, {}, "192.0.2.1"),
    ],
)
def test_the_address_is_what_our_own_proxy_saw(
    cast: Cast, behind_proxy: bool, headers: dict[str, str], address: str | None
) -> None:
    request = RequestFactory(headers=headers).post("/x/", REMOTE_ADDR="192.0.2.1")
    request.user = cast.otto
    with override_settings(BEHIND_PROXY=behind_proxy):
        actor = audit.Actor.of(request)
    audit.record(actor, "x", "a\0b", airline=cast.acme, changes={"n": (None, True), "t": ("a\0", b"123")})
    made = AuditEntry.objects.get()
    assert (made.who, made.whose, made.target, made.address, made.via) == ("otto", "ACME", "ab", address, "page")
    assert made.changes == {"n": [None, True], "t": ["a", "(3 bytes)"]}


@pytest.mark.parametrize(("path", "via"), [("/admin/x/", "admin"), ("/api/v1/x/", "api"), ("/administration/", "page")])
def test_the_path_determines_via(path: str, via: str) -> None:
    assert audit.via(path) == via


def test_commands_and_jobs_change_things_without_a_request(cast: Cast) -> None:
    for actor in (audit.Actor.command(), audit.Actor.job(None), audit.Actor.job(cast.mona)):
        audit.record(actor, "x", "y", airline=cast.acme)
    made = AuditEntry.objects.order_by("pk").values_list("user", "who", "via", "address")
    assert list(made) == [
        (None, "", "command", None),
        (None, "", "job", None),
        (cast.mona.pk, "mona", "job", None),
    ]


def test_an_entry_outlives_its_subject(cast: Cast) -> None:
    preserved = entry(cast.beta, user=cast.nick, who="nick")
    cast.nick.delete()
    cast.beta.delete()
    preserved.refresh_from_db()
    assert (preserved.user, preserved.who, preserved.airline, preserved.whose) == (None, "nick", None, "BETA")


# Changes in the admin.


def test_every_admin_is_audited_and_none_goes_round_it() -> None:
    methods = ("log_addition", "log_change", "log_deletions", "construct_change_message", "response_action")
    for model, its in admin.site._registry.items():
        assert isinstance(its, StaffAdmin), model
        for name in methods:
            assert getattr(type(its), name) is getattr(AuditedAdmin, name), f"{model}: {name}"
        for name in ("log_deletion",):
            assert getattr(type(its), name, None) is getattr(ModelAdmin, name, None), f"{model}: {name}"


def user_form(**more: str) -> dict[str, str]:
    management = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL", "MIN_NUM")}
    return {"username": "nell", "date_joined_0": "2026-11-20", "date_joined_1": "12:00:00", **management, **more}


def test_adding_changing_and_deleting_a_user_logs_no_password(cast: Cast, ada: Client) -> None:
    secrets = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert ada.post("/admin/ifeportal/user/add/", user_form(**secrets)).status_code == 302
    nell = User.objects.get(username="nell")
    member = {"memberships-TOTAL_FORMS": "1", "memberships-0-airline": str(cast.acme.pk)}
    member |= {"memberships-0-user": str(nell.pk), "memberships-0-role": "operator"}
    page = f"/admin/ifeportal/user/{nell.pk}/"
    assert ada.post(f"{page}change/", user_form(email="n@example.org", is_active="on", **member)).status_code == 302
    assert ada.post(f"{page}password/", secrets).status_code == 302
    assert ada.post(f"{page}delete/", {"post": "yes"}).status_code == 302
    assert actions() == ["user.added", "user.changed", "membership.added", "user.changed", "user.deleted"]
    logged = json.dumps(list(AuditEntry.objects.values("changes", "target")))
    assert PASSWORD not in logged
    assert "md5$" not in logged
    membership = AuditEntry.objects.get(action="membership.added")
    assert (membership.airline, membership.changes["role"][1]) == (cast.acme, "operator")
    assert AuditEntry.objects.get(action="user.changed", changes__has_key="email").changes["email"] == [
        "",
        "n@example.org",
    ]


def test_a_role_is_changed_with_before_and_after(cast: Cast, ada: Client) -> None:
    row = Membership.objects.get(user=cast.alice)
    form = {"user": row.user_id, "airline": row.airline_id, "role": "manager"}
    assert ada.post(f"/admin/ifeportal/membership/{row.pk}/change/", form).status_code == 302
    made = AuditEntry.objects.get()
    assert (made.action, made.target, made.airline) == ("membership.changed", "alice of ACME", cast.acme)
    assert made.changes == {"role": ["viewer", "manager"]}
    assert (made.who, made.via) == ("ada", "admin")


def test_the_admins_of_other_packages_and_actions_are_audited_too(cast: Cast, ada: Client) -> None:
    may = Permission.objects.get(codename="view_tail")
    assert ada.post("/admin/auth/group/add/", {"name": "night shift", "permissions": [may.pk]}).status_code == 302
    group = Group.objects.get()
    chosen = {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"}
    assert ada.post("/admin/auth/group/", chosen).status_code == 302
    Job.objects.create(name="discover", due_at=NOON)
    chosen = {"action": "run_now", "_selected_action": [Job.objects.get().pk]}
    assert ada.post("/admin/ifeportal/job/", chosen).status_code == 302
    assert actions() == ["group.added", "group.deleted", "job.run-now"]
    assert AuditEntry.objects.get(action="group.added").changes["permissions"][1] == str(may)


def test_an_airline_is_set_up_in_the_admin(cast: Cast, ada: Client) -> None:
    form = {"title": "Acme", "stalled_after_minutes": 5, "silent_after_hours": 24, "risk_before_hours": 48}
    page = f"/admin/ifeportal/airline/{cast.acme.pk}/change/"
    assert ada.post(page, form | {"colour": "#AA2200"}).status_code == 302
    made = AuditEntry.objects.get()
    assert made.airline == cast.acme
    assert made.changes == {"title": ["", "Acme"], "stalled_after_minutes": [10, 5], "colour": ["", "#aa2200"]}


def test_signing_in_and_out_is_logged(cast: Cast, client: Client) -> None:
    for out in ("/logout/", "/admin/logout/"):
        client.post("/login/", {"login": "mona", "password": PASSWORD})
        assert client.get("/").status_code == 200
        client.post(out)
        assert client.get("/").status_code == 302
    assert actions() == ["user.signed-in", "user.signed-out"] * 2
    assert set(AuditEntry.objects.values_list("who", flat=True)) == {"mona"}


# Reading the log.


def test_managers_read_of_their_airline_and_staff_of_everything(cast: Cast, client: Client) -> None:
    entry(cast.acme, target="acme-thing")
    entry(cast.beta, target="beta-thing")
    entry(None, target="portal-thing")
    client.force_login(cast.mona)
    page = client.get("/airlines/ACME/audit/").content.decode()
    assert ("acme-thing" in page, "beta-thing" in page, "portal-thing" in page) == (True, False, False)
    client.force_login(cast.olga)
    page = client.get("/audit/").content.decode()
    assert all(f"{name}-thing" in page for name in ("acme", "beta", "portal"))


@pytest.mark.parametrize(
    ("via", "who", "shown"),
    [
        ("page", "otto", "otto"),
        ("page", "", "unknown"),
        ("command", "", "command line"),
        ("job", "mona", "mona"),
        ("job", "", "portal"),
    ],
)
def test_the_log_records_the_user_and_the_channel(cast: Cast, client: Client, via: str, who: str, shown: str) -> None:
    entry(cast.acme, who, via=via)
    client.force_login(cast.mona)
    page = client.get("/airlines/ACME/audit/").content.decode()
    assert f'<td role="cell">{shown}</td>' in page
    assert f'<td role="cell" class="muted">{via}</td>' in page
    [row] = json.loads(b"".join(client.get("/airlines/ACME/audit/?export=json")))["rows"]
    assert (row["who"], row["via"]) == (who, via)
    [logged] = client.get(f"/api/v1/audit/?via={via}").json()["results"]
    assert (logged["who"], logged["via"]) == (who, via)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["c", "b", "a"]),
        ("?sort=-age", ["a", "b", "c"]),
        ("?sort=who", ["b", "c", "a"]),
        ("?who=OTT", ["a"]),
        ("?action=campaign.published", ["b"]),
        ("?q=A321", ["c"]),
        ("?q=%00", ["c", "b", "a"]),
        ("?since=2026-11-21", ["c", "b"]),
        ("?until=2026-11-20", ["a"]),
        ("?since=2026-11-21&until=2026-11-21", ["b"]),
        ("?since=never&until=9999-12-31&page=x&sort=y", ["c", "b", "a"]),
    ],
)
def test_the_log_is_searched_and_ordered_by_its_address(
    cast: Cast, client: Client, query: str, found: list[str]
) -> None:
    entry(cast.acme, "otto", target="a")
    entry(cast.acme, "anna", target="b", at=NOON.replace(day=21), action="campaign.published")
    entry(cast.acme, "mona", target="c", at=NOON.replace(day=22), changes={"type": ["", "A321neo"]})
    client.force_login(cast.mona)
    answer = client.get(f"/airlines/ACME/audit/{query}")
    assert [row.target for row in answer.context["page"]] == found
    export = client.get(f"/airlines/ACME/audit/{query or '?'}&export=json")
    assert [row["target"] for row in json.loads(b"".join(export))["rows"]] == found


def test_hostile_text_is_inert_on_the_page_and_in_a_spreadsheet(cast: Cast, client: Client) -> None:
    entry(cast.acme, HOSTILE, target=HOSTILE, changes={HOSTILE: [HOSTILE, HOSTILE]})
    client.force_login(cast.mona)
    assert "<script>alert" not in client.get("/airlines/ACME/audit/").content.decode()
    text = b"".join(client.get("/airlines/ACME/audit/?export=csv")).decode("utf-8-sig")
    row = next(iter(csv.DictReader(StringIO(text))))
    assert row["who"].startswith("'=")
    assert row["target"].startswith("'=")


def test_an_entry_cannot_be_changed(cast: Cast, ada: Client) -> None:
    preserved = entry(cast.acme)
    assert ada.get(reverse("admin:ifeportal_auditentry_change", args=[preserved.pk])).status_code == 200
    assert ada.get("/admin/ifeportal/auditentry/add/").status_code == 403
    assert ada.post(f"/admin/ifeportal/auditentry/{preserved.pk}/change/", {"who": "x"}).status_code == 403
    assert ada.post(f"/admin/ifeportal/auditentry/{preserved.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [preserved.pk], "post": "yes"}
    ada.post("/admin/ifeportal/auditentry/", chosen)
    assert AuditEntry.objects.get().who == "otto"
