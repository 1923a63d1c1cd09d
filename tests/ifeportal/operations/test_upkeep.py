"""Upkeep of operations: old rows are purged, figures are in the metrics."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from ifeportal.operations.jobs import purge_operations
from ifeportal.operations.kinds import Result, Slice
from ifeportal.operations.models import Lane, Operation
from ifeportal.operations.purging import KEPT_FOR
from loader.errors import BadName
from tests.conftest import Cast
from tests.support.operations import do_all, kind, request

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_ended_operations_are_purged_after_their_time_but_not_open_ones_nor_those_of_kinds_that_keep_them(
    cast: Cast,
) -> None:
    long_ago = timezone.now() - KEPT_FOR - timedelta(minutes=1)
    with kind(), kind(name="kept", keeps_rows=True), kind(name="newer"):
        old, recent, kept, newer = (request(cast.acme, kind=name) for name in ("test", "test", "kept", "newer"))
        do_all()
        Operation.objects.exclude(pk=recent.pk).update(finished_at=long_ago, created_at=long_ago)
        still_open = request(cast.acme)
        Operation.objects.filter(pk=still_open.pk).update(created_at=long_ago, queued_at=long_ago)
    with kind(), kind(name="kept", keeps_rows=True):
        purge_operations()
    left = set(Operation.objects.values_list("pk", flat=True))
    assert left == {recent.pk, kept.pk, newer.pk, still_open.pk}
    assert old.pk not in left


def test_metrics_count_operations_by_kind_lane_and_state(cast: Cast, client: Client) -> None:
    def fail(work: Slice) -> Result:
        raise BadName("The name has a slash.")

    with kind(fail, lane=Lane.INTERACTIVE):
        request(cast.acme)
        do_all()
        waiting = request(cast.acme)
        Operation.objects.filter(pk=waiting.pk).update(queued_at=timezone.now() - timedelta(hours=1))
    client.force_login(cast.olga)
    lines = client.get("/metrics").content.decode().splitlines()
    assert 'ifeportal_operations{kind="test",lane="interactive",state="queued"} 1.0' in lines
    assert 'ifeportal_operations_failed{kind="test",lane="interactive"} 1.0' in lines
    age = next(line for line in lines if line.startswith("ifeportal_operations_oldest_queued_seconds{"))
    assert float(age.split()[-1]) >= 3600
