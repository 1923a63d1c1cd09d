"""The real command over a failing link: a proxy injects every fault and records that it occurred."""

from __future__ import annotations

import os
import signal

import pytest

from fleet.simulation.faults import (
    ErrorInside,
    ErrorResponse,
    FlipByte,
    Hang,
    IgnoreRange,
    ReplaceMidway,
    Reset,
    Rule,
    Truncate,
    WrongRange,
)
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key, manifest_key, progress_key
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, first_requested_byte, publish, wait_for_exit
from tests.support.portal_system import wait_until

pytestmark = pytest.mark.processes

BODY = os.urandom(1_500_000)
GOOD = b"nothing is wrong with this one"


@pytest.fixture(autouse=True)
def _campaign(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"bad": BODY, "good": GOOD})


def assert_only_bad_failed(aircraft: Aircraft, code: str) -> None:
    """One failed item never stops the others, and its report names it with the reason."""
    assert aircraft.path("c", "good").read_bytes() == GOOD
    assert not aircraft.path("c", "bad").exists()
    errors = aircraft.errors()
    assert list(errors) == ["bad"]
    assert errors["bad"].startswith(f"{code}: ")
    assert aircraft.progress("c")["good"] == len(GOOD)
    assert aircraft.progress("c")["bad"] < len(BODY)


def assert_heals(aircraft: Aircraft) -> None:
    assert aircraft.load().code == 0
    assert aircraft.path("c", "bad").read_bytes() == BODY
    assert aircraft.errors() == {}
    assert aircraft.left_over() == []


@pytest.mark.parametrize(
    "fault",
    [
        Truncate(after=400_000),
        Truncate(after=400_000, chunked=True),
        Truncate(after=400_000, chunked=True, lie=True),
        Reset(after=400_000),
    ],
    ids=["length", "chunked", "chunked and lying", "reset"],
)
def test_a_cut_body_is_resumed_where_it_ended(aircraft: Aircraft, link: FaultProxy, fault: Truncate | Reset) -> None:
    rule = link.add(Rule(fault, key="*/bad.tgz"))
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "bad").read_bytes() == BODY
    first, second = link.requests("GET", "*/bad.tgz")
    assert first.range == ""
    start = int(second.range.removeprefix("bytes=").removesuffix("-"))
    # A reset may drop data in flight.
    assert start == 400_000 or (isinstance(fault, Reset) and start <= 400_000)
    assert second.if_match


def test_a_body_that_is_always_cut_fails_as_short(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(Truncate(after=10), key="*/bad.tgz", times=None))
    run = aircraft.load(LOADER_TRIES="4")
    assert run.code == 1
    assert rule.hits == 4
    assert_only_bad_failed(aircraft, "SHORT_BODY")
    assert aircraft.part("c", "bad").stat().st_size == 40
    link.rules.clear()
    assert_heals(aircraft)
    assert link.requests("GET", "*/bad.tgz")[-1].range == "bytes=40-"


def test_a_body_cut_short_by_a_lying_head_is_no_item(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(Truncate(after=10, lie=True), key="*/bad.tgz", times=None))
    assert aircraft.load().code == 1
    assert rule.hits == 2
    assert_only_bad_failed(aircraft, "SIZE_MISMATCH")


def test_wrong_bytes_are_fetched_once_more_and_then_the_item_has_failed(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(FlipByte(at=700_000), key="*/bad.tgz", times=None))
    assert aircraft.load().code == 1
    assert rule.hits == 2
    assert [seen.range for seen in link.requests("GET", "*/bad.tgz")] == ["", ""]
    assert_only_bad_failed(aircraft, "HASH_MISMATCH")
    assert aircraft.left_over() == []
    assert aircraft.progress("c")["bad"] == 0
    link.rules.clear()
    assert_heals(aircraft)


def test_a_byte_damaged_once_heals_by_itself(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(FlipByte(at=700_000), key="*/bad.tgz"))
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "bad").read_bytes() == BODY
    assert aircraft.errors() == {}


