"""The list of jobs in the admin: states, filters, and the action to run jobs now."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from ifeportal.jobs.leases import lease
from ifeportal.models import CLOCK_JUMP, PACEMAKER, Job
from tests.conftest import Cast

PAGE = "/admin/ifeportal/job/"


@pytest.fixture
def jobs(db: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """Create one job in each state, independent of the speed of the machine."""
    monkeypatch.setattr("ifeportal.models.LATE_AFTER", timedelta(minutes=30))
    now = timezone.now()
    hour = timedelta(hours=1)
    shared = {"started_at": now - hour, "finished_at": now - hour + timedelta(seconds=1.5), "succeeded_at": now}
    rows = {
        "waiting": Job(name="poll:WAITS", due_at=now + hour, **shared),
        "due": Job(name="poll:DUE", due_at=now, **shared),
        "late": Job(name="poll:LATE", due_at=now - hour, **shared),
        "running": Job(name="poll:RUNS", due_at=now - hour, lease_until=now + CLOCK_JUMP, holder="host:7:x"),
        "failing": Job(name="discover", due_at=now + hour, failures=3, error="status bucket: <b>TIMEOUT</b>"),
    }
    return {state: Job.objects.create(**_fields(row)) for state, row in rows.items()}


def _fields(row: Job) -> dict[str, object]:
    return {field.attname: getattr(row, field.attname) for field in Job._meta.fields if field.attname != "id"}


def listed(answer: Any) -> set[str]:
    return {job.name for job in answer.context["cl"].result_list}


def test_every_job_is_there_with_its_state_and_what_went_wrong(
    cast: Cast, client: Client, jobs: dict[str, Job]
) -> None:
    client.force_login(cast.ada)
    answer = client.get(PAGE)
    page = answer.content.decode()
    now = timezone.now()
    for state, row in jobs.items():
        assert row.state(now) == state
        assert re.search(rf'class="field-how"><span class="state" data-state="\w+">{state}</span></td>', page)
        assert row.name in page
    assert "3: status bucket: &lt;b&gt;TIMEOUT" in page
    assert "1.50\N{NO-BREAK SPACE}s" in page
    assert "<strong>Late: 1.</strong>" in page
    assert "<strong>Failing: 1.</strong>" in page
    assert "No pacemaker is running" in page
    with lease(PACEMAKER):
        assert "A pacemaker is running." in client.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=late", {"poll:LATE"}),
        ("state=failing", {"discover"}),
        ("state=running", {"poll:RUNS"}),
        ("kind=discover", {"discover"}),
        ("kind=poll", {"poll:WAITS", "poll:DUE", "poll:LATE", "poll:RUNS"}),
        ("q=TIMEOUT", {"discover"}),
        ("q=host:7", {"poll:RUNS"}),
    ],
)
def test_jobs_are_found_by_state_kind_and_text(
    cast: Cast, client: Client, jobs: dict[str, Job], query: str, names: set[str]
) -> None:
    client.force_login(cast.ada)
    assert listed(client.get(f"{PAGE}?{query}")) == names


@pytest.mark.parametrize("column", range(1, 9))
def test_every_column_that_orders_does(cast: Cast, client: Client, jobs: dict[str, Job], column: int) -> None:
    client.force_login(cast.ada)
    for sign in ("", "-"):
        assert len(listed(client.get(f"{PAGE}?o={sign}{column}"))) == len(jobs)


def test_the_empty_page_explains_how_jobs_are_created(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    assert "A running pacemaker creates one job" in client.get(PAGE).content.decode()


def run_now(client: Client, *jobs: Job) -> str:
    form = {"action": "run_now", "_selected_action": [job.pk for job in jobs]}
    return client.post(PAGE, form, follow=True).content.decode()


def test_a_job_can_be_made_due_unless_it_runs_already(cast: Cast, client: Client, jobs: dict[str, Job]) -> None:
    client.force_login(cast.ada)
    message = run_now(client, jobs["waiting"], jobs["failing"], jobs["running"])
    assert "Made due now: 2. Already running, or not runnable: 1." in message
    now = timezone.now()
    assert set(Job.objects.due(now).values_list("name", flat=True)) >= {"poll:WAITS", "discover"}
    before = jobs["running"].due_at
    assert Job.objects.get(name="poll:RUNS").due_at == before
    assert set(LogEntry.objects.values_list("object_repr", flat=True)) == {"poll:WAITS", "discover"}


@pytest.mark.parametrize("permission", ["view_job", "change_job"])
def test_staff_need_the_right_to_change_jobs_to_have_one_run(
    cast: Cast, client: Client, jobs: dict[str, Job], permission: str
) -> None:
    cast.olga.user_permissions.add(
        *Permission.objects.filter(codename__in={"view_job", permission}, content_type__app_label="ifeportal")
    )
    client.force_login(cast.olga)
    page = client.get(PAGE)
    assert page.status_code == 200
    may = permission == "change_job"
    assert (b"Run now" in page.content) is may
    run_now(client, jobs["waiting"])
    assert (Job.objects.get(name="poll:WAITS").due_at <= timezone.now()) is may


def test_other_users_cannot_see_the_page(cast: Cast, client: Client, jobs: dict[str, Job]) -> None:
    client.force_login(cast.alice)
    assert client.get(PAGE).status_code == 302
    client.force_login(cast.olga)
    assert client.get(PAGE).status_code == 403
