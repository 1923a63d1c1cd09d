"""Any content of the status bucket: a bad object is reported and never stops the others."""

from __future__ import annotations

import json

import pytest

from fleet.models import Anomaly, Tail, Transfer
from fleet.reconcile.limits import Limits
from fleet.serialization import serialize_transfer
from loader.contract.heartbeat import HEARTBEAT_LIMIT
from loader.contract.item_reports import COUNT_LIMIT
from loader.errors import Code, WorldError
from loader.s3.interface import ObjectInfo
from tests.support.polling_world import PollingWorld, load, rows, tail, transfer

pytestmark = pytest.mark.django_db


def problems(bucket: str = "status") -> dict[str, str]:
    """Return the open anomalies: key to problem."""
    return dict(Anomaly.objects.filter(resolved_at=None, bucket=bucket).values_list("key", "problem"))


UNREADABLE = [
    b"",
    b"abc",
    b"NaN",
    b"1e6",
    b"0x10",
    b"1_000",
    "\uff11\uff12".encode(),
    b"+5",
    b"-5",
    b"5 5",
    b"5\x00",
    b"\xff",
    b"9" * 21,
]


@pytest.mark.parametrize("body", [*UNREADABLE, b"%d" % (COUNT_LIMIT + 1), b" " * 65, b"7" * 100])
def test_an_unreadable_progress_object_preserves_the_last_value_and_is_reported_once(
    world: PollingWorld, body: bytes
) -> None:
    world.manifest(items={"a": 100, "b": 100})
    world.progress("N1/2026-12/a", 40)
    world.poll()
    world.later()
    world.progress("N1/2026-12/a", body)
    world.progress("N1/2026-12/b", 100)
    world.poll()
    assert (transfer("a").bytes_done, transfer("a").unreadable, transfer("b").status) == (40, True, "complete")
    assert problems() == {"ACME/N1/2026-12/a.tgz.progress": "BAD_PROGRESS"}
    world.later()
    assert world.poll().get_requests == 0
    assert problems() == {"ACME/N1/2026-12/a.tgz.progress": "BAD_PROGRESS"}
    world.progress("N1/2026-12/a", 50)
    world.poll()
    assert (transfer("a").bytes_done, transfer("a").unreadable, problems()) == (50, False, {})
    assert Anomaly.objects.get().resolved_at == world.clock


