"""Syncing the catalog: new manifests are read once, and broken or missing ones never lose valid data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.catalog import listing_diff as survey_module
from campaigns.catalog import sync as catalog_sync
from campaigns.catalog.sync import CatalogResult, sync_catalog
from campaigns.models import Campaign, ContentItem, ManifestState
from ifeportal.models import Airline
from loader.contract.manifest import Manifest, parse_manifest
from loader.errors import Code, WorldError
from loader.s3.interface import GetResult, ObjectInfo
from loader.s3.memory import MemoryBucket

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def later(self, seconds: float = 1) -> None:
        self.now += timedelta(seconds=seconds)


class FailingBucket(MemoryBucket):
    """Fails after listing `list_after` objects, and on getting a key in `broken`."""

    list_after: int | None = None
    broken: dict[str, WorldError]

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for index, found in enumerate(super().list(prefix)):
            if index == self.list_after:
                raise WorldError(Code.NETWORK, "the connection was reset")
            yield found

    def get(self, key: str, limit: int) -> GetResult | None:
        if key in getattr(self, "broken", {}):
            self.requests.count("get")
            raise self.broken[key]
        return super().get(key, limit)


@pytest.fixture
def acme() -> Airline:
    return Airline.objects.create(name="ACME")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def media(clock: Clock) -> FailingBucket:
    return FailingBucket("ife-media", clock)


def item(name: str, size: int = 10, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, **more}


def publish(media: MemoryBucket, campaign: str, *items: dict[str, Any], **fields: Any) -> None:
    body = json.dumps({"content": items, **fields}).encode()
    media.put(f"ACME/{campaign}/campaign.json", body)


def sync(airline: Airline, media: MemoryBucket) -> CatalogResult:
    return sync_catalog(airline, media, NOW)


def gets(media: MemoryBucket, airline: Airline) -> int:
    """Sync again and return the number of GETs."""
    before = media.requests.get
    sync(airline, media)
    return media.requests.get - before


def test_a_manifest_becomes_a_campaign_with_its_items(acme: Airline, media: FailingBucket) -> None:
    publish(
        media,
        "2026-12",
        item("movie-001", 734003200, sha256="AB" * 32, title="The Long Way Up", kind="movie", priority=100, lang="en"),
        item("Über den Wolken.tgz", 0, required=False),
        title="December",
        version=3,
        exhibition={"starts": "2026-12-01", "ends": "2026-12-31"},
        studio="x",
    )
    media.put("ACME/2026-12/movie-001.tgz", b"x")
    result = sync(acme, media)
    campaign = Campaign.objects.get()
    assert result.campaigns_changed == [campaign]
    assert (result.objects_seen, result.problems, result.failure) == (2, [], None)
    assert (campaign.name, campaign.title, campaign.version) == ("2026-12", "December", 3)
    assert (campaign.exhibition_starts, campaign.exhibition_ends) == (date(2026, 12, 1), date(2026, 12, 31))
    assert (campaign.items_total, campaign.bytes_total) == (2, 734003200)
    assert (campaign.manifest_state, campaign.manifest_as_of) == (ManifestState.OK, NOW)
    assert campaign.discovered
    assert campaign.extra == {"studio": "x"}
    movie, clouds = campaign.items.all()
    assert (movie.name, movie.size, movie.sha256, movie.title) == (
        "movie-001",
        734003200,
        "ab" * 32,
        "The Long Way Up",
    )
    assert (movie.kind, movie.required, movie.priority, movie.position) == ("movie", True, 100, 0)
    assert movie.extra == {"lang": "en"}
    assert (clouds.name, clouds.size, clouds.required, clouds.position) == ("Über den Wolken", 0, False, 1)


def test_an_unchanged_manifest_is_never_fetched_again(acme: Airline, media: FailingBucket) -> None:
    for number in range(20):
        publish(media, f"c{number}", item("a", number))
    assert gets(media, acme) == 20
    assert gets(media, acme) == 0
    publish(media, "c7", item("a", 700))
    assert gets(media, acme) == 1
    assert ContentItem.objects.get(campaign__name="c7").size == 700


class OtherEtagsInListings(FailingBucket):
    """Lists each object with an ETag of another kind than the one a GET returns, as a gateway to Azure does."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for found in super().list(prefix):
            found.etag = f"0x8D{found.etag}-1"
            yield found


