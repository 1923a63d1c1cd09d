"""The first page of the admin, by task, and its System page: what each user sees, with how many statements."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Draft
from ifeportal.admin.base import StaffAdmin
from ifeportal.conf.authentication import FAILURE_LIMIT
from ifeportal.models import Airline, Job, User
from tests.conftest import Cast
from tests.ifeportal.admin.test_every_model import grow

pytestmark = pytest.mark.both_databases
STATEMENTS = 22  # of the first page, for a superuser


def sections(client: Client) -> dict[str, Any]:
    return {section.title: section for section in client.get("/admin/").context["sections"]}


def style_sheets(page: str) -> list[str]:
    return re.findall(r'rel="stylesheet" href="([^"]+)"', page)


def counts(section: Any) -> dict[str, int]:
    return {count.label: count.number for count in section.counts}


def lock_out(name: str) -> AccessAttempt:
    row: AccessAttempt = AccessAttempt.objects.create(
        username=name, ip_address="192.0.2.0", user_agent="", failures_since_start=FAILURE_LIMIT, path_info="/login/"
    )
    return row


@pytest.mark.parametrize("user", ["ada", "mona"])
def test_the_first_page_takes_the_same_statements_for_3_rows_and_20(cast: Cast, client: Client, user: str) -> None:
    client.force_login(getattr(cast, user))
    found = []
    for numbers in (range(3), range(3, 20)):
        grow(cast, numbers)
        Job.objects.update(failures=1, error="x")
        for n in numbers[:5]:
            lock_out(f"user{n}")
        client.get("/admin/")
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/admin/").status_code == 200
        found.append(len(queries))
    assert found[0] == found[1] <= STATEMENTS, [query["sql"] for query in queries]


def test_a_superuser_has_every_task(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    assert list(sections(client)) == ["Campaigns in work", "People", "Airlines", "Jobs and health"]


def test_a_manager_has_the_campaigns_and_airlines_they_manage(cast: Cast, client: Client) -> None:
    for airline in (cast.acme, cast.beta):
        Draft.objects.create(airline=airline, name="2026-12")
    client.force_login(cast.mona)
    found = sections(client)
    assert list(found) == ["Campaigns in work", "Airlines"]
    assert [entry.title for entry in found["Campaigns in work"].entries] == ["ACME/2026-12"]
    assert [entry.title for entry in found["Airlines"].entries] == ["ACME"]
    assert "BETA" not in client.get("/admin/").content.decode()
    page = client.get("/admin/system/")
    assert page.context["groups"] == []
    assert [link.title for link in page.context["admin_links"]] == ["Overview", "Campaigns"]


def test_staff_see_the_tasks_that_their_permissions_name(cast: Cast, client: Client) -> None:
    client.force_login(cast.olga)
    page = client.get("/admin/")
    assert page.context["sections"] == []
    assert "Ask a superuser" in page.content.decode()
    cast.olga.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert list(sections(client)) == ["Jobs and health"]


@override_settings(SECOND_FACTOR_FOR=["manager"])
def test_people_who_need_something_are_counted_and_their_lists_show_the_same(cast: Cast, client: Client) -> None:
    lock_out("alice")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=5))
    client.force_login(cast.ada)
    section = sections(client)["People"]
    assert counts(section) == {
        "Users": 8,
        "Without an airline": 1,
        "Without a required second factor": 2,
        "Never signed in": 7,
    }
    assert [(entry.title, entry.state) for entry in section.entries][:2] == [
        ("alice", "Locked out"),
        ("nick", "No airline"),
    ]
    for count in section.counts:
        assert len(client.get(count.address).context["cl"].result_list) == count.number
    locked = client.get(reverse("admin:axes_accessattempt_changelist"), {"state": "locked"})
    assert [row.username for row in locked.context["cl"].result_list] == ["alice"]


def test_empty_sections_say_what_that_means(cast: Cast, client: Client) -> None:
    Airline.objects.all().delete()
    User.objects.exclude(pk=cast.ada.pk).delete()
    client.force_login(cast.ada)
    text = client.get("/admin/").content.decode()
    for sentence in ("No campaign is in work.", "All users are set up", "There are no airlines yet"):
        assert sentence in text


def test_a_failing_job_is_named_with_its_error(cast: Cast, client: Client) -> None:
    Job.objects.create(name="poll:ACME", due_at=timezone.now(), failures=3, error="status bucket: <b>TIMEOUT</b>")
    client.force_login(cast.ada)
    section = sections(client)["Jobs and health"]
    assert [entry.title for entry in section.entries] == ["Pacemaker", "poll:ACME"]
    assert counts(section)["Failing"] == 1
    assert "&lt;b&gt;TIMEOUT" in client.get("/admin/").content.decode()


def test_every_list_without_a_task_is_on_the_system_page_with_a_sentence(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    page = client.get("/admin/system/")
    listed = {model.address for group in page.context["groups"] for model in group.models}
    expected = {
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model, its in admin.site._registry.items()
        if isinstance(its, StaffAdmin) and not its.task
    }
    assert listed == expected
    assert all(group.about for group in page.context["groups"])


def test_every_list_explains_its_rows_and_its_empty_state() -> None:
    silent = [
        str(model._meta.label)
        for model, its in admin.site._registry.items()
        if isinstance(its, StaffAdmin) and not (its.about and its.empty)
    ]
    assert silent == []


@pytest.mark.parametrize("path", ["/admin/", "/admin/system/", "/admin/ifeportal/user/", "/admin/ifeportal/user/add/"])
def test_the_theme_of_the_portal_is_that_of_the_admin(cast: Cast, client: Client, path: str) -> None:
    client.force_login(cast.ada)
    client.cookies["theme"] = "dark"
    page = client.get(path).content.decode()
    assert 'data-theme="dark"' in page
    assert style_sheets(page)[0] == style_sheets(client.get("/").content.decode())[0]  # of the tokens
    assert not any("/admin/css/" in sheet for sheet in style_sheets(page))
    assert "<style" not in page
    assert " style=" not in page


def test_managers_find_the_admin_in_the_navigation_of_the_portal(cast: Cast, client: Client) -> None:
    for user, expected in ((cast.mona, True), (cast.olga, True), (cast.alice, False), (cast.nick, False)):
        client.force_login(user)
        assert ('href="/admin/"' in client.get("/").content.decode()) is expected, user
