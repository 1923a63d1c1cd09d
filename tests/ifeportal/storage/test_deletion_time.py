"""Deletions by date use a time that the portal's clock, the store's and the database's confirm."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from ifeportal.storage.deletion_time import deletion_time
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
real_now: Callable[[], datetime] = timezone.now


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let the clock of this machine jump."""
    return lambda span: monkeypatch.setattr(timezone, "now", lambda: real_now() + span)


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket("ife-status", clock=real_now)


def test_the_earliest_of_the_clocks_counts_while_they_agree(
    bucket: MemoryBucket, jump: Callable[[timedelta], None]
) -> None:
    before = real_now() - timedelta(seconds=1)  # a Date has whole seconds
    assert before <= deletion_time(bucket) <= real_now()
    jump(timedelta(minutes=10))
    assert deletion_time(bucket) <= real_now()
    jump(timedelta(minutes=-10))
    assert deletion_time(bucket) <= real_now() - timedelta(minutes=10)


@pytest.mark.parametrize(
    ("span", "difference"),
    [
        (timedelta(days=40), "40 days ahead of"),
        (timedelta(days=5000), "5,000 days ahead of"),
        (timedelta(days=-40), "40 days behind"),
        (timedelta(minutes=17), "17 minutes ahead of"),
    ],
)
@pytest.mark.parametrize("asked_before", [True, False])
def test_a_clock_that_jumps_is_refused_with_a_sentence(
    bucket: MemoryBucket,
    jump: Callable[[timedelta], None],
    span: timedelta,
    difference: str,
    asked_before: bool,
) -> None:
    if asked_before:
        deletion_time(bucket)
    jump(span)
    with pytest.raises(WorldError) as refused:
        deletion_time(bucket)
    assert refused.value.code is Code.CLOCK_SKEW
    assert str(refused.value) == (f"Nothing is deleted by date: the portal's clock is {difference} the object store's.")


def test_a_store_that_was_asked_long_ago_is_asked_again(
    bucket: MemoryBucket, jump: Callable[[timedelta], None]
) -> None:
    """The machine slept, so the store's last answer is as old as its clock that counts from boot says, or older."""
    bucket.clock = lambda: real_now() - timedelta(days=2)
    bucket.list_prefixes()
    bucket.clock = real_now
    assert deletion_time(bucket) <= real_now()
    asked = bucket.requests.list
    deletion_time(bucket)
    assert bucket.requests.list == asked


def test_without_the_store_s_time_there_is_none(bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: str = "") -> list[str]:
        raise WorldError(Code.NETWORK, "LIST: no route")

    monkeypatch.setattr(bucket, "list_prefixes", refuse)
    with pytest.raises(WorldError, match="the object store's time is unknown: LIST: no route") as refused:
        deletion_time(bucket)
    assert (refused.value.code, refused.value.permanent) == (Code.NETWORK, False)
    monkeypatch.setattr(bucket, "list_prefixes", lambda prefix="": [])
    with pytest.raises(WorldError, match="does not send its time"):
        deletion_time(bucket)


def test_the_clock_of_the_database_server_is_used_too(bucket: MemoryBucket, jump: Callable[[timedelta], None]) -> None:
    """Portal and store may share one wrong clock. SQLite has none of its own."""
    jump(timedelta(days=40))
    bucket.clock = lambda: real_now() + timedelta(days=40)
    if connection.vendor != "postgresql":
        assert deletion_time(bucket) > real_now()
        return
    with pytest.raises(WorldError, match="40 days ahead of the database's"):
        deletion_time(bucket)
