"""An archived load remains unchanged until one of its objects has a new value."""

from __future__ import annotations

import pytest

from campaigns.models import Campaign
from fleet.ingest.apply import apply_tails
from fleet.ingest.health import update_health
from fleet.ingest.updates import LoadUpdate, TailUpdate
from fleet.models import Load, Transfer
from fleet.state.observations import ErrorObserved, ObjectDeleted, ObjectRewritten, ProgressObserved
from ifeportal.models import Airline
from tests.fleet.ingest.test_apply import CAMPAIGN, catalog
from tests.support.polling_world import PollingWorld, load, rows, tail, transfer

pytestmark = pytest.mark.django_db


@pytest.fixture
def archived(world: PollingWorld) -> PollingWorld:
    """Archive one load with items a (complete), b (in progress) and c (failed); its manifest has changed since."""
    world.manifest(items={"a": 100, "b": 100, "c": 100})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 50)
    world.error("N1/2026-12/c", "IO_ERROR: disk")
    world.write("N1/2026-12/campaign.json.error", b"UNSIGNED: no")
    world.poll()
    Load.objects.update(archived_at=world.clock)
    world.later()
    Campaign.objects.update(manifest_etag="another")
    Campaign.objects.get().items.update(size=300)
    return world


def apply_update(world: PollingWorld, news: LoadUpdate) -> None:
    apply_tails(Airline.objects.get(), {tail().pk: TailUpdate({CAMPAIGN: news})}, catalog(), world.clock)


def test_a_new_manifest_leaves_it_alone(archived: PollingWorld) -> None:
    before = rows()
    apply_update(archived, LoadUpdate())
    assert rows() == before


def test_present_and_deleted_objects_do_not_change_an_archived_load(archived: PollingWorld) -> None:
    before = rows()
    a, b, c = (transfer(name) for name in "abc")
    assert a.progress_at is not None
    assert c.error_at is not None
    apply_update(
        archived,
        LoadUpdate(
            progress={
                "a": ProgressObserved(a.progress_etag, a.progress_at, 100),
                "b": ObjectDeleted(b.progress_etag),
                "new": ObjectDeleted("x"),
            },
            errors={"c": ErrorObserved(c.error_etag, c.error_at, "IO_ERROR", "disk")},
            campaign_error=ObjectDeleted(load().error_etag),
        ),
    )
    assert rows() == before
    assert load().archived_at is not None


def test_new_progress_restores_it_and_the_rest_is_read_again(archived: PollingWorld) -> None:
    apply_update(archived, LoadUpdate(progress={"b": ProgressObserved("x", archived.clock, 80)}))
    assert load().archived_at is None
    assert (transfer("b").bytes_done, transfer("b").progress_etag, load().bytes_done) == (80, "x", 180)
    assert (transfer("a").status, transfer("a").progress_etag, transfer("a").bytes_done) == ("complete", "", 100)
    assert load().error_etag == ""


def test_an_item_that_is_reported_for_the_first_time_wakes_it(archived: PollingWorld) -> None:
    apply_update(archived, LoadUpdate(progress={"new": ProgressObserved("x", archived.clock, 1)}))
    assert (load().archived_at, transfer("new").bytes_done, transfer("a").progress_etag) == (None, 1, "")


def test_a_new_error_of_the_campaign_wakes_it(archived: PollingWorld) -> None:
    apply_update(archived, LoadUpdate(campaign_error=ErrorObserved("x", archived.clock, "EXPIRED", "late")))
    row = load()
    assert (row.archived_at, row.error_code, row.error_etag) == (None, "EXPIRED", "x")
    assert transfer("a").progress_etag == ""


def test_the_same_campaign_error_restores_it_only_if_rewritten(archived: PollingWorld) -> None:
    row = load()
    assert row.error_at is not None
    apply_update(archived, LoadUpdate(campaign_error=ObjectRewritten(row.error_etag, row.error_at)))
    assert load().archived_at is not None
    apply_update(archived, LoadUpdate(campaign_error=ObjectRewritten(row.error_etag, archived.clock)))
    assert load().archived_at is None


def test_an_archived_load_is_never_stalled(archived: PollingWorld) -> None:
    since = archived.clock
    archived.later(86_400)
    assert update_health(Airline.objects.get(), archived.clock, since) == set()
    assert not Transfer.objects.filter(stalled=True).exists()
    Load.objects.update(archived_at=None)
    update_health(Airline.objects.get(), archived.clock, since)
    assert transfer("b").stalled
