"""The model of docs/scaling.md: its arithmetic, the document's tables, and the simulated buckets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling import needs
from benchmarks.scaling.capacity import (
    DAY,
    FETCHERS,
    GET_PRICE,
    LIST_PRICE,
    MESSAGES_A_BATCH,
    Cost,
    Measured,
    Operator,
    TailProfile,
    estimate_day,
    measured_costs,
    rows_a_year,
    samples_at_most,
    size_of,
)
from benchmarks.scaling.synthetic import MEDIA, STATUS, Server, Synthetic
from fleet.polling import event_consumer, fetcher
from fleet.usage import PRICES
from loader.s3.client import S3Bucket

SCALING = Path(__file__).resolve().parents[2] / "docs/scaling.md"
ONE = Measured(
    poll=Cost(worker=1.0),
    thousand=Cost(worker=10.0),
    heartbeat=Cost(rows=3.0),
    change=Cost(rows=7.0),
    pushed=Cost(rows=8.0),
    publications=100.0,
    row_bytes={"fleet_load": 600, "fleet_transfer": 300, "fleet_progresssample": 150},
)
PROFILE = TailProfile(items=10, campaigns=1, size=6e6, link=1e5, report=2.0, online=0.5, heartbeat=300.0, page=0.05)
SMALL = Operator(airlines=2, tails=100)


def test_the_document_shows_the_results_of_the_model() -> None:
    text = SCALING.read_text()
    for title, table in needs.tables().items():
        assert table in text, f"{title}: python -m benchmarks.scaling --model prints it as it should be"


def test_prices_are_those_of_the_ledger() -> None:
    assert pytest.approx(float(PRICES["list_requests"])) == LIST_PRICE
    assert pytest.approx(float(PRICES["get_requests"])) == GET_PRICE


def test_a_quiet_airline_is_listed_at_the_ceiling_and_costs_no_change() -> None:
    day = estimate_day(SMALL, PROFILE, ONE, loading=False)
    polls = 2 * DAY / 60
    # 1,100 keys are two pages; one more request reads the media bucket.
    assert day.lists == polls * 3
    assert day.gets == 200 * 0.5 * DAY / 300
    assert day.changes == 0
    assert day.cost.worker == pytest.approx(polls * (1.0 + 1.1 * 10.0))
    assert day.cost.rows == day.gets * 3.0
    assert day.usd == pytest.approx(day.lists * 5e-6 + day.gets * 4e-7)


def test_a_loading_one_is_listed_at_the_interval_and_every_report_is_a_change() -> None:
    day = estimate_day(SMALL, PROFILE, ONE, loading=True)
    assert day.lists == 2 * DAY / 2 * 3
    # 60 MB at 100 kB/s take 600 s, which are 300 reports of each of 200 tails in a week.
    assert day.changes == pytest.approx(200 * 300 / 7)
    assert day.gets == estimate_day(SMALL, PROFILE, ONE, loading=False).gets, "values are recognised, not fetched"


def test_objects_in_events_are_fetched_without_listing() -> None:
    polled, pushed = (estimate_day(SMALL, PROFILE, ONE, loading=True, pushed=each) for each in (False, True))
    assert pushed.lists == estimate_day(SMALL, PROFILE, ONE, loading=False).lists
    assert pushed.gets == pytest.approx(polled.gets + polled.changes)


def test_one_worker_takes_events_batch_by_batch() -> None:
    day = estimate_day(SMALL, replace(PROFILE, fetch=0.08), ONE, loading=True, pushed=True)
    # A batch of 500: 2 airlines at 1 s each, 500 objects at 10 ms each.
    assert day.events == pytest.approx((day.changes + 200 * 0.5 * DAY / 300) / DAY * 7.0 / 500)


def test_constants_of_the_model_match_the_code() -> None:
    assert (MESSAGES_A_BATCH, FETCHERS) == (event_consumer.MESSAGES_A_BATCH, fetcher.FETCHERS)


def test_a_slow_listing_slows_the_pace_and_a_large_airline_is_listed_in_parts() -> None:
    slow = estimate_day(SMALL, replace(PROFILE, page=5.0), ONE, loading=True)
    assert slow.listing == 10.0
    assert slow.lists == 2 * DAY / 10 * 3
    large = estimate_day(Operator(1, 10_000), PROFILE, ONE, loading=True)
    assert large.listing == pytest.approx(55 * 0.05), "110,000 keys in 2 parts"


def test_rows_of_a_year_and_samples_of_a_week() -> None:
    rows = rows_a_year(SMALL, PROFILE)
    assert rows["fleet_load"] == 2_400
    assert rows["fleet_transfer"] == 24_000
    assert size_of({"fleet_load": 10}, ONE) == 6_000
    assert samples_at_most(SMALL, PROFILE) == pytest.approx(200 * 600 / 7 / DAY * 1_800 + 200 * 2 / 7 * 10)


def test_costs_are_what_a_run_adds_to_a_poll_that_finds_nothing() -> None:
    def answer(cpu: float, rows: int, **more: int) -> dict[str, float]:
        common = {"airlines": 2, "objects_seen": 4_000, "get_requests": 0, "transfers_changed": 0}
        return {"cpu": cpu, "database": 0.0, "rows": rows, "log": 0.0, **common, **more}

    found = {
        "nothing new": [answer(1.0, 0), answer(1.0, 0)],
        "heartbeats": [answer(3.0, 40, get_requests=20)],
        "loading": [answer(2.0, 70, transfers_changed=10)],
        "pushed": [answer(1.2, 80, transfers_changed=10)],
    }
    measured = measured_costs(found, answer(0.2, 0), {"fleet_load": {"bytes": 6_000, "rows": 10}}, 99.0)
    assert measured.poll.worker == pytest.approx(0.1)
    assert measured.thousand.worker == pytest.approx((1.0 - 0.2) / 4)
    assert measured.heartbeat.worker == pytest.approx(2.0 / 20)
    assert (measured.heartbeat.rows, measured.change.rows, measured.pushed.rows) == (2.0, 7.0, 8.0)
    assert measured.change.worker == pytest.approx(1.0 / 10)
    assert measured.pushed.worker == pytest.approx(1.0 / 10)
    assert measured.row_bytes == {"fleet_load": 600}


FLEET = Synthetic(airlines=3, tails=120, items=10, moving=4, beating=5)


@contextmanager
def served(fleet: Synthetic) -> Iterator[Server]:
    server = Server(fleet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bucket(server: Server, name: str) -> S3Bucket:
    return S3Bucket(name, endpoint=f"http://127.0.0.1:{server.server_port}", access_key="a", secret_key="b")


def test_the_synthetic_buckets_are_listed_as_any_other_and_their_etags_are_honest() -> None:
    with served(FLEET) as server:
        status, media = bucket(server, STATUS), bucket(server, MEDIA)
        server.move(7, 3)
        listed = {info.key: info for info in status.list("SYN001/")}
        assert len(listed) == 120 * 11
        assert status.requests.list == 2
        assert set(listed) > set(FLEET.loading("SYN001"))
        for info in [*list(listed.values())[::97], *(listed[key] for key in FLEET.loading("SYN001")[:3])]:
            fetched = status.get(info.key, 65_536)
            assert fetched is not None
            assert hashlib.md5(fetched.body).hexdigest() == fetched.etag == info.etag
            assert (fetched.size, fetched.last_modified) == (info.size, info.last_modified)
        assert status.list_prefixes() == ["SYN000", "SYN001", "SYN002"]
        assert len(status.list_prefixes("SYN001/")) == 120
        assert {info.key for info in status.list("SYN001/N0001")} == {k for k in listed if k.startswith("SYN001/N0001")}
        assert [info.key for info in media.list("SYN001/")] == ["SYN001/2026-12/campaign.json"]


def test_from_moment_to_moment_only_loading_tails_and_some_heartbeats_are_new() -> None:
    before = {key: etag for key, etag, *_ in FLEET.listed("", 0, 0)}
    loaded = {key: etag for key, etag, *_ in FLEET.listed("", 1, 0)}
    assert {f"X/{key}" for key in before if before[key] != loaded[key]} == set(FLEET.loading("X"))
    beaten = {key: etag for key, etag, *_ in FLEET.listed("", 0, 1)}
    changed = [key for key in before if before[key] != beaten[key]]
    assert len(changed) == 120 // 5
    assert all(key.endswith("/loader.json") for key in changed)