def test_a_rewritten_unreadable_progress_object_remains_reported(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", b"what?")
    world.write("N1/loader.json", b"what?")
    world.poll()
    world.later()
    world.progress("N1/2026-12/a", b"what?")
    world.write("N1/loader.json", b"what?")
    assert world.poll().anomalies == 2
    assert (tail().heard_at, tail().heartbeat_at) == (world.clock, world.clock)
    assert Anomaly.objects.filter(resolved_at=None).count() == 2


def test_white_space_around_the_digits_is_taken(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", b" 55\r\n")
    world.poll()
    assert (transfer("a").bytes_done, problems()) == (55, {})


def test_a_huge_progress_is_never_fetched(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    listing = [ObjectInfo("ACME/N1/2026-12/a.tgz.progress", 5 * 2**30, "0" * 32 + "-9", world.clock)]
    monkeypatch.setattr(world.status, "list", lambda prefix="": iter(listing))
    assert world.poll().get_requests == 0
    assert (transfer("a").unreadable, transfer("a").bytes_done) == (True, 5)
    assert problems() == {"ACME/N1/2026-12/a.tgz.progress": "BAD_PROGRESS"}


def test_more_than_the_size_is_capped_and_not_complete(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", COUNT_LIMIT)
    world.poll()
    state = serialize_transfer(transfer("a"))
    assert (state["percent"], state["status"], state["oversized"], state["bytes_reported"]) == (
        100,
        "loading",
        True,
        COUNT_LIMIT,
    )
    assert (load().bytes_done, load().status) == (100, "loading")


def test_sums_of_numbers_no_disk_can_hold_do_not_break_a_load(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", COUNT_LIMIT)
    world.progress("N1/2026-12/b", COUNT_LIMIT)
    world.poll()
    assert (load().bytes_done, load().bytes_total, load().percent) == (COUNT_LIMIT, None, None)


def test_an_older_object_is_ignored_reported_and_not_fetched_again(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.later(60)
    world.progress("N1/2026-12/a", 40)
    world.poll()
    world.later(-30)
    world.progress("N1/2026-12/a", 70)
    world.later(60)
    assert world.poll().get_requests == 1
    assert transfer("a").bytes_done == 40
    assert problems() == {"ACME/N1/2026-12/a.tgz.progress": "OLDER_OBJECT"}
    before = rows()
    again = world.poll()
    assert (again.get_requests, again.objects_changed, rows()) == (0, 0, before)
    world.progress("N1/2026-12/a", 80)
    world.poll()
    assert (transfer("a").bytes_done, problems()) == (80, {})


def test_an_error_of_ten_megabytes_is_cut_at_four_kilobytes(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.error("N1/2026-12/a", b"HASH_MISMATCH: " + b"x" * 10_000_000)
    world.poll()
    row = transfer("a")
    assert (row.status, row.error_code, row.error_cut) == ("failed", "HASH_MISMATCH", True)
    assert len(row.error.encode()) <= 4096
    assert load().error == row.error


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"a\x00b", b"\xff\xfe\x80", b"\x1b[31mred", b"<script>alert(1)</script>", "\u202eabc".encode()],
)
def test_binary_errors_become_text_that_every_database_takes(world: PollingWorld, body: bytes) -> None:
    world.error("N1/2026-12/a", body)
    world.poll()
    error = transfer("a").error
    assert error
    assert "\x00" not in error
    assert "\x1b" not in error
    assert transfer("a").status == "failed"


def test_error_and_whole_progress_together(world: PollingWorld) -> None:
    world.manifest(items={"past": 100, "present": 100})
    world.error("N1/2026-12/past", "IO_ERROR: x")
    world.progress("N1/2026-12/present", 100)
    world.later(5)
    world.progress("N1/2026-12/past", 100)
    world.error("N1/2026-12/present", "IO_ERROR: x")
    world.poll()
    assert (transfer("past").status, transfer("past").error_past, transfer("past").error) == ("complete", True, "x")
    assert (transfer("present").status, transfer("present").error_past) == ("failed", False)


BAD_KEYS = [
    "ACME/N1/2026-12/../a.tgz.progress",
    "ACME/N1//a.tgz.progress",
    "ACME/N1/2026-12/a\n.tgz.progress",
    "ACME/N1/2026-12/a%2e%2e/b.tgz.progress",
    "ACME/N1/2026-12/a.progress",
    "ACME/N1/2026-12/a.tgz",
    "ACME/ N1/2026-12/a.tgz.progress",
    "ACME/N1/2026-12/" + "x" * 300 + ".tgz.progress",
    "ACME/N1/2026-12/a\\b.tgz.progress",
    "ACME/e\u0301/2026-12/a.tgz.progress",
    "ACME/nul\x00/2026-12/a.tgz.progress",
    "ACME/N1/2026-12/" + "y" * 900,
]


def test_invalid_keys_are_reported_and_block_no_other_object(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.manifest(items={"good": 100})
    for key in BAD_KEYS:
        world.status.put(key, b"1")
    world.progress("N1/2026-12/good", 50)
    listing = [*world.status.list("ACME/"), ObjectInfo("ACME/half\ud800/c/a.tgz.progress", 1, "x", world.clock)]
    monkeypatch.setattr(world.status, "list", lambda prefix="": iter(listing))
    result = world.poll()
    assert transfer("good").bytes_done == 50
    assert set(problems().values()) == {"BAD_NAME"}
    assert len(problems()) == result.anomalies == len(BAD_KEYS) + 1
    assert [row.name for row in Tail.objects.all()] == ["N1"]
    before = rows()
    world.poll()
    assert rows() == before


def test_objects_of_the_portal_and_folder_markers_are_ignored(world: PollingWorld) -> None:
    world.status.put("ACME/.archive/N1/2026-11.json.gz", b"")
    world.status.put("ACME/N1/2026-12/", b"")
    assert world.poll().anomalies == 0
    assert not Tail.objects.exists()


def test_names_that_differ_only_in_case_or_form_get_no_row(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    world.progress("n1/2026-12/a", 6)
    world.progress("N1/Straße/a", 7)
    world.progress("N1/STRASSE/a", 8)
    world.status.put("acme/N1/2026-12/a.tgz.progress", b"9")
    world.poll()
    assert [row.name for row in Tail.objects.all()] == ["N1"]
    names = {"ACME/n1/": "NAME_CONFLICT", "ACME/N1/Straße/": "NAME_CONFLICT", "acme/": "NAME_CONFLICT"}
    assert problems() == names
    assert Anomaly.objects.get(key="acme/").airline is None
    assert set(Transfer.objects.values_list("load__campaign__name", flat=True)) == {"2026-12", "STRASSE"}


def test_a_million_hostile_keys_do_not_fill_the_table(world: PollingWorld) -> None:
    world.limits = Limits(anomalies=10)
    for number in range(30):
        world.status.put(f"ACME/bad-{number}", b"")
    world.progress("N1/2026-12/a", 5)
    result = world.poll()
    assert Anomaly.objects.count() == 11
    assert problems()["ACME/"] == "TOO_MANY_ANOMALIES"
    assert result.anomalies == 30
    before = rows()
    world.poll()
    assert rows() == before
    for number in range(25):
        world.status.delete(f"ACME/bad-{number}")
    world.poll()
    assert len(problems()) == 5


def test_unreadable_objects_that_come_a_few_at_a_time_do_not_fill_the_table_either(world: PollingWorld) -> None:
    world.limits = Limits(anomalies=5)
    for number in range(20):
        world.progress(f"N1/2026-12/item-{number}", b"what?")
        world.poll()
    assert len(problems()) == 6
    assert problems()["ACME/"] == "TOO_MANY_ANOMALIES"
    assert Transfer.objects.filter(unreadable=True).count() == 20, "nothing is silent: the rows say so"


def test_anomalies_are_reported_even_if_the_poll_fails_before_its_end(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.progress("N1/2026-12/a", b"what?")
    with monkeypatch.context() as patch:
        patch.setattr("fleet.polling.writer.Writer._record_anomalies", _dies)
        with pytest.raises(ZeroDivisionError):
            world.poll()
    world.poll()
    assert problems() == {"ACME/N1/2026-12/a.tgz.progress": "BAD_PROGRESS"}


def _dies(*_: object) -> int:
    raise ZeroDivisionError


def test_resolved_anomalies_do_not_pile_up(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.ingest.anomalies.RESOLVED_LIMIT", 3)
    for number in range(6):
        world.status.put(f"ACME/bad-{number}", b"")
        world.poll()
        world.status.delete(f"ACME/bad-{number}")
        world.later()
    world.poll()
    assert Anomaly.objects.count() == 3
    assert problems() == {}


def test_a_recurring_problem_is_reopened_with_its_first_day(world: PollingWorld) -> None:
    world.status.put("ACME/bad", b"")
    world.poll()
    first = world.clock
    world.status.delete("ACME/bad")
    world.later()
    world.poll()
    world.later()
    world.status.put("ACME/bad", b"")
    world.poll()
    row = Anomaly.objects.get()
    assert (row.first_seen, row.last_seen, row.resolved_at) == (first, world.clock, None)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(tails=2), "TOO_MANY_TAILS"),
        (Limits(tails_in_all=2), "TOO_MANY_TAILS"),
        (Limits(campaigns=2), "TOO_MANY_CAMPAIGNS"),
        (Limits(campaigns_in_all=2), "TOO_MANY_CAMPAIGNS"),
    ],
)
def test_above_the_caps_there_is_an_anomaly_and_no_row(world: PollingWorld, limits: Limits, problem: str) -> None:
    world.limits = limits
    for number in range(4):
        world.progress(f"N{number}/2026-{number}/a", 5)
    world.poll()
    assert problems()["ACME/"] == problem
    assert Transfer.objects.count() == 2
    gets = world.status.requests.get
    before = rows()
    world.poll()
    assert rows() == before
    assert world.status.requests.get == gets, "what has no room is not fetched either"


def test_more_airlines_than_there_is_room_for(world: PollingWorld) -> None:
    world.limits = Limits(airlines=2)
    for number in range(4):
        world.status.put(f"A{number}/N1/c/a.tgz.progress", b"5")
    world.poll()
    assert problems() == {"/": "TOO_MANY_AIRLINES"}
    assert Transfer.objects.count() == 2


def test_more_objects_in_a_load_than_there_is_room_for(world: PollingWorld) -> None:
    world.limits = Limits(objects=3)
    for number in range(6):
        world.progress(f"N1/2026-12/item-{number}", 5)
    world.progress("N2/2026-12/a", 5)
    world.poll()
    assert problems() == {"ACME/N1/2026-12/": "TOO_MANY_OBJECTS"}
    assert Transfer.objects.filter(load__tail__name="N1").count() == 3
    assert Transfer.objects.filter(load__tail__name="N2").count() == 1


def test_an_etag_of_any_length_and_kind_is_taken(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    for etag in ("x" * 5000, "nul\x00", "half\ud800", "ünïcode"):
        world.later()
        listing = [ObjectInfo("ACME/N1/2026-12/a.tgz.progress", 99, etag, world.clock)]
        monkeypatch.setattr(world.status, "list", lambda prefix="", listing=listing: iter(listing))
        assert world.poll().objects_changed == 1
        assert world.poll().objects_changed == 0


def test_a_forbidden_object_is_reported_and_blocks_no_other_object(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = world.status.get

    def guarded(key: str, limit: int) -> object:
        if "secret" in key:
            raise WorldError(Code.FORBIDDEN, "not yours")
        return get(key, limit)

    monkeypatch.setattr(world.status, "get", guarded)
    world.progress("N1/2026-12/secret", 5)
    world.progress("N1/2026-12/open", 6)
    result = world.poll()
    assert transfer("open").bytes_done == 6
    assert problems() == {"ACME/N1/2026-12/secret.tgz.progress": "FORBIDDEN"}
    assert result.failures == ()


def beat(**fields: object) -> bytes:
    return json.dumps(
        {"schema": 1, "loader": "1.2", "at": "2026-12-01T11:59:58Z", "state": "loading", **fields}
    ).encode()


def test_a_heartbeat_reports_the_activity_of_the_loader(world: PollingWorld) -> None:
    stores = [{"path": "/data", "total": 100, "free": 40, "kind": "ssd"}]
    held_campaigns = [{"campaign": "2026-11", "items": 40, "bytes": 9, "verified": True}]
    world.write("N1/loader.json", beat(reason="night", rate_bps=5, stores=stores, held=held_campaigns, news={"x": 1}))
    world.poll()
    row = tail()
    assert (row.loader_version, row.loader_state, row.loader_reason, row.rate_bps) == ("1.2", "loading", "night", 5)
    assert (row.heard_at, row.heartbeat_at) == (world.clock, world.clock)
    assert row.stores == [{"path": "/data", "total": 100, "free": 40}]
    assert row.held[0]["campaign"] == "2026-11"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"state": 5}', b'{"rate_bps": "x"}', b"[" * 100_000, b" " * (HEARTBEAT_LIMIT + 1)]
)
def test_a_bad_heartbeat_keeps_what_was_last_understood(world: PollingWorld, body: bytes) -> None:
    world.write("N1/loader.json", beat())
    world.poll()
    world.later()
    world.write("N1/loader.json", body)
    world.poll()
    assert (tail().loader_state, tail().heard_at) == ("loading", world.clock)
    assert problems() == {"ACME/N1/loader.json": "BAD_HEARTBEAT"}
    assert world.poll().get_requests == 0


def test_texts_of_a_heartbeat_fit_the_database(world: PollingWorld) -> None:
    long = "x\x00\ud800" * 1000
    world.write("N1/loader.json", beat(loader=long, state=long, reason=long, stores=[{"path": long}], campaign=long))
    world.write("N1/loader.json", json.dumps({"loader": long, "reason": long, "stores": [{"path": long}]}).encode())
    world.poll()
    assert Tail.objects.get().name == "N1"


def test_the_campaigns_own_error_is_the_loads(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.write("N1/2026-12/campaign.json.error", b"BAD_MANIFEST: nonsense\n")
    world.poll()
    assert (load().status, load().error_code, load().error) == ("failed", "BAD_MANIFEST", "nonsense")
    assert transfer("a").status == "pending"
    world.remove("N1/2026-12/campaign.json.error")
    world.poll()
    assert (load().status, load().error_code, load().error) == ("pending", "", "")
