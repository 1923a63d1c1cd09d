"""The demo's scenario: valid names, loads that take long enough, and every announced event."""

from __future__ import annotations

import tarfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fleet.choices import ServiceStatus
from fleet.demo.aircraft import Library, identity, make_archive
from fleet.demo.scenario import (
    AIRLINES,
    CORRUPTED,
    CORRUPTED_BYTE,
    CORRUPTED_FILM,
    FLAKY,
    FLEET,
    LATE,
    Film,
    TimelineEvent,
    demo_campaigns,
    library,
    timeline,
)
from fleet.demo.scripted_tails import (
    RESTARTED,
    SCRIPTED,
    SILENT,
    SILENT_FOR,
    STORED,
    THRESHOLDS,
    WAITING,
    create_stored_tail,
    mark_silent,
    reports,
)
from fleet.iam_policy import seaweedfs_identity
from fleet.models import Tail
from ifeportal.models import Airline
from loader.contract.heartbeat import parse_heartbeat
from loader.contract.keys import heartbeat_key
from loader.contract.manifest import parse_manifest
from loader.contract.names import check_name
from loader.s3.memory import MemoryBucket


def load_seconds(airline: str, bandwidth: int) -> list[float]:
    return [
        sum(f.size for f in c.films) / bandwidth for c in demo_campaigns(date(2026, 11, 21)) if c.airline == airline
    ]


def test_every_name_is_one_the_contract_allows() -> None:
    for name in [*(o.name for o in AIRLINES), *(a.tail for a in FLEET), *(film.name for film in library())]:
        check_name(name)


def test_a_load_takes_minutes_and_something_moves_for_more_than_ten() -> None:
    assert all(seconds > 120 for a in FLEET for seconds in load_seconds(a.airline, a.bandwidth))
    assert max(sum(load_seconds(a.airline, a.bandwidth)) for a in FLEET) > 600


@pytest.mark.parametrize("today", [date(2026, 1, 31), date(2026, 11, 21), date(2026, 12, 1), date(2028, 2, 29)])
def test_the_first_campaign_starts_within_a_month_and_the_next_one_follows_it(today: date) -> None:
    for operator in AIRLINES:
        first, second = [cycle for cycle in demo_campaigns(today) if cycle.airline == operator.name]
        assert today < first.starts <= today + timedelta(days=31)
        assert first.ends < second.starts < second.ends
        assert first.name < second.name


def test_every_aircraft_starts_once_and_one_of_them_late() -> None:
    starts = {event.subject: event.at for event in timeline(FLEET) if event.kind == "start"}
    assert sorted(starts) == sorted(aircraft.tail for aircraft in FLEET)
    assert [tail for tail, at in starts.items() if at] == [LATE]


def test_who_goes_offline_comes_back() -> None:
    changes = [event for event in timeline(FLEET) if event.kind in ("offline", "online")]
    assert {event.subject for event in changes} == {FLAKY}
    assert [event.kind for event in changes] == ["offline", "online"] * (len(changes) // 2)


def test_a_smaller_fleet_has_only_its_own_events() -> None:
    events = timeline(FLEET[:1])
    assert events == [TimelineEvent(0, "start", "SE-RNA"), TimelineEvent(200, "publish", "AUR")]


def test_the_corrupted_film_flies_on_the_aircraft_that_is_to_meet_it() -> None:
    airline = next(aircraft.airline for aircraft in FLEET if aircraft.tail == CORRUPTED)
    first = next(cycle for cycle in demo_campaigns(date(2026, 11, 21)) if cycle.airline == airline)
    film = next(film for film in first.films if film.name == CORRUPTED_FILM)
    assert film.size > CORRUPTED_BYTE


def test_an_aircraft_has_the_least_rights_and_no_more() -> None:
    assert identity(FLEET[0]) == seaweedfs_identity("AUR", "SE-RNA", "ife-media", "ife-status")


def test_an_archive_is_real_and_the_same_every_time(tmp_path: Path) -> None:
    film = Film("Über uns", 100_000)
    for name in ("one.tgz", "two.tgz"):
        make_archive(tmp_path / name, film)
    assert (tmp_path / "one.tgz").read_bytes() == (tmp_path / "two.tgz").read_bytes()
    with tarfile.open(tmp_path / "one.tgz") as archive:
        assert [(member.name, member.size) for member in archive] == [("Über uns.mp4", 100_000)]


def test_a_campaign_can_be_published_again_and_changes_nothing(tmp_path: Path) -> None:
    cycle = demo_campaigns(date(2026, 11, 21))[0]
    media, films = MemoryBucket(), Library(tmp_path)
    for _ in range(2):
        films.publish(cycle, media)
    found = media.get(f"{cycle.airline}/{cycle.name}/campaign.json", 1_000_000)
    assert found is not None
    manifest = parse_manifest(found.body, airline=cycle.airline, campaign=cycle.name)
    assert (manifest.version, manifest.title, manifest.exhibition.starts) == (1, cycle.title, cycle.starts)
    assert {item.name for item in manifest.content} == {film.name for film in cycle.films}


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = [cycle for cycle in demo_campaigns(NOW.date()) if cycle.name == "2026-12"]


def writes_between(since: float, until: float) -> dict[str, bytes]:
    return dict(reports(FIRST, since, until, NOW))


def test_every_name_of_a_scripted_aircraft_is_its_own() -> None:
    names = [*(one.tail for one in SCRIPTED), STORED[1]]
    for name in names:
        check_name(name)
    assert len({*names, *(aircraft.tail for aircraft in FLEET)}) == len(names) + len(FLEET)
    assert {one.airline for one in SCRIPTED} | {STORED[0]} | THRESHOLDS.keys() == {each.name for each in AIRLINES}


def test_scripted_aircraft_report_at_once_and_go_on_by_their_heartbeats() -> None:
    first = writes_between(-1, 0)
    assert {key.split("/")[1] for key in first} == {one.tail for one in SCRIPTED}
    assert {key.split("/")[1] for key in writes_between(0, 14)} == set()
    later = writes_between(14, 16)
    assert {key.split("/")[1] for key in later} == {one.tail for one in SCRIPTED if one.state} - {SILENT.tail}
    assert parse_heartbeat(later[heartbeat_key("MER", WAITING.tail)]).reason == WAITING.reason


def test_of_a_long_span_what_was_said_last_counts() -> None:
    again = writes_between(-1, 100)
    at = next(key for key in again if RESTARTED.tail in key)
    assert (again[at], writes_between(-1, 0)[at]) == (b"1048576", b"3145728")


@pytest.mark.django_db
def test_facts_that_no_bucket_has_are_set_in_the_database() -> None:
    airline = Airline.objects.create(name="AUR")
    create_stored_tail({"AUR": airline})
    create_stored_tail({"AUR": airline})
    assert Tail.objects.get().duty == ServiceStatus.STORED
    assert not mark_silent(NOW), "the portal has not read anything of it yet"
    tail = Tail.objects.create(airline=airline, name=SILENT.tail, seen_at=NOW, heartbeat_etag="e")
    assert mark_silent(NOW)
    tail.refresh_from_db()
    assert (tail.silent, tail.seen_at) == (True, NOW - SILENT_FOR)
    assert mark_silent(NOW + timedelta(hours=1))
    tail.refresh_from_db()
    assert tail.seen_at == NOW - SILENT_FOR
