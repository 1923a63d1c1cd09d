"""The pure comparison: which objects are new, deleted or unexpected, and what is known without fetching."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from fleet.reconcile.diff import KnownObjects, ListingDiff, diff_listing
from fleet.reconcile.limits import Limits
from fleet.reconcile.names import find_airlines
from fleet.reconcile.objects import (
    ChangedObject,
    fetch_limit,
    parse_body,
    parse_from_listing,
)
from fleet.reconcile.problems import Problems
from fleet.state.observations import ErrorObserved, HeartbeatObserved, ObjectRewritten, ProgressObserved
from ifeportal.storage.object_versions import storable_etag, storable_text
from loader.contract.item_reports import COUNT_LIMIT
from loader.contract.keys import StatusKey, parse_status_key
from loader.s3.interface import GetResult, ObjectInfo

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
SECONDS = int(AT.timestamp())
MIB = 1_048_576
KEY = "ACME/N1/2026-12/a.tgz.progress"


def listed(key: str = KEY, etag: str = "x", size: int = 1) -> ObjectInfo:
    return ObjectInfo(key, size, etag, AT)


def surveyed(*objects: ObjectInfo, known: KnownObjects | None = None, limits: Limits | None = None) -> ListingDiff:
    bounds = limits or Limits()
    found = ListingDiff(Problems(bounds.anomalies))
    assert not list(diff_listing(iter(objects), known or KnownObjects("ACME"), bounds, found))
    return found


def sighted(body: bytes, key: str = KEY) -> ChangedObject:
    place = parse_status_key(key)
    assert place is not None
    return ChangedObject(place, key, len(body), hashlib.md5(body).hexdigest(), AT)


def test_an_object_is_new_if_its_etag_is_not_the_one_last_read() -> None:
    known = KnownObjects(
        "ACME",
        versions={KEY: ("x", SECONDS), "ACME/N2/2026-12/a.tgz.progress": ("y", SECONDS)},
        tails=["N1", "N2"],
        campaigns=["2026-12"],
    )
    found = surveyed(listed(), listed("ACME/N2/2026-12/a.tgz.progress", "z"), known=known)
    assert (found.objects, found.changed) == (2, 1)
    assert list(found.tails) == ["N2"]
    assert (found.new_tails, found.new_campaigns) == ([], [])


def test_a_known_object_missing_from_the_listing_is_marked_deleted() -> None:
    found = surveyed(known=KnownObjects("ACME", versions={KEY: ("x", SECONDS)}, tails=["N1"]))
    assert found.tails["N1"].deleted == [(StatusKey("progress", "ACME", "N1", "2026-12", "a"), "x")]


def test_a_rewrite_of_the_same_bytes_updates_the_contact_without_a_fetch() -> None:
    known = KnownObjects("ACME", versions={KEY: ("x", SECONDS)}, tails=["N1"], campaigns=["2026-12"])
    found = surveyed(ObjectInfo(KEY, 1, "x", AT + timedelta(seconds=5, milliseconds=7)), known=known)
    (sighting,) = found.tails["N1"].changed
    reading = parse_from_listing(sighting, None)
    assert reading is not None
    assert reading.observation == ObjectRewritten("x", AT + timedelta(seconds=5))


def test_fractions_of_a_second_decide_nothing() -> None:
    """Some stores list fractions, but no response to a GET has them."""
    known = KnownObjects("ACME", versions={KEY: ("x", SECONDS)}, tails=["N1"], campaigns=["2026-12"])
    assert surveyed(ObjectInfo(KEY, 1, "x", AT + timedelta(milliseconds=999)), known=known).changed == 0


def test_keys_are_counted_by_tail_in_whatever_order_they_come() -> None:
    keys = ["ACME/N1/a/b", "ACME/N1/a/c", "ACME/N10/x", "ACME/N1/d", "ACME/stray", "ACME/N10/y/z"]
    assert surveyed(*map(listed, keys)).keys == {"N1": 3, "N10": 2, "stray": 1}


def test_an_object_without_an_etag_is_known_by_its_size_and_date() -> None:
    (sighting,) = surveyed(listed(etag="")).tails["N1"].changed
    known = {KEY: (sighting.etag, SECONDS)}
    for info, changed in (
        (listed(etag=""), 0),
        (ObjectInfo(KEY, 2, "", AT), 1),
        (ObjectInfo(KEY, 1, "", AT + timedelta(seconds=1)), 1),
        (listed(etag="x"), 1),
    ):
        again = surveyed(info, known=KnownObjects("ACME", "", dict(known), ["N1"], ["2026-12"]))
        assert (again.changed, len(again.problems)) == (changed, 0), info


@pytest.mark.parametrize("at", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
def test_an_object_with_neither_etag_nor_date_is_reported_and_the_others_are_read(at: datetime) -> None:
    found = surveyed(ObjectInfo(KEY, 1, "", at), listed("ACME/N2/2026-12/a.tgz.progress"))
    assert (found.changed, [problem.code for problem in found.problems]) == (1, ["NO_ETAG"])


def test_a_folder_marker_is_no_tail_and_no_problem() -> None:
    markers = [ObjectInfo(key, 0, "", datetime(1, 1, 1, tzinfo=UTC)) for key in ("ACME/", "ACME/N1/", "ACME/N1/c/")]
    found = surveyed(*markers)
    assert (found.changed, len(found.problems), found.new_tails) == (0, 0, [])


def test_keys_beyond_the_listing_limit_are_not_marked_deleted() -> None:
    known = KnownObjects("ACME", versions={"ACME/N9/c/a.tgz.progress": ("x", SECONDS)}, tails=["N9"])
    found = surveyed(*(listed(f"ACME/N1/c/{n}.tgz.progress") for n in range(5)), known=known, limits=Limits(keys=3))
    assert (found.truncated, found.objects, found.deleted_keys) == (True, 3, [])
    assert [(problem.key, problem.code) for problem in found.problems] == [("ACME/", "TOO_MANY_KEYS")]


def test_new_tails_and_campaigns_come_in_the_order_they_are_met() -> None:
    found = surveyed(listed(), listed("ACME/N2/2027-01/a.tgz.progress"), listed("ACME/N3/loader.json"))
    assert (found.new_tails, found.new_campaigns) == (["N1", "N2", "N3"], ["2026-12", "2027-01"])


def test_an_object_listed_twice_is_checked_twice_and_never_marked_deleted() -> None:
    known = KnownObjects("ACME", versions={KEY: ("x", SECONDS)}, tails=["N1"], campaigns=["2026-12"])
    found = surveyed(listed(), listed(etag="y"), known=known)
    assert (found.changed, found.deleted_keys) == (1, [])


def test_the_limit_covers_known_rows_and_additional_new_objects() -> None:
    known = KnownObjects("ACME", tails=["N1"], campaigns=["2026-12"], transfer_counts={("N1", "2026-12"): 3})
    objects = [listed(f"ACME/N1/2026-12/{number}.tgz.progress") for number in range(5)]
    found = surveyed(*objects, known=known, limits=Limits(objects=5))
    assert found.changed == 2
    assert [problem.code for problem in found.problems] == ["TOO_MANY_OBJECTS"]


def test_problems_above_the_limit_are_only_counted() -> None:
    found = surveyed(*(listed(f"ACME/{number}") for number in range(100)), limits=Limits(anomalies=3))
    assert isinstance(found.problems, Problems)
    assert (len(list(found.problems)), len(found.problems), found.problems.dropped) == (3, 100, 97)


@pytest.mark.parametrize("value", [0, MIB, 7 * MIB, 10 * MIB + 3])
def test_a_value_known_from_its_etag_is_not_fetched(value: int) -> None:
    reading = parse_from_listing(sighted(b"%d" % value), 10 * MIB + 3)
    assert reading is not None
    assert reading.observation == ProgressObserved(hashlib.md5(b"%d" % value).hexdigest(), AT, value)


@pytest.mark.parametrize(
    ("body", "size"), [(b"5", 10 * MIB), (b"1048576", None), (b"0\n", 10 * MIB), (b"20971520", 10 * MIB)]
)
def test_any_other_value_is_fetched(body: bytes, size: int | None) -> None:
    assert parse_from_listing(sighted(body), size) is None


def test_an_etag_that_is_no_md5_of_the_body_is_fetched() -> None:
    """ETags of KMS and of multipart uploads, and one equal to that of a value of another length."""
    for etag in ("0" * 32 + "-1", "f" * 32, hashlib.md5(b"0").hexdigest()):
        place = sighted(b"0").key
        assert parse_from_listing(ChangedObject(place, KEY, 5, etag, AT), 10 * MIB) is None


@pytest.mark.parametrize("size", [0, 65, 5 * 2**30])
def test_the_size_alone_refuses_a_progress(size: int) -> None:
    reading = parse_from_listing(ChangedObject(sighted(b"").key, KEY, size, "e", AT), None)
    assert reading is not None
    assert reading.observation == ProgressObserved("e", AT, None)
    assert reading.problem is not None
    assert reading.problem.code == "BAD_PROGRESS"


def test_fetches_stay_within_the_contract_limits() -> None:
    keys = {
        KEY: 64,
        "ACME/N1/c/a.tgz.error": 4096,
        "ACME/N1/c/campaign.json.error": 4096,
        "ACME/N1/loader.json": 262_144,
    }
    assert {key: fetch_limit(sighted(b"", key).key) for key in keys} == keys


def test_the_limit_counts_fetched_and_not_listed_objects() -> None:
    """The object was replaced between the listing and the request."""
    later = datetime(2026, 12, 1, 13, tzinfo=UTC)
    reading = parse_body(sighted(b"5"), GetResult(b"77", "new", later, 2, truncated=False))
    assert reading.observation == ProgressObserved("new", later, 77)


def test_a_progress_that_grew_too_long_meanwhile_is_unreadable() -> None:
    reading = parse_body(sighted(b"5"), GetResult(b"7" * 64, "new", AT, 10**9, truncated=True))
    assert reading.observation == ProgressObserved("new", AT, None)


def test_an_error_is_understood_whatever_it_is() -> None:
    reading = parse_body(sighted(b"", "ACME/N1/c/a.tgz.error"), GetResult(b"\xff\x00", "new", AT, 2, truncated=False))
    assert isinstance(reading.observation, ErrorObserved)
    assert reading.observation.text
    assert reading.problem is None


def test_a_heartbeat_that_is_cut_is_not_understood() -> None:
    reading = parse_body(sighted(b"", "ACME/N1/loader.json"), GetResult(b"{}", "new", AT, 10**9, truncated=True))
    assert reading.observation == HeartbeatObserved("new", AT, None)


def test_airlines_are_found_by_their_prefixes() -> None:
    found = find_airlines(["NEW", "ACME", "acme", ".fleet", "..", "", "a b "], ["ACME"], Limits())
    assert found.names == ["NEW"]
    assert {(problem.key, problem.code) for problem in found.problems} == {
        ("acme/", "NAME_CONFLICT"),
        ("../", "BAD_NAME"),
        ("/", "BAD_NAME"),
        ("a b /", "BAD_NAME"),
    }


def test_texts_are_storable_in_every_database() -> None:
    assert storable_text("a\0b\udc80é") == "a\\x00b\\udc80é"
    assert storable_etag("d41d8cd98f00b204e9800998ecf8427e-3") == "d41d8cd98f00b204e9800998ecf8427e-3"
    assert len(storable_etag("x" * 1000)) == 200
    assert COUNT_LIMIT == 2**63 - 1
