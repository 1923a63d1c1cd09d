"""Large exports: offered on a page, written by a job as their user, downloaded, cancelled, and deleted in time."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from ifeportal.access import Role
from ifeportal.exports import responses, views, writing
from ifeportal.exports.access import access_of, still_has_access
from ifeportal.exports.jobs import EXPORTS_JOB, write_exports
from ifeportal.exports.models import LIFETIME, Export, ExportPart, ExportState
from ifeportal.exports.responses import signed_address
from ifeportal.models import AuditEntry, Job, Membership
from ifeportal.work_lease import NO_LEASE, LeaseLost
from tests.conftest import Cast
from tests.ifeportal.access.test_every_address import create_world
from tests.support.html import sent_text

pytestmark = pytest.mark.both_databases

ROWS = 30
EXPORTING = {
    "/": ("airlines", "strays"),
    "/attention/": ("",),
    "/audit/": ("",),
    "/moved/": ("",),
    "/airlines/ACME/": ("tails", "loads", "campaigns", "anomalies"),
    "/airlines/ACME/moved/": ("",),
    "/airlines/ACME/audit/": ("",),
    "/airlines/ACME/tails/{tail}/": ("items", "loads", "events"),
    "/airlines/ACME/tails/{tail}/rate/": ("",),
    "/airlines/ACME/campaigns/{campaign}/": ("loads", "cells", "manifest"),
    "/airlines/ACME/campaigns/{campaign}/readiness/": ("",),
}


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "DIRECT_ROWS", 5)


def entries(cast: Cast) -> None:
    rows = [
        AuditEntry(
            at=timezone.now(), who="mona", airline=cast.acme, action="x", target=f"tail {n}: {'y' * 200}", via="page"
        )
        for n in range(ROWS)
    ]
    AuditEntry.objects.bulk_create(rows)


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address_in(page: str) -> str:
    found = re.search(r'name="address" value="([^"]+)"', page)
    assert found, page[:500]
    return html.unescape(found[1])


def request_file(client: Client, path: str = "/airlines/ACME/audit/", **query: str) -> Any:
    offer = client.get(path, {"export": "csv", **query})
    assert offer.status_code == 200
    return client.post("/exports/", {"address": address_in(offer.content.decode())}, follow=True)


def written(client: Client, **query: str) -> Export:
    request_file(client, **query)
    write_exports()
    return Export.objects.latest("pk")


def test_a_large_table_is_offered_and_a_small_one_sent_at_once(cast: Cast) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    offer = client.get("/airlines/ACME/audit/?export=csv")
    assert "more than 5 rows" in offer.content.decode()
    assert not Export.objects.exists(), "opening a page changes nothing"
    small = client.get("/airlines/ACME/audit/?export=csv&q=tail 7")
    assert small.headers["Content-Disposition"].startswith("attachment")
    assert "tail 7:" in sent_text(small)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_file_of_the_job_is_the_one_the_page_would_send(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    monkeypatch.setattr(writing, "PART_SIZE", 1_000)
    monkeypatch.setattr("ifeportal.tables.export.CHUNK_SIZE", 4)
    row = written(client, export=kind, q="tail")
    assert (row.state, row.rows, row.total) == (ExportState.READY, ROWS, ROWS)
    assert row.parts.count() > 3
    file = client.get(f"/exports/{row.pk}/file/")
    body = b"".join(file)
    assert int(file.headers["Content-Length"]) == len(body) == row.size
    assert file.headers["Content-Disposition"] == f'attachment; filename="{row.name}"'
    assert "no-store" in file.headers["Cache-Control"]
    monkeypatch.setattr(responses, "DIRECT_ROWS", 1_000)
    sent = sent_text(client.get(f"/airlines/ACME/audit/?export={kind}&q=tail"))
    without_time = re.compile(r'"as_of": "[^"]+"')
    assert without_time.sub("", body.decode("utf-8-sig")) == without_time.sub("", sent)


def test_every_table_of_every_page_can_be_written_by_the_job(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = create_world()
    client = world.client("ada")
    monkeypatch.setattr(views, "STORED_PER_USER", 100)
    monkeypatch.setattr(responses, "DIRECT_ROWS", -1)  # `_small` finds no table small enough
    monkeypatch.setattr(responses, "_small", lambda table: None)
    for page, tables in EXPORTING.items():
        path = page.format(tail=world.acme.tail.name, campaign=world.acme.campaign.name)
        for table in tables:
            request_file(client, path, **({"table": table} if table else {}))
            write_exports()
            row = Export.objects.latest("pk")
            assert row.state == ExportState.READY, (path, table, row.error)
            assert row.size > 0


def test_the_page_shows_progress_and_the_job_is_due_at_once(cast: Cast) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    write_exports()
    later = timezone.now() + timedelta(hours=1)
    Job.objects.filter(name=EXPORTS_JOB).update(due_at=later)
    page = request_file(client)
    assert "is being prepared" in page.content.decode()
    assert "data-unfinished" in page.content.decode()
    Export.objects.update(state=ExportState.WRITING, rows=1_500, total=90_000)
    assert "1,500 of 90,000 rows" in client.get("/exports/").content.decode()
    Export.objects.update(state=ExportState.READY, finished_at=Now(), access={"all": True})
    page = client.get("/exports/")
    assert "Download" in page.content.decode()
    assert "data-unfinished" not in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_request_makes_the_job_due(cast: Cast) -> None:
    entries(cast)
    write_exports()
    Job.objects.filter(name=EXPORTS_JOB).update(due_at=timezone.now() + timedelta(hours=1))
    request_file(signed_in(cast.mona))
    assert Job.objects.get(name=EXPORTS_JOB).due_at <= timezone.now()


def test_other_users_cannot_see_download_or_delete_a_file(cast: Cast) -> None:
    entries(cast)
    row = written(signed_in(cast.mona))
    for other in (cast.otto, cast.bob, cast.olga, cast.ada):
        client = signed_in(other)
        assert row.name not in client.get("/exports/").content.decode()
        assert client.get(f"/exports/{row.pk}/file/").status_code == 404
        assert client.post(f"/exports/{row.pk}/delete/").status_code == 404
    assert Export.objects.get().state == ExportState.READY


def test_an_address_that_was_not_offered_to_this_user_is_refused(cast: Cast, rf: Any) -> None:
    entries(cast)
    offered = address_in(signed_in(cast.mona).get("/airlines/ACME/audit/?export=csv").content.decode())
    for address in (offered, offered[:-3] + "abc", "", "/airlines/ACME/audit/"):
        page = signed_in(cast.ada).post("/exports/", {"address": address}, follow=True)
        assert "This form is outdated" in page.content.decode()
    assert not Export.objects.exists()


@pytest.mark.parametrize("lost", ["membership", "role", "user"])
def test_a_user_who_loses_a_right_gets_neither_the_file_nor_a_new_one(cast: Cast, lost: str) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    first = written(client)
    request_file(client)
    if lost == "membership":
        Membership.objects.filter(user=cast.mona).delete()
    elif lost == "role":
        Membership.objects.filter(user=cast.mona).update(role=Role.OPERATOR)
    else:
        cast.mona.is_active = False
        cast.mona.save()
    assert client.get(f"/exports/{first.pk}/file/").status_code in (302, 404)
    write_exports()
    second = Export.objects.latest("pk")
    assert (second.state, second.error) == (ExportState.FAILED, writing.NO_ACCESS)


def test_rights_are_compared_airline_by_airline(cast: Cast) -> None:
    as_manager, as_staff = access_of(cast.mona), access_of(cast.ada)
    assert still_has_access(as_manager, cast.mona)
    assert still_has_access(as_manager, cast.ada)
    assert not still_has_access(as_staff, cast.mona)
    assert not still_has_access(as_manager, cast.alice)
    assert not still_has_access(as_manager, cast.bob)
    Membership.objects.create(user=cast.mona, airline=cast.beta, role=Role.VIEWER)
    assert still_has_access(as_manager, cast.mona)
    assert not still_has_access(access_of(cast.mona), cast.bruno)


def test_a_user_has_so_many_unfinished_and_so_many_stored_files(cast: Cast) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    for _ in range(views.UNFINISHED_PER_USER):
        request_file(client)
    assert "not finished yet" in request_file(client).content.decode()
    assert Export.objects.count() == views.UNFINISHED_PER_USER
    Export.objects.update(state=ExportState.READY)
    ready = [Export(user=cast.mona, path="/", name="x.csv", state=ExportState.READY) for _ in range(8)]
    Export.objects.bulk_create(ready)
    assert "Delete one first" in request_file(client).content.decode()
    client.post(f"/exports/{Export.objects.latest('pk').pk}/delete/")
    assert "is being prepared" in request_file(client).content.decode()


class Lease:
    """A lease that calls a function at each check."""

    def __init__(self, check: Any) -> None:
        self._check = check

    def heartbeat(self) -> None:
        pass

    def check_fence(self) -> None:
        self._check()


def test_a_file_that_is_cancelled_while_it_is_written_leaves_nothing(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    request_file(client)
    row = Export.objects.get()
    monkeypatch.setattr(writing, "PART_SIZE", 1_000)
    monkeypatch.setattr("ifeportal.tables.export.CHUNK_SIZE", 4)
    parts = writing._parts

    def cancel_after_the_first(response: Any) -> Iterator[bytes]:
        for number, part in enumerate(parts(response)):
            if number == 1:
                assert ExportPart.objects.count() == 1
                client.post(f"/exports/{row.pk}/delete/")
            yield part

    monkeypatch.setattr(writing, "_parts", cancel_after_the_first)
    assert writing.write_next(NO_LEASE)
    assert not Export.objects.exists()
    assert not ExportPart.objects.exists()


@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [
        ("FILE_LIMIT", 1_000, writing.TOO_LARGE),
        ("SPACE_LIMIT", 10, writing.NO_SPACE),
        ("TIME_LIMIT", -1.0, writing.TOO_SLOW),
    ],
)
def test_a_file_beyond_a_limit_fails_with_a_sentence_and_takes_no_space(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, sentence: str
) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    monkeypatch.setattr(writing, limit, value)
    row = written(client)
    assert (row.state, row.error, row.stored_size) == (ExportState.FAILED, sentence, 0)
    assert not ExportPart.objects.exists()
    assert html.escape(sentence) in client.get("/exports/").content.decode()
    assert client.get(f"/exports/{row.pk}/file/").status_code == 404


def test_a_worker_that_dies_is_followed_by_another_but_not_for_ever(cast: Cast) -> None:
    entries(cast)
    request_file(signed_in(cast.mona))

    def die() -> None:
        raise LeaseLost("another worker took over")

    for _ in range(3):
        with pytest.raises(LeaseLost):
            writing.write_next(Lease(die))
        assert Export.objects.get().state == ExportState.WRITING
        assert not writing.write_next(NO_LEASE), "it waits before the next attempt"
        Export.objects.update(next_try_at=None)
    assert writing.write_next(NO_LEASE)
    assert (Export.objects.get().state, Export.objects.get().error) == (ExportState.FAILED, writing.GAVE_UP)


def test_an_attempt_begins_with_an_empty_file(cast: Cast) -> None:
    entries(cast)
    request_file(signed_in(cast.mona))
    row = Export.objects.get()
    row.add_part(7, b"of an earlier attempt", 1, None)
    assert writing.write_next(NO_LEASE)
    row.refresh_from_db()
    assert row.state == ExportState.READY
    assert row.size == sum(len(part.text) for part in row.parts.all())
    assert list(row.parts.values_list("number", flat=True)) == [0]


def test_a_file_is_deleted_after_its_time_and_not_served_until_then(cast: Cast) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    row = written(client)
    Export.objects.update(finished_at=Now() - LIFETIME - timedelta(minutes=1))
    assert client.get(f"/exports/{row.pk}/file/").status_code == 404
    assert not writing.write_next(NO_LEASE)
    assert not Export.objects.exists()
    assert not ExportPart.objects.exists()


def test_requests_downloads_and_deletions_are_in_the_audit_log(cast: Cast) -> None:
    entries(cast)
    client = signed_in(cast.mona)
    row = written(client)
    client.get(f"/exports/{row.pk}/file/")
    client.post(f"/exports/{row.pk}/delete/")
    mine = AuditEntry.objects.filter(action__startswith="export.").order_by("pk")
    assert [(entry.action, entry.who, entry.target) for entry in mine] == [
        (f"export.{word}", "mona", row.name) for word in ("requested", "downloaded", "deleted")
    ]


def test_a_token_opens_no_export(cast: Cast, rf: Any) -> None:
    cast.mona.limited_to = cast.acme.pk
    Export.objects.create(user=cast.mona, path="/", name="x.csv")
    assert not Export.objects.visible_to(cast.mona).exists()
    request = rf.get("/audit/", {"export": "csv"})
    request.user = cast.mona
    assert signed_address(request, "x.csv")
