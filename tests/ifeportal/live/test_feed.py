"""publish(): one row per object, one revision per transaction, revisions in commit order."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.live.models import Change, Counter
from tests.conftest import Cast

pytestmark = pytest.mark.both_databases


def change(cast: Cast, number: int, **state: object) -> FeedChange:
    return FeedChange(topic="load", object=number, airline_id=cast.acme.pk, tail="N1", campaign="2026-12", state=state)


def test_the_counter_begins_by_itself_at_zero(db: None) -> None:
    assert current_rev() == 0


@pytest.mark.django_db(transaction=True)
def test_publishing_outside_a_transaction_is_refused(cast: Cast) -> None:
    with pytest.raises(TransactionManagementError):
        publish([change(cast, 1)])


def test_an_empty_publication_takes_no_revision(db: None) -> None:
    assert publish([]) is None
    assert current_rev() == 0


def test_a_thousand_changes_of_one_object_are_one_row_with_the_newest_state(cast: Cast) -> None:
    for percent in range(10):
        publish([change(cast, 1, percent=percent)])
    row = Change.objects.get()
    assert (row.rev, row.state) == (10, {"percent": 9})


def test_one_publication_has_one_revision_and_the_last_change_of_an_object_counts(cast: Cast) -> None:
    rev = publish([change(cast, 1, percent=1), change(cast, 2, percent=2), change(cast, 1, percent=3)])
    assert set(Change.objects.values_list("object", "rev")) == {(1, rev), (2, rev)}
    assert Change.objects.get(object=1).state == {"percent": 3}


def test_a_deleted_object_remains_in_the_feed_as_deleted(cast: Cast) -> None:
    publish([change(cast, 1, percent=1)])
    publish([FeedChange(topic="load", object=1, airline_id=cast.acme.pk, op="delete")])
    row = Change.objects.get()
    assert (row.op, row.state, row.rev) == ("delete", {}, 2)


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_publication_leaves_nothing(cast: Cast) -> None:
    with transaction.atomic():
        publish([change(cast, 1)])
        transaction.set_rollback(True)
    assert current_rev() == 0
    assert not Change.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_follows_revisions_misses_no_commit_of_many_writers(cast: Cast) -> None:
    """With a database sequence, a reader that has seen N misses an N-1 that commits later; the counter prevents it."""
    writers, each = 4, 20
    barrier, failures = threading.Barrier(writers), []

    def write(writer: int) -> None:
        try:
            barrier.wait(10)
            for number in range(each):
                with transaction.atomic():
                    publish([change(cast, writer * each + number)])
        except Exception as error:  # noqa: BLE001 - a thread's edge: the test reports it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    revisions: set[int] = set()
    last = 0
    while any(thread.is_alive() for thread in threads) or last < current_rev():
        for rev, number in Change.objects.filter(rev__gt=last).order_by("rev").values_list("rev", "object"):
            revisions.add(number)
            last = rev
        time.sleep(0.005)  # let the writers have the interpreter
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(revisions) == writers * each
    assert Counter.objects.get().rev == writers * each
