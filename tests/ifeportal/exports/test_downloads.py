"""Downloads at the same time: how many a user and a process have, and when one is over."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.db.models.functions import Now
from django.http import StreamingHttpResponse

from ifeportal.exports import downloads as module
from ifeportal.exports.downloads import DOWNLOADS_PER_USER, Downloads, TooManyDownloads, counted
from ifeportal.exports.models import Export, ExportState
from ifeportal.live.connections import in_thread
from tests.conftest import Cast
from tests.support.asgi_client import open_exchange


def response() -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a file"]))


class Request(ASGIRequest):
    """A request of the user with this id."""

    def __init__(self, user: Any) -> None:
        self.user = user


class Person:
    def __init__(self, pk: int) -> None:
        self.pk = pk


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Downloads:
    fresh = Downloads(per_user=2, in_all=3)
    monkeypatch.setattr(module, "downloads", fresh)
    return fresh


def test_a_user_has_two_at_a_time_and_the_process_a_few(running: Downloads) -> None:
    first, second = (counted(Request(Person(1)), response) for _ in range(2))
    with pytest.raises(TooManyDownloads, match="You already have 2 downloads running"):
        counted(Request(Person(1)), response)
    third = counted(Request(Person(2)), response)
    with pytest.raises(TooManyDownloads, match="Too many downloads are running"):
        counted(Request(Person(3)), response)
    for ended in (first, second, third):
        ended.close()
        ended.close()
    assert len(running) == 0


def test_a_download_whose_client_disconnects_early_is_finished(running: Downloads) -> None:
    made = counted(Request(Person(1)), response)
    assert len(running) == 1
    del made
    gc.collect()
    assert len(running) == 0


def test_a_failed_download_is_not_counted(running: Downloads) -> None:
    def fails() -> StreamingHttpResponse:
        raise KeyError

    with pytest.raises(KeyError):
        counted(Request(Person(1)), fails)
    assert len(running) == 0


@pytest.mark.django_db(transaction=True)
async def test_a_file_is_streamed_part_by_part_and_a_third_one_is_refused(cast: Cast, running: Downloads) -> None:
    def make() -> int:
        row = Export.objects.create(user=cast.mona, path="/", name="x.csv", size=6, access={"roles": {}})
        for number in range(3):
            row.add_part(number, b"%d\n" % number, 1, None)
        Export.objects.update(state=ExportState.READY, finished_at=Now())
        return row.pk

    pk = await in_thread(make)
    async with open_exchange(f"/exports/{pk}/file/", cast.mona) as file:
        assert await file.read_status() == 200
        parts = [await file.part() for _ in range(3)]
        assert parts == ["0\n", "1\n", "2\n"]
    assert len(running) == 0
    ends = [running.begin(cast.mona.pk) for _ in range(DOWNLOADS_PER_USER)]
    async with open_exchange(f"/exports/{pk}/file/", cast.mona) as refused:
        assert await refused.read_status() == 429
        assert int(refused.headers["retry-after"]) > 0
    for end in ends:
        end()