def test_a_manifest_is_fetched_once_where_listings_have_other_etags(acme: Airline, clock: Clock) -> None:
    media = OtherEtagsInListings("ife-media", clock)
    publish(media, "2026-12", item("a"))
    media.put("ACME/2026-11/campaign.json", b"no manifest")
    assert gets(media, acme) == 2
    assert [gets(media, acme) for _ in range(2)] == [0, 0]
    clock.later()
    publish(media, "2026-12", item("a", 5))
    assert gets(media, acme) == 1
    assert ContentItem.objects.get().size == 5


def test_a_second_reading_changes_and_reports_nothing(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a"))
    sync(acme, media)
    result = sync(acme, media)
    assert (result.campaigns_changed, result.problems) == ([], [])


@pytest.mark.parametrize(
    "key",
    [
        "ACME/2026-12/movie.tgz",
        "ACME/2026-12/",
        "ACME/2026-12/poster.jpg",
        "ACME/2026-12/a/b",
        "ACME/2026-12/x.part.tgz",
    ],
)
def test_a_prefix_is_no_campaign_before_its_manifest_is_there(acme: Airline, media: FailingBucket, key: str) -> None:
    media.put(key, b"x")
    assert sync(acme, media).campaigns_changed == []
    assert not Campaign.objects.exists()
    publish(media, "2026-12", item("movie"))
    assert [row.name for row in sync(acme, media).campaigns_changed] == ["2026-12"]


def test_an_envelope_without_its_manifest_is_a_campaign(acme: Airline, media: FailingBucket) -> None:
    media.put("ACME/2026-12/campaign.json.dsse", b"{}")
    sync(acme, media)
    campaign = Campaign.objects.get()
    assert (campaign.name, campaign.manifest_state, campaign.items_total) == ("2026-12", ManifestState.MISSING, None)
    assert (campaign.bytes_total, campaign.signed) == (None, True)


def test_what_is_ours_makes_no_campaign(acme: Airline, media: FailingBucket) -> None:
    media.put("ACME/.fleet/D-1.json", b"{}")
    media.put("ACME/.archive/old/x.tgz", b"")
    media.put("ACME/", b"")
    media.put("BETA/2026-12/campaign.json", b'{"content": []}')
    media.put("ACME2/2026-12/campaign.json", b'{"content": []}')
    result = sync(acme, media)
    assert (result.objects_seen, result.problems) == (3, [])
    assert not Campaign.objects.exists()


def test_a_malformed_manifest_leaves_the_last_good_one_in_force(
    acme: Airline, media: FailingBucket, clock: Clock
) -> None:
    publish(media, "2026-12", item("a", 5), version=1)
    sync(acme, media)
    clock.later()
    media.put("ACME/2026-12/campaign.json", b'{"content": [{"name": "a", "size": NaN}]}')
    result = sync(acme, media)
    campaign = Campaign.objects.get()
    assert (campaign.manifest_state, campaign.manifest_problem) == (ManifestState.REFUSED, "NaN is not JSON")
    assert (campaign.version, campaign.bytes_total, campaign.items_total) == (1, 5, 1)
    assert campaign.items.get().listed
    assert result.campaigns_changed == [campaign]
    [problem] = result.problems
    assert (problem.bucket, problem.key, problem.code) == ("media", "ACME/2026-12/campaign.json", "BAD_MANIFEST")
    assert problem.detail == "NaN is not JSON"


def test_a_refused_manifest_is_reported_as_long_as_it_stands_but_fetched_once(
    acme: Airline, media: FailingBucket, clock: Clock
) -> None:
    media.put("ACME/2026-12/campaign.json", b"[")
    first = sync(acme, media)
    before = media.requests.get
    again = sync(acme, media)
    assert media.requests.get == before
    assert again.problems == first.problems
    assert again.campaigns_changed == []
    clock.later()
    publish(media, "2026-12", item("a"))
    healed = sync(acme, media)
    assert healed.problems == []
    assert Campaign.objects.get().manifest_state == ManifestState.OK
    assert Campaign.objects.get().manifest_problem == ""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"airline": "BETA", "content": []}', "airline: must be 'ACME'"),
        (b'{"content": [{"name": "../../etc/passwd", "size": 1}]}', "content[0].name"),
        (b'{"content": [{"name": "a", "size": 1}, {"name": "A", "size": 1}]}', "content[1].name"),
        (b'{"content": [], "title": "\\u0000"}', "NUL"),
        (b"[" * 100_000, "nested deeper"),
        (b"\xef\xbb\xbf{}", "content: is missing"),
    ],
)
def test_a_hostile_manifest_is_refused_with_its_place(
    acme: Airline, media: FailingBucket, body: bytes, why: str
) -> None:
    media.put("ACME/2026-12/campaign.json", body)
    sync(acme, media)
    campaign = Campaign.objects.get()
    assert campaign.manifest_state == ManifestState.REFUSED
    assert why in campaign.manifest_problem
    assert not campaign.items.exists()