def test_an_object_that_is_gone_is_told_and_heals_when_it_returns(aircraft: Aircraft, link: FaultProxy) -> None:
    aircraft.media.delete(content_key(AIRLINE, "c", "bad"))
    assert aircraft.load().code == 1
    assert len(link.requests("GET", "*/bad.tgz")) == 1
    assert_only_bad_failed(aircraft, "OBJECT_GONE")
    aircraft.media.put(content_key(AIRLINE, "c", "bad"), BODY)
    assert_heals(aircraft)


def test_an_object_deleted_midway_is_gone(aircraft: Aircraft, link: FaultProxy) -> None:
    key = content_key(AIRLINE, "c", "bad")
    rule = link.add(Rule(ReplaceMidway(300_000, lambda: aircraft.media.delete(key)), key="*/bad.tgz"))
    assert aircraft.load().code == 1
    assert rule.hits == 1
    assert_only_bad_failed(aircraft, "OBJECT_GONE")


def test_an_object_replaced_midway_is_never_mixed(aircraft: Aircraft, link: FaultProxy) -> None:
    key, other = content_key(AIRLINE, "c", "bad"), os.urandom(len(BODY))
    rule = link.add(Rule(ReplaceMidway(300_000, lambda: aircraft.media.put(key, other)), key="*/bad.tgz"))
    assert aircraft.load().code == 1
    assert rule.hits == 1
    assert_only_bad_failed(aircraft, "OBJECT_CHANGED")
    assert len(link.requests("GET", "*/campaign.json")) >= 2
    aircraft.media.put(key, BODY)
    assert_heals(aircraft)


def test_a_new_version_published_midway_is_loaded_in_the_same_run(aircraft: Aircraft, link: FaultProxy) -> None:
    other = os.urandom(1_000_000)
    again = {"bad": other, "good": GOOD}
    rule = link.add(
        Rule(ReplaceMidway(300_000, lambda: publish(aircraft.media, "c", again, version=2)), key="*/bad.tgz")
    )
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "bad").read_bytes() == other
    assert aircraft.errors() == {}


def test_a_store_that_ignores_ranges_is_begun_anew(aircraft: Aircraft, link: FaultProxy) -> None:
    link.add(Rule(Truncate(after=400_000), key="*/bad.tgz"))
    rule = link.add(Rule(IgnoreRange(BODY), key="*/bad.tgz", nth=2))
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "bad").read_bytes() == BODY


def test_a_wrong_range_is_never_appended(aircraft: Aircraft, link: FaultProxy) -> None:
    link.add(Rule(Truncate(after=400_000), key="*/bad.tgz"))
    rule = link.add(Rule(WrongRange(), key="*/bad.tgz", nth=2))
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "bad").read_bytes() == BODY
    assert [seen.range for seen in link.requests("GET", "*/bad.tgz")] == ["", "bytes=400000-", "bytes=400000-"]


def test_an_error_in_place_of_the_content_is_no_content(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(ErrorInside(), key="*/bad.tgz", times=None))
    assert aircraft.load().code == 1
    assert rule.hits == 2
    assert_only_bad_failed(aircraft, "SIZE_MISMATCH")


def test_a_store_that_asks_for_less_is_given_time_and_gets_few_requests(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(ErrorResponse(503, "SlowDown", retry_after=0), key="*/bad.tgz", times=None))
    assert aircraft.load(LOADER_TRIES="5").code == 1
    assert rule.hits == 5
    assert_only_bad_failed(aircraft, "THROTTLED")


def test_a_store_that_never_answers_is_given_up_in_time(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(Hang(), key="*/bad.tgz", times=None))
    assert aircraft.load(LOADER_TRIES="2", LOADER_READ_TIMEOUT="1500ms").code == 1
    assert rule.hits == 2
    assert_only_bad_failed(aircraft, "TIMEOUT")


def test_a_refused_item_does_not_stop_the_others(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(ErrorResponse(403, "AccessDenied"), key="*/bad.tgz", times=None))
    assert aircraft.load().code == 1
    assert rule.hits == 1
    assert_only_bad_failed(aircraft, "FORBIDDEN")


