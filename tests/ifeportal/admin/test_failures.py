"""Failed messages to workers: shown without secrets, deleted by people, and deleted when they are old."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import Failure, Task

from ifeportal.jobs import broker
from loader.s3.auth.redaction import redact
from tests.conftest import Cast

PAGE = "/admin/django_q/failure/"


def fail(stopped: datetime, result: str = "TimeoutError") -> str:
    row = Task.objects.create(
        id=uuid4().hex,
        name="wake",
        func="ifeportal.jobs.runner.run_due_jobs",
        started=stopped,
        stopped=stopped,
        success=False,
        result=result,
    )
    return str(row.pk)


def test_failures_are_listed_with_their_error_and_can_be_deleted(cast: Cast, client: Client) -> None:
    redact.keep("hunter2-hunter2")
    row = fail(timezone.now(), "OSError: password hunter2-hunter2 was <b>refused</b>")
    client.force_login(cast.ada)
    for path in (PAGE, f"{PAGE}{row}/change/"):
        text = client.get(path).content.decode()
        assert "&lt;b&gt;refused" in text
        assert "hunter2" not in text
    assert client.post(f"{PAGE}{row}/change/", {"name": "x"}).status_code == 403
    assert client.post(f"{PAGE}{row}/delete/", {"post": "yes"}).status_code == 302
    assert not Failure.objects.exists()


def test_no_action_reruns_a_message(cast: Cast, client: Client) -> None:
    fail(timezone.now())
    client.force_login(cast.ada)
    assert [name for name, _ in client.get(PAGE).context["action_form"].fields["action"].choices] == [
        "",
        "delete_selected",
    ]


def test_the_empty_list_explains_itself(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    assert "No message to a worker failed in the last 30 days." in client.get(PAGE).content.decode()


@pytest.mark.both_databases
def test_old_failures_and_all_but_the_newest_are_deleted(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    for age in (
        broker.FAILURES_KEPT_FOR + timedelta(seconds=1),
        timedelta(days=3),
        timedelta(days=2),
        timedelta(days=1),
    ):
        fail(now - age)
    assert broker.delete_old_failures(now) == 1
    assert broker.delete_old_failures(now) == 0
    monkeypatch.setattr(broker, "FAILURES_KEPT", 2)
    assert broker.delete_old_failures(now) == 1
    assert [now - row.stopped for row in Failure.objects.order_by("stopped")] == [timedelta(days=2), timedelta(days=1)]
