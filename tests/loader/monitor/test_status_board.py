"""The status board: status of the loader for programs and people."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from loader.contract.heartbeat import StoreUsage
from loader.contract.manifest import Item
from loader.errors import ERRORS, Code, WorldError
from loader.monitor.events import (
    Broadcast,
    CampaignActivated,
    CampaignFailed,
    Event,
    EventListener,
    ItemFailed,
    ItemFinished,
    ItemProgress,
    ItemRetrying,
    ItemStarted,
    ItemStopped,
    LinkChanged,
    LoaderState,
    Notice,
    PlanChanged,
    QueueState,
)
from loader.monitor.status_board import ITEMS_LIMIT, PROGRESS_INTERVAL, StatusBoard
from loader.planning.model import PlanStep
from loader.s3.auth.redaction import HIDDEN
from loader.s3.throughput import RateMeter, eta
from tests.support.clocks import ManualClock

HASH = "0" * 64
MIB = 1024 * 1024


def fetch(content: str, size: int = 100, *, campaign: str = "c", begun: int = 0, beside: bool = False) -> PlanStep:
    return PlanStep(campaign, Item(content, size, HASH, title=content.upper()), "fetch", 0, begun, beside)


def keep(content: str, size: int = 100, *, beside: bool = False) -> PlanStep:
    return PlanStep("c", Item(content, size, HASH), "keep", 0, size, beside)


def refuse(content: str) -> PlanStep:
    return PlanStep("c", Item(content, 100), "refuse", 0, code=Code.NO_SPACE, reason="too big")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def board(clock: ManualClock) -> StatusBoard:
    return StatusBoard("ACME", "N1", "0.1.0", clock=clock, now=lambda: datetime(2026, 12, 1, 10, tzinfo=UTC))


def want(board: StatusBoard, *steps: PlanStep) -> None:
    board.handle(PlanChanged(steps, {}, {"c": "December"}))


def snapshot_of(board: StatusBoard) -> Any:
    """Return the snapshot as a program receives it."""
    return json.loads(json.dumps(board.snapshot(), allow_nan=False))


def item(board: StatusBoard, content: str) -> Any:
    return next(one for one in snapshot_of(board)["items"] if one["content"] == content)


def test_every_item_of_the_plan_is_there_with_the_names_of_the_api(board: StatusBoard) -> None:
    want(board, fetch("a", begun=40), keep("b"), refuse("d"))
    items = snapshot_of(board)["items"]
    assert [(one["content"], one["status"], one["bytes_done"], one["percent"]) for one in items] == [
        ("a", "pending", 40, 40),
        ("b", "complete", 100, 100),
        ("d", "failed", 0, 0),
    ]
    assert items[0] == {
        "campaign": "c",
        "content": "a",
        "title": "A",
        "status": "pending",
        "bytes_done": 40,
        "bytes_total": 100,
        "percent": 40,
        "verified": False,
        "rate_bps": None,
        "eta_seconds": None,
        "error_code": "",
        "error": "",
        "retry_at": None,
    }
    assert (items[2]["error_code"], items[2]["error"]) == ("NO_SPACE", "too big")
    assert [one["verified"] for one in items] == [False, True, False]


def test_sums_of_a_campaign_and_of_all_are_those_of_its_items(board: StatusBoard) -> None:
    board.handle(PlanChanged([fetch("a", begun=40), keep("b"), fetch("x", 50, campaign="d")], {}, {"c": "December"}))
    shown = snapshot_of(board)
    assert [(one["campaign"], one["title"], one["status"]) for one in shown["campaigns"]] == [
        ("c", "December", "loading"),
        ("d", "", "pending"),
    ]
    assert (shown["items_total"], shown["items_done"], shown["bytes_done"], shown["bytes_total"]) == (3, 1, 140, 250)


def test_a_campaign_without_a_manifest_has_no_total(board: StatusBoard) -> None:
    board.handle(PlanChanged([], {"z": (Code.BAD_MANIFEST, "no comma")}, {}))
    [campaign] = snapshot_of(board)["campaigns"]
    assert (campaign["status"], campaign["error_code"], campaign["error"]) == ("failed", "BAD_MANIFEST", "no comma")
    assert (campaign["items_total"], campaign["bytes_total"], campaign["percent"]) == (None, None, None)


def test_a_transfer_goes_from_pending_over_loading_to_complete(board: StatusBoard) -> None:
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 0, 100))
    assert item(board, "a")["status"] == "loading"
    board.handle(ItemProgress("c", "a", 100, 100, 100))
    assert item(board, "a")["status"] == "loading"  # it is not durable yet
    assert not item(board, "a")["verified"]
    board.handle(ItemFinished("c", "a", 100, verified=True))
    assert (item(board, "a")["status"], item(board, "a")["verified"]) == ("complete", True)


def test_a_staged_item_is_not_complete_until_its_campaign_is(board: StatusBoard) -> None:
    want(board, fetch("a", beside=True), keep("b", beside=True))
    board.handle(ItemStarted("c", "a", 0, 100))
    board.handle(ItemFinished("c", "a", 100, verified=True))
    shown = snapshot_of(board)
    assert [(one["status"], one["bytes_done"]) for one in shown["items"]] == [("loading", 100), ("loading", 100)]
    board.handle(CampaignActivated("c"))
    assert [one["status"] for one in snapshot_of(board)["items"]] == ["complete", "complete"]
    assert snapshot_of(board)["campaigns"][0]["status"] == "complete"


def test_an_error_remains_during_retries_and_ends_when_bytes_arrive(board: StatusBoard) -> None:
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 0, 100))
    board.handle(ItemRetrying("c", "a", Code.NETWORK, "away", 30.0))
    shown = item(board, "a")
    assert (shown["status"], shown["error_code"], shown["retry_at"]) == (
        "loading",
        "NETWORK",
        "2026-12-01T10:00:30.000Z",
    )
    board.handle(ItemProgress("c", "a", 0, 100, 0))
    assert item(board, "a")["error_code"] == "NETWORK"
    board.handle(ItemProgress("c", "a", 10, 100, 10))
    assert (item(board, "a")["error_code"], item(board, "a")["retry_at"]) == ("", None)


def test_a_failed_item_remains_failed_until_it_restarts(board: StatusBoard) -> None:
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 0, 100))
    board.handle(ItemFailed("c", "a", Code.HASH_MISMATCH, "wrong bytes"))
    want(board, PlanStep("c", Item("a", 100, HASH), "blocked", 0, code=Code.HASH_MISMATCH))
    assert (item(board, "a")["status"], item(board, "a")["error"]) == ("failed", "wrong bytes")
    want(board, fetch("a"))
    assert item(board, "a")["status"] == "failed"
    board.handle(ItemStarted("c", "a", 0, 100))
    assert item(board, "a")["status"] == "loading"


def test_a_skipped_item_without_a_reason_gets_the_sentence_of_its_code(board: StatusBoard) -> None:
    want(board, PlanStep("c", Item("a", 100, HASH), "blocked", 0, code=Code.OBJECT_GONE))
    assert item(board, "a")["error"] == ERRORS[Code.OBJECT_GONE].sentence


def test_a_transfer_that_gives_way_is_pending_again_with_what_it_has(board: StatusBoard) -> None:
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 0, 100))
    board.handle(ItemProgress("c", "a", 30, 100, 30))
    board.handle(ItemStopped("c", "a"))
    assert (item(board, "a")["status"], item(board, "a")["bytes_done"]) == ("pending", 30)


def test_a_new_plan_does_not_set_back_what_is_on_its_way(board: StatusBoard) -> None:
    want(board, fetch("a"), fetch("b"))
    board.handle(ItemStarted("c", "a", 0, 100))
    board.handle(ItemProgress("c", "a", 70, 100, 70))
    want(board, fetch("a", begun=20), keep("b"))
    assert (item(board, "a")["status"], item(board, "a")["bytes_done"]) == ("loading", 70)
    assert item(board, "b")["status"] == "complete"
    want(board, fetch("a", 200))  # another version
    assert (item(board, "a")["status"], item(board, "a")["bytes_done"]) == ("pending", 0)


def test_a_restart_takes_the_bytes_down(board: StatusBoard) -> None:
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 50, 100))
    board.handle(ItemProgress("c", "a", 0, 100, 0))
    assert item(board, "a")["bytes_done"] == 0


def test_rates_and_times_are_null_until_known(board: StatusBoard, clock: ManualClock) -> None:
    want(board, fetch("a", 100 * MIB), fetch("b", 50 * MIB))
    board.handle(ItemStarted("c", "a", 0, 100 * MIB))
    clock.now += 0.5
    board.handle(ItemProgress("c", "a", 10 * MIB, 100 * MIB, 10 * MIB))
    assert (item(board, "a")["rate_bps"], item(board, "a")["eta_seconds"], snapshot_of(board)["rate_bps"]) == (
        None,
        None,
        None,
    )
    clock.now += 1.5
    shown = snapshot_of(board)
    assert (item(board, "a")["rate_bps"], item(board, "a")["eta_seconds"]) == (5 * MIB, 18)
    assert (shown["rate_bps"], shown["eta_seconds"], board.rate) == (5 * MIB, 28, 5 * MIB)
    assert item(board, "b")["rate_bps"] is None


def test_a_stalled_transfer_has_no_time_of_arrival(board: StatusBoard, clock: ManualClock) -> None:
    want(board, fetch("a", 1000))
    board.handle(ItemStarted("c", "a", 0, 1000))
    board.handle(ItemProgress("c", "a", 500, 1000, 500))
    clock.now += 20
    assert (item(board, "a")["rate_bps"], item(board, "a")["eta_seconds"]) == (0, None)


def test_a_meter_restarts_after_a_silence() -> None:
    meter = RateMeter(0.0)
    meter.add(1000, 0.5)
    meter.add(1000, 100.2)
    assert meter.rate(100.9) is None
    assert meter.rate(102.2) == 500
    assert (eta(100, None), eta(100, 0), eta(0, 100), eta(101, 100)) == (None, None, None, 2)


def test_progress_is_published_in_steps_and_everything_else_at_once(board: StatusBoard, clock: ManualClock) -> None:
    want(board, fetch("a", 10**6))
    board.handle(ItemStarted("c", "a", 0, 10**6))
    first = board.revision
    for bytes_done in range(1, 1001):
        board.handle(ItemProgress("c", "a", bytes_done, 10**6, 1))
        assert board.revision == first
    clock.now += PROGRESS_INTERVAL
    assert board.revision == first + 1
    assert board.revision == first + 1
    board.handle(LoaderState("paused", "told so", ""))
    assert board.revision == first + 2
    board.handle(LoaderState("paused", "told so", ""))
    assert board.revision == first + 2


def test_changes_hold_only_what_changed_and_all_of_it_after_a_new_plan(board: StatusBoard) -> None:
    want(board, fetch("a"), fetch("b"), keep("d"))
    first_snapshot = board.snapshot()
    revision = int(str(first_snapshot["revision"]))
    board.handle(ItemFailed("c", "b", Code.OBJECT_GONE, "gone"))
    news: Any = board.changes(revision)
    assert not news["full"]
    assert [one["content"] for one in news["items"]] == ["b"]
    want(board, fetch("a"))
    news = board.changes(news["revision"])
    assert (news["full"], [one["content"] for one in news["items"]]) == (True, ["a"])


def test_the_same_plan_again_is_no_news(board: StatusBoard) -> None:
    want(board, fetch("a"), keep("b"))
    revision = board.revision
    want(board, fetch("a"), keep("b"))
    assert board.revision == revision


def test_wait_returns_at_progress_at_an_event_and_at_the_timeout() -> None:
    board = StatusBoard("ACME", "N1")
    want(board, fetch("a"))
    board.handle(ItemStarted("c", "a", 0, 100))
    revision, received = board.revision, []
    waiting = threading.Thread(target=lambda: received.append(board.wait(revision, 30)))
    waiting.start()
    board.handle(ItemProgress("c", "a", 1, 100, 1))
    waiting.join(10)
    assert received == [revision + 1]
    board.handle(ItemFinished("c", "a", 100, verified=True))
    assert board.wait(revision, 30) > revision
    assert board.wait(board.revision, 0.0) == board.revision


def test_state_link_queue_and_disks_are_in_the_status() -> None:
    board = StatusBoard("ACME", "N1", "0.1.0", space=lambda: [StoreUsage("/content", 100, 40)])
    board.handle(LoaderState("waiting", "the link is down", "c"))
    board.handle(LinkChanged(False, "no route"))
    board.handle(QueueState(7, True, "22:00-05:00", 20_000_000))
    shown = snapshot_of(board)
    assert (shown["state"], shown["reason"], shown["campaign"]) == ("waiting", "the link is down", "c")
    assert shown["link"] == {"up": False, "reason": "no route"}
    assert shown["queue"] == {"version": 7, "paused": True, "window": "22:00-05:00", "bandwidth_limit": 20_000_000}
    assert shown["stores"] == [{"path": "/content", "total": 100, "free": 40}]
    assert (shown["airline"], shown["tail"], shown["loader"]) == ("ACME", "N1", "0.1.0")


def test_a_disk_that_does_not_answer_hides_nothing_else() -> None:
    def away() -> list[StoreUsage]:
        raise WorldError(Code.IO_ERROR)

    assert snapshot_of(StatusBoard("ACME", "N1", space=away))["stores"] == []


def test_the_board_is_bounded_and_preserves_pending_items(board: StatusBoard) -> None:
    want(board, *[keep(f"k{number}") for number in range(ITEMS_LIMIT)], fetch("wanted"))
    shown = snapshot_of(board)
    assert (len(shown["items"]), shown["left_out"]) == (ITEMS_LIMIT, 1)
    assert shown["items"][0]["content"] == "wanted"
    board.handle(ItemStarted("c", "stranger", 0, 10))
    board.handle(ItemProgress("c", "stranger", 5, 10, 5))
    board.handle(ItemFinished("c", "stranger", 10, verified=True))
    assert len(snapshot_of(board)["items"]) == ITEMS_LIMIT


def test_the_state_of_a_campaign_or_an_item_can_be_queried(board: StatusBoard) -> None:
    want(board, fetch("a"), keep("b"))
    assert (board.status_of("c", "a"), board.status_of("c", "b"), board.status_of("c", "x")) == (
        "pending",
        "complete",
        None,
    )
    assert (board.status_of("c"), board.status_of("x")) == ("loading", None)


def test_a_fan_passes_everything_on_to_all() -> None:
    received: list[tuple[int, Event]] = []

    class Recorder(EventListener):
        def __init__(self, number: int) -> None:
            self.number = number

        def handle(self, event: Event) -> None:
            received.append((self.number, event))

    events = [ItemStarted("c", "a", 0, 1), LinkChanged(False, "no route"), Notice("event", "text", {"field": 1})]
    broadcast = Broadcast(Recorder(1), Recorder(2))
    for event in events:
        broadcast.handle(event)
    assert received == [(number, event) for event in events for number in (1, 2)]


def test_no_broadcast_contains_a_secret() -> None:
    received: list[Event] = []

    class Recorder(EventListener):
        def handle(self, event: Event) -> None:
            received.append(event)

    secret, hidden = "https://user:password@store", f"https://{HIDDEN}@store"
    broadcast = Broadcast(Recorder())
    broadcast.handle(PlanChanged([], {"c": (Code.NETWORK, secret)}, {"c": secret}))
    broadcast.notice("event", secret, error=secret, count=1)
    for event in (
        ItemRetrying("c", "a", Code.NETWORK, secret, 1.0),
        ItemFailed("c", "a", Code.NETWORK, secret),
        CampaignFailed("c", Code.NETWORK, secret),
        LoaderState("waiting", secret),
        LinkChanged(False, secret),
    ):
        broadcast.handle(event)
    assert received == [
        PlanChanged([], {"c": (Code.NETWORK, hidden)}, {"c": hidden}),
        Notice("event", hidden, {"error": hidden, "count": 1}),
        ItemRetrying("c", "a", Code.NETWORK, hidden, 1.0),
        ItemFailed("c", "a", Code.NETWORK, hidden),
        CampaignFailed("c", Code.NETWORK, hidden),
        LoaderState("waiting", hidden),
        LinkChanged(False, hidden),
    ]