def test_no_secret_is_ever_printed_or_told(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(ErrorResponse(403, "SignatureDoesNotMatch"), key="*/bad.tgz", times=None))
    process = aircraft.start("--once")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, rule.hits) == (1, 1)
    everything = stdout + stderr + str(aircraft.reports())
    for secret in (*aircraft.keys.values(), "Signature=", "X-Amz", "AWS4"):
        assert secret in ("us-east-1", aircraft.keys["AWS_ENDPOINT_URL_S3"]) or secret not in everything
    assert aircraft.errors()["bad"].startswith("CREDENTIALS: ")


def test_the_status_bucket_may_be_away(aircraft: Aircraft, link: FaultProxy) -> None:
    rule = link.add(Rule(Reset(), method="PUT", key=f"{aircraft.status.name}/*", times=None))
    run = aircraft.load(LOADER_REPORT_TIMEOUT="1s")
    assert run.code == 75
    assert rule.hits
    assert aircraft.path("c", "bad").read_bytes() == BODY
    assert aircraft.reports() == {}
    link.rules.clear()
    before = len(link.log)
    assert aircraft.load().code == 0
    assert aircraft.progress("c") == {"bad": len(BODY), "good": len(GOOD)}
    told = [seen.body for seen in link.log[before:] if seen.path.endswith("bad.tgz.progress")]
    assert told == [str(len(BODY)).encode()]


def test_what_the_ground_was_told_in_vain_is_lowered_after_the_bytes_are_lost(aircraft: Aircraft) -> None:
    aircraft.status.put(progress_key(AIRLINE, TAIL, "c", "bad"), b"1048576")
    aircraft.media.delete(content_key(AIRLINE, "c", "bad"))
    assert aircraft.load().code == 1
    assert aircraft.progress("c")["bad"] == 0


@pytest.mark.slow("the loader waits for the tail's lease")
def test_nothing_reachable_is_told_by_the_exit_code(aircraft: Aircraft, link: FaultProxy) -> None:
    link.offline()
    run = aircraft.load()
    assert run.code == 75
    assert run.of("waiting")
    assert not (aircraft.folder / "c").exists()


def test_a_loader_that_stays_waits_for_the_link_and_then_loads(aircraft: Aircraft, link: FaultProxy) -> None:
    link.offline()
    process = aircraft.start("--poll-interval", "200ms")
    assert process.stdout is not None
    while '"waiting"' not in process.stdout.readline():
        assert process.poll() is None
    link.online()
    wait_until(aircraft.path("c", "bad").exists)
    process.send_signal(signal.SIGINT)
    assert wait_for_exit(process).code == 75


def test_a_stop_waits_for_no_answer_and_loses_nothing(aircraft: Aircraft, link: FaultProxy) -> None:
    part = aircraft.part("c", "bad")
    link.bandwidth = 400_000
    process = aircraft.start("--once", LOADER_READ_TIMEOUT="10m")
    wait_until(lambda: part.exists() and part.stat().st_size > 150_000)
    # The store stops responding in the middle.
    link.offline(silent=True)
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process).code == 75
    kept, asked = aircraft.edge("c", "bad"), len(link.requests("GET", "*/bad.tgz"))
    link.online()
    link.bandwidth = None
    assert aircraft.load().code == 0
    assert first_requested_byte(link.requests("GET", "*/bad.tgz")[asked:]) == kept


def test_a_campaign_without_manifest_is_told_and_nothing_of_it_touched(aircraft: Aircraft) -> None:
    assert aircraft.load().code == 0
    aircraft.media.delete(manifest_key(AIRLINE, "c"))
    publish(aircraft.media, "other", {"x": b"y"})
    assert aircraft.load().code == 1
    assert aircraft.path("c", "bad").read_bytes() == BODY
    assert aircraft.path("other", "x").read_bytes() == b"y"
    assert aircraft.errors() == {"c": "OBJECT_GONE: campaign.json does not exist"}
    publish(aircraft.media, "c", {"bad": BODY, "good": GOOD})
    assert aircraft.load().code == 0
    assert aircraft.errors() == {}