def test_a_manifest_that_is_too_long_is_refused_from_the_listing(acme: Airline, media: FailingBucket) -> None:
    media.put("ACME/2026-12/campaign.json", b" " * (5 * 1024 * 1024 + 1))
    assert gets(media, acme) == 0
    assert "longer than" in Campaign.objects.get().manifest_problem
    assert gets(media, acme) == 0


def test_a_manifest_that_vanishes_leaves_the_last_good_one_and_may_come_back(
    acme: Airline, media: FailingBucket, clock: Clock
) -> None:
    publish(media, "2026-12", item("a", 5))
    sync(acme, media)
    media.delete("ACME/2026-12/campaign.json")
    gone = sync(acme, media)
    campaign = Campaign.objects.get()
    assert gone.campaigns_changed == [campaign]
    assert (campaign.manifest_state, campaign.items_total, campaign.bytes_total) == (ManifestState.MISSING, 1, 5)
    assert campaign.items.get().listed
    assert sync(acme, media).campaigns_changed == []
    clock.now -= timedelta(days=1)
    publish(media, "2026-12", item("a", 5))
    assert sync(acme, media).campaigns_changed == [campaign]
    assert Campaign.objects.get().manifest_state == ManifestState.OK


def test_items_left_out_stay_as_not_listed_and_are_listed_again_when_they_return(
    acme: Airline, media: FailingBucket, clock: Clock
) -> None:
    publish(media, "2026-12", item("a", 1), item("b", 2))
    sync(acme, media)
    kept = ContentItem.objects.get(name="b").pk
    clock.later()
    publish(media, "2026-12", item("c", 3), item("a", 1))
    sync(acme, media)
    assert list(ContentItem.objects.values_list("name", "listed")) == [("c", True), ("a", True), ("b", False)]
    assert Campaign.objects.get().bytes_total == 4
    clock.later()
    publish(media, "2026-12", item("b", 20))
    sync(acme, media)
    again = ContentItem.objects.get(name="b")
    assert (again.pk, again.listed, again.size) == (kept, True, 20)
    assert ContentItem.objects.filter(listed=True).count() == 1


def test_an_older_manifest_never_overwrites_a_newer_one(acme: Airline, media: FailingBucket, clock: Clock) -> None:
    publish(media, "2026-12", item("a", 2))
    sync(acme, media)
    clock.later(-60)
    publish(media, "2026-12", item("a", 1))
    result = sync(acme, media)
    assert ContentItem.objects.get().size == 2
    assert [problem.code for problem in result.problems] == ["ROLLBACK"]
    assert "older than the one already read" in result.problems[0].detail


def test_two_changes_in_the_same_second_are_both_seen(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a", 1))
    sync(acme, media)
    publish(media, "2026-12", item("a", 2))
    sync(acme, media)
    assert ContentItem.objects.get().size == 2


def test_a_listing_that_fails_midway_changes_nothing(acme: Airline, media: FailingBucket, clock: Clock) -> None:
    for number in range(5):
        publish(media, f"c{number}", item("a", number))
    sync(acme, media)
    clock.later()
    publish(media, "c0", item("a", 99))
    media.list_after = 3
    with pytest.raises(WorldError):
        sync(acme, media)
    assert not ContentItem.objects.filter(size=99).exists()
    assert set(Campaign.objects.values_list("manifest_state", flat=True)) == {ManifestState.OK}


def test_one_manifest_that_cannot_be_fetched_does_not_stop_the_others(acme: Airline, media: FailingBucket) -> None:
    for name in ("a", "b", "c"):
        publish(media, name, item("x"))
    media.broken = {
        "ACME/a/campaign.json": WorldError(Code.FORBIDDEN),
        "ACME/b/campaign.json": WorldError(Code.TIMEOUT),
    }
    result = sync(acme, media)
    states = dict(Campaign.objects.values_list("name", "manifest_state"))
    assert states == {"a": ManifestState.MISSING, "b": ManifestState.MISSING, "c": ManifestState.OK}
    assert {(problem.key, problem.code) for problem in result.problems} == {
        ("ACME/a/campaign.json", "FORBIDDEN"),
        ("ACME/b/campaign.json", "TIMEOUT"),
    }
    assert result.failure is not None
    assert result.failure.code == "TIMEOUT"
    media.broken = {}
    assert sync(acme, media).problems == []
    assert set(Campaign.objects.values_list("manifest_state", flat=True)) == {ManifestState.OK}


def test_a_store_that_fails_again_and_again_is_not_asked_for_everything(acme: Airline, media: FailingBucket) -> None:
    for number in range(100):
        publish(media, f"c{number}", item("a"))
    media.broken = {f"ACME/c{number}/campaign.json": WorldError(Code.TIMEOUT) for number in range(100)}
    assert gets(media, acme) <= 16
    assert Campaign.objects.count() == 100


def test_keys_that_break_the_rules_become_problems_and_nothing_else(acme: Airline, media: FailingBucket) -> None:
    keys = ["ACME/2026-12/../x.tgz", "ACME//x.tgz", "ACME/2026-12/a\nb.tgz", "ACME/ 2026/campaign.json", "ACME/x.tgz"]
    for key in keys:
        media.put(key, b"")
    result = sync(acme, media)
    assert sorted(problem.key for problem in result.problems) == sorted(keys)
    assert {problem.code for problem in result.problems} == {"BAD_NAME"}
    assert not Campaign.objects.exists()


@pytest.mark.parametrize(
    ("one", "other"), [("December", "DECEMBER"), ("Straße", "STRASSE"), ("\u0130stanbul", "i\u0307stanbul")]
)
def test_campaigns_that_differ_only_in_case_are_a_conflict(
    acme: Airline, media: FailingBucket, one: str, other: str
) -> None:
    publish(media, one, item("a"))
    publish(media, other, item("a"))
    result = sync(acme, media)
    assert Campaign.objects.count() == 1
    [problem] = result.problems
    assert problem.code == "BAD_NAME"
    assert "only in case or normalisation" in problem.detail
    assert sync(acme, media).problems == result.problems


def test_what_only_the_database_takes_for_equal_is_a_conflict_too(acme: Airline, media: FailingBucket) -> None:
    """PostgreSQL may lower a dotted capital I to a plain i; Unicode's case folding does not."""
    publish(media, "istanbul", item("a"))
    publish(media, "\u0130stanbul", item("a"))
    result = sync(acme, media)
    assert Campaign.objects.count() + len(result.problems) == 2
    assert Campaign.objects.filter(manifest_state=ManifestState.OK).count() == Campaign.objects.count()


def test_more_campaigns_than_allowed_are_left_out_and_reported(
    acme: Airline, media: FailingBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "CAMPAIGNS_LIMIT", 3)
    publish(media, "z", item("a"))
    sync(acme, media)
    for number in range(10):
        publish(media, f"c{number}", item("a"))
    result = sync(acme, media)
    assert set(Campaign.objects.values_list("name", flat=True)) == {"z", "c0", "c1"}
    [problem] = result.problems
    assert (problem.code, problem.key) == ("TOO_MANY", "ACME/")
    assert problem.detail.startswith("8 campaigns are ignored")


def test_a_flood_of_bad_keys_is_only_counted(
    acme: Airline, media: FailingBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "PROBLEMS_LIMIT", 5)
    for number in range(50):
        media.put(f"ACME/c/bad{number}", b"")
    result = sync(acme, media)
    assert [problem.code for problem in result.problems] == ["BAD_NAME"] * 5 + ["TOO_MANY"]


def test_a_campaign_made_by_a_person_is_filled_in_and_stays_theirs(acme: Airline, media: FailingBucket) -> None:
    Campaign.objects.create(airline=acme, name="2026-12", title="Mine")
    publish(media, "2026-12", item("a"), title="December")
    sync(acme, media)
    campaign = Campaign.objects.get()
    assert (campaign.discovered, campaign.title, campaign.items_total) == (False, "December", 1)


def test_an_answer_overtaken_by_another_reading_changes_nothing(
    acme: Airline, media: FailingBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(media, "2026-12", item("a", 1))

    def overtaken(body: bytes, *, airline: str, campaign: str) -> Manifest:
        etag, later = hashlib.md5(b"").hexdigest(), NOW + timedelta(seconds=5)
        newer = {"manifest_state": ManifestState.OK, "manifest_etag": etag, "manifest_as_of": later, "version": 9}
        Campaign.objects.update(**newer)
        return parse_manifest(body, airline=airline, campaign=campaign)

    monkeypatch.setattr(catalog_sync, "parse_manifest", overtaken)
    sync(acme, media)
    assert Campaign.objects.get().version == 9
    assert not ContentItem.objects.exists()


def test_long_titles_are_cut_not_refused(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a", title="t" * 600, kind="k" * 200), title="T" * 600)
    sync(acme, media)
    found = ContentItem.objects.get()
    assert (len(found.title), len(found.kind), len(Campaign.objects.get().title)) == (500, 100, 500)


def test_the_largest_numbers_a_manifest_may_hold_can_be_stored(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a", 2**53, priority=-(2**31) + 1), version=2**53, x=10**39)
    sync(acme, media)
    campaign = Campaign.objects.get()
    assert (campaign.bytes_total, campaign.version, campaign.extra) == (2**53, 2**53, {"x": 10**39})


def test_the_number_of_queries_grows_with_changed_campaigns_not_with_items(
    acme: Airline, media: FailingBucket, clock: Clock
) -> None:
    def queries_to_change(items: int, campaigns: int) -> int:
        for size in (1, 2):
            clock.later()
            for number in range(campaigns):
                publish(media, f"of-{items}-no-{number}", *(item(f"i{n}", size) for n in range(items)))
            with CaptureQueriesContext(connection) as captured:
                sync(acme, media)
        return len(captured)

    assert queries_to_change(80, 4) == queries_to_change(5, 4) <= 4 * 7 + 1
    with CaptureQueriesContext(connection) as captured:
        sync(acme, media)
    assert len(captured) == 1


def test_a_signature_beside_a_manifest_is_known_as_soon_as_it_lies_there(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a"))
    sync(acme, media)
    assert not Campaign.objects.get().signed
    media.put("ACME/2026-12/campaign.json.dsse", b"{}")
    assert [row.signed for row in sync(acme, media).campaigns_changed] == [True]
    assert sync(acme, media).campaigns_changed == []
    media.delete("ACME/2026-12/campaign.json.dsse")
    sync(acme, media)
    assert not Campaign.objects.get().signed


def test_a_withdrawn_campaign_returns_when_it_is_published(acme: Airline, media: FailingBucket) -> None:
    publish(media, "2026-12", item("a"), version=1)
    sync(acme, media)
    Campaign.objects.update(withdrawn_at=NOW)
    publish(media, "2026-12", item("a"), version=2)
    sync(acme, media)  # a version published before the withdrawal does not undo it
    assert Campaign.objects.get().withdrawn_at == NOW
    media.delete("ACME/2026-12/campaign.json")
    sync(acme, media)
    publish(media, "2026-12", item("a"), version=3)
    sync(acme, media)
    assert Campaign.objects.get().withdrawn_at is None
