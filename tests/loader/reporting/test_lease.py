"""The heartbeat as a lease: decisions about the holder, and machines that compete in a bucket in memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loader.contract.heartbeat import Heartbeat, build_heartbeat, parse_heartbeat
from loader.errors import Code, Unsupported, WorldError
from loader.reporting.lease import CurrentHolder, Decision, OwnIdentity, TailLease, TailLeaseLost, decide
from loader.s3.http.headers import write_condition
from loader.s3.interface import GetResult
from loader.s3.memory import MemoryBucket
from loader.storage.content_store import ContentStore
from tests.support.portal_system import wait_until
from tests.support.reporters import make_reporter

KEY = "ACME/N1/loader.json"
PATIENCE = 420.0
BEGUN, LATER = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
A, B = "a" * 32, "b" * 32
FRESH, OURS = CurrentHolder("e", B, BEGUN, 5.0), CurrentHolder("e", A, BEGUN, 5.0)
STARTING = OwnIdentity(frozenset({A}), LATER)
RUNNING = OwnIdentity(frozenset({A}), BEGUN, held=True)


@pytest.mark.parametrize(
    ("current_holder", "us", "verdict"),
    [
        (FRESH, STARTING, "yield"),
        (FRESH, RUNNING, "yield"),
        (replace(FRESH, silent=PATIENCE - 1), STARTING, "yield"),
        (replace(FRESH, silent=PATIENCE), STARTING, "take_over"),
        (replace(FRESH, silent=PATIENCE), RUNNING, "take_over"),
        (replace(FRESH, silent=-30.0), STARTING, "yield"),
        (replace(FRESH, silent=None), STARTING, "yield"),
        (replace(FRESH, ended=True), STARTING, "take_over"),
        (replace(FRESH, ended=True, silent=None), STARTING, "take_over"),
        (replace(FRESH, holder=""), STARTING, "yield"),
        (replace(FRESH, holder="", silent=PATIENCE), STARTING, "take_over"),
        (OURS, STARTING, "renew"),
        (replace(OURS, silent=None), STARTING, "renew"),
        (OURS, replace(STARTING, identities=frozenset({A, B})), "renew"),
        (FRESH, replace(STARTING, identities=frozenset({A, B})), "renew"),
        (OURS, RUNNING, "renew"),
        (replace(OURS, started_at=LATER), RUNNING, "yield"),
        (replace(OURS, started_at=LATER, silent=PATIENCE), RUNNING, "take_over"),
    ],
)
def test_the_holder_of_a_tail_is_decided(current_holder: CurrentHolder, us: OwnIdentity, verdict: Decision) -> None:
    assert decide(current_holder, us, PATIENCE) == verdict


class World:
    """A status bucket in memory, whose clock is frozen, and its machines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, BEGUN
        self.bucket = Picky(lambda: self.now)
        self.messages: list[str] = []
        self.stores: list[ContentStore] = []

    def machine(self, name: str, started: datetime = BEGUN, bucket: MemoryBucket | None = None) -> Machine:
        store = ContentStore(self.folder / name)
        self.stores.append(store)
        lease = TailLease(bucket or self.bucket, KEY, [store], takeover_after=PATIENCE, say=self.messages.append)
        return Machine(lease, Heartbeat(loader="1", state="idle", started_at=started))

    def stored_heartbeat(self) -> Heartbeat:
        found = self.bucket.get(KEY, 10_000)
        assert found is not None
        return parse_heartbeat(found.body)


class Machine:
    def __init__(self, lease: TailLease, heartbeat: Heartbeat) -> None:
        self.lease, self._heartbeat, self._count = lease, heartbeat, 0

    def beat(self, *, ended: bool = False) -> str:
        self._count += 1
        beat = replace(self._heartbeat, reason=str(self._count))
        return self.lease.write(build_heartbeat(self.lease.with_holder(beat, ended=ended)))


class Picky(MemoryBucket):
    """Refuses or loses requests on demand."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__("ife-status", clock)
        self.unreadable = self.simple = False
        self.refuses: set[str] = set()  # conditions refused with 412, whether or not they are fulfilled
        self.refusal: WorldError | None = None  # of every conditional write
        self.lose_answers = 0
        self.conditions: list[str | None] = []

    def get(self, key: str, limit: int) -> GetResult | None:
        if self.unreadable:
            raise WorldError(Code.FORBIDDEN, "not yours")
        return super().get(key, limit)

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        self.conditions.append("*" if if_none_match else if_match)
        if self.simple and (if_none_match or if_match):
            raise Unsupported(Code.INTERNAL, "501")
        if self.refusal and (if_none_match or if_match):
            raise self.refusal
        if ("if-match" if if_match else "if-none-match" if if_none_match else "") in self.refuses:
            raise WorldError(Code.OBJECT_CHANGED, "412")
        etag = super().put(key, body, if_none_match=if_none_match, if_match=if_match)
        if self.lose_answers:
            self.lose_answers -= 1
            raise WorldError(Code.TIMEOUT, "no answer")
        return etag


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for store in world.stores:
        store.close()


def test_the_identity_of_a_directory_lasts_and_is_its_own(world: World) -> None:
    first, again, other = world.machine("a"), world.machine("a"), world.machine("b")
    assert re.fullmatch("[0-9a-f]{32}", first.lease.holder_id)
    assert first.lease.holder_id == again.lease.holder_id == (world.folder / "a/.loader/id").read_text().strip()
    assert other.lease.holder_id != first.lease.holder_id


def test_every_heartbeat_names_its_writer_and_replaces_only_its_last_one(world: World) -> None:
    machine = world.machine("a")
    assert machine.beat() == ""
    first = machine.lease.etag
    assert machine.beat() == first
    assert machine.beat() != ""
    assert world.bucket.conditions[0] == "*"
    assert world.bucket.conditions[1] == first
    assert None not in world.bucket.conditions
    assert world.bucket.requests.get == 0
    assert world.stored_heartbeat().extra == {"holder": machine.lease.holder_id}


def test_a_second_machine_loses_and_changes_nothing(world: World) -> None:
    machine = world.machine("a")
    machine.beat()
    world.now += timedelta(seconds=100)
    with pytest.raises(TailLeaseLost) as lost:
        world.machine("b", LATER).beat()
    assert str(lost.value) == (
        f"Another machine loads ACME/N1: holder {machine.lease.holder_id[:8]}, running since 2026-12-01 00:00:00 UTC, "
        "last seen 100 s ago. To load on this machine, stop the other loader. "
        "This one can start once the other has ended or has been silent for 420 s."
    )
    assert world.stored_heartbeat().extra["holder"] == machine.lease.holder_id
    assert machine.beat() != ""


def test_a_silent_machine_is_taken_over_and_then_gives_way(world: World) -> None:
    old, new = world.machine("a"), world.machine("b", LATER)
    old.beat()
    world.now += timedelta(seconds=PATIENCE)
    assert new.beat() == ""
    assert world.messages == [f"Taking over ACME/N1 from holder {old.lease.holder_id[:8]}, last seen 420 s ago."]
    with pytest.raises(TailLeaseLost, match=new.lease.holder_id[:8]):
        old.beat()
    new.beat()


def test_of_two_that_take_over_at_once_only_one_does(world: World) -> None:
    world.machine("a").beat()
    world.now += timedelta(seconds=PATIENCE)
    second, third = world.machine("b"), world.machine("c")
    read = world.bucket.get

    def meanwhile(key: str, limit: int) -> GetResult | None:
        found = read(key, limit)
        world.bucket.get = read  # type: ignore[method-assign]
        third.beat()
        return found

    world.bucket.get = meanwhile  # type: ignore[method-assign]
    with pytest.raises(TailLeaseLost, match=third.lease.holder_id[:8]):
        second.beat()


def test_an_orderly_end_gives_the_tail_away_at_once(world: World) -> None:
    old, new = world.machine("a"), world.machine("b", LATER)
    old.beat()
    old.beat(ended=True)
    assert world.stored_heartbeat().extra["ended"] is True
    new.beat()
    assert world.stored_heartbeat().extra == {"holder": new.lease.holder_id}
    assert world.messages == []


@pytest.mark.parametrize("body", [b"", b"not json", b'{"loader": "0.0.9", "state": "idle"}', b'{"holder": 7}'])
def test_a_heartbeat_without_a_holder_counts_until_it_is_old(world: World, body: bytes) -> None:
    world.bucket.put(KEY, body)
    with pytest.raises(TailLeaseLost, match="a loader without an id"):
        world.machine("a").beat()
    world.now += timedelta(seconds=PATIENCE)
    world.machine("a").beat()
    assert "holder" in world.stored_heartbeat().extra


@pytest.mark.parametrize("noted", [True, False])
def test_after_a_death_the_same_directory_goes_on_at_once(world: World, noted: bool) -> None:
    world.machine("a").beat()
    if not noted:
        (world.folder / "a/.loader/lease.json").unlink()
    gets = world.bucket.requests.get
    again = world.machine("a", LATER)
    assert (again.beat() != "") is noted
    assert (world.bucket.requests.get == gets) is noted
    assert world.stored_heartbeat().started_at == LATER


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_write_without_a_response_is_recognised_later(world: World, unreadable: bool) -> None:
    machine = world.machine("a")
    machine.beat()
    for _ in range(7):
        world.bucket.lose_answers = 1
        with pytest.raises(WorldError, match="no answer"):
            machine.beat()
    world.bucket.unreadable = unreadable
    machine.beat()
    machine.beat()


def test_our_write_that_left_an_empty_object_does_not_lose_the_lease(world: World) -> None:
    machine = world.machine("a")
    machine.beat()
    world.bucket.put(KEY, b"")
    with pytest.raises(TailLeaseLost):
        world.machine("b").beat()
    assert machine.beat() == ""
    world.bucket.put(KEY, b"")
    world.machine("a", LATER).beat()
    assert world.bucket.requests.get == 1


def test_a_death_between_writing_and_hearing_of_it_needs_no_reading(world: World) -> None:
    world.machine("a").beat()
    world.bucket.lose_answers, world.bucket.unreadable = 1, True
    with pytest.raises(WorldError, match="no answer"):
        world.machine("a").beat()
    world.machine("a", LATER).beat()


def test_notes_of_another_bucket_or_tail_are_not_used(world: World) -> None:
    world.machine("a").beat()
    elsewhere = MemoryBucket("ife-other")
    world.machine("a", bucket=elsewhere).beat()
    assert elsewhere.requests.put == 1


def test_a_removed_heartbeat_is_rewritten_and_logged(world: World) -> None:
    machine = world.machine("a")
    machine.beat()
    world.bucket.delete(KEY)
    assert machine.beat() == ""
    assert machine.beat() != ""


def test_without_the_right_to_read_nothing_is_guessed(world: World) -> None:
    world.machine("a").beat()
    world.now += timedelta(days=9)
    world.bucket.unreadable = True
    with pytest.raises(TailLeaseLost, match=r"Allow s3:GetObject on ACME/N1/loader.json .* delete that object"):
        world.machine("b").beat()
    world.bucket.delete(KEY)
    world.machine("b").beat()


def test_a_copied_directory_is_detected_at_the_next_write(world: World) -> None:
    first, copy = world.machine("a"), world.machine("a", LATER)
    first.beat()
    copy.beat()
    with pytest.raises(TailLeaseLost, match=r"from a copy of this content directory.* remove \.loader/id"):
        first.beat()


REFUSALS = [
    Unsupported(Code.INTERNAL, "501 NotImplemented"),
    WorldError(Code.INTERNAL, "400 InvalidArgument"),
    WorldError(Code.INTERNAL, "405 MethodNotAllowed"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_store_without_conditional_writes_is_written_unconditionally_and_reported_once(
    world: World, refusal: WorldError
) -> None:
    world.bucket.refusal = refusal
    machine = world.machine("a")
    replaced = []
    for _ in range(3):
        replaced.append(machine.beat())
    assert world.bucket.conditions == ["*", None, None, None]
    assert len(world.messages) == 1
    assert "does not support conditional writes" in world.messages[0]
    assert [bool(etag) for etag in replaced] == [False, True, True], "reports are not sent again"


@pytest.mark.parametrize("refused", [{"if-match"}, {"if-none-match"}, {"if-match", "if-none-match"}])
def test_a_store_that_refuses_valid_conditions_is_detected_and_reported_once(world: World, refused: set[str]) -> None:
    world.bucket.refuses = refused
    machine = world.machine("a")
    replaced = [machine.beat() for _ in range(4)]
    assert [bool(etag) for etag in replaced] == [False, True, True, True]
    assert world.messages == [line for line in world.messages if "does not support conditional writes" in line]
    assert len(world.messages) == 1
    assert world.bucket.requests.put <= 12


def test_a_weak_etag_is_no_condition(world: World) -> None:
    put = world.bucket.put

    def weak(key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        write_condition(if_none_match=if_none_match, if_match=if_match)
        return f'W/"{put(key, body, if_none_match=if_none_match)}"'

    world.bucket.put = weak  # type: ignore[method-assign]
    machine = world.machine("a")
    assert [bool(machine.beat()) for _ in range(3)] == [False, True, True]
    assert len(world.messages) == 1


@pytest.mark.parametrize("simple", [True, False])
def test_without_conditions_a_second_machine_still_yields(world: World, simple: bool) -> None:
    world.bucket.simple = simple
    world.bucket.refuses = set() if simple else {"if-match"}
    first, second = world.machine("a"), world.machine("b", LATER)
    first.beat()
    first.beat()
    with pytest.raises(TailLeaseLost, match=first.lease.holder_id[:8]):
        second.beat()
    world.now += timedelta(seconds=PATIENCE)
    second.beat()
    with pytest.raises(TailLeaseLost, match=second.lease.holder_id[:8]):
        first.beat()


def test_without_conditions_and_without_the_right_to_read_heartbeats_are_written(world: World) -> None:
    world.bucket.simple = world.bucket.unreadable = True
    machine = world.machine("a")
    for _ in range(3):
        machine.beat()
    assert world.bucket.requests.put == 3


def test_a_write_that_is_refused_for_another_reason_is_not_blamed_on_its_condition(world: World) -> None:
    def put(*_: object, **__: object) -> str:
        raise WorldError(Code.INTERNAL, "400 InvalidRequest")

    world.bucket.put = put  # type: ignore[method-assign]
    machine = world.machine("a")
    for _ in range(2):
        with pytest.raises(WorldError, match="400 InvalidRequest"):
            machine.beat()
    assert world.messages == []


def test_a_bucket_that_is_not_there_is_no_lost_tail(world: World) -> None:
    def put(*_: object, **__: object) -> str:
        raise WorldError(Code.OBJECT_GONE, "there is no bucket")

    world.bucket.put = put  # type: ignore[method-assign]
    with pytest.raises(WorldError, match="no bucket"):
        world.machine("a").beat()


def test_a_disk_that_takes_no_notes_still_has_a_name_for_this_run(world: World) -> None:
    machine = world.machine("a")
    (world.folder / "a/.loader/lease.json").mkdir()
    (world.folder / "b").mkdir()
    (world.folder / "b/.loader").write_text("in the way")
    machine.beat()
    assert machine.beat() != ""
    with pytest.raises(TailLeaseLost):
        world.machine("b").beat()


def test_a_lost_tail_is_not_reported_any_more(world: World) -> None:
    world.machine("a").beat()
    loser, taken = world.machine("b"), list[str]()
    writer = make_reporter(
        world.bucket,
        lease=loser.lease,
        interval=0.01,
        heartbeat=lambda: Heartbeat(loader="1", state="idle", started_at=LATER),
        on_lease_lost=taken.append,
    )
    writer.progress("c", "a", 7, 7, final=True)
    writer.start()
    assert writer.lease_checked.wait(5)
    writer.error("c", "a", Code.TIMEOUT, "no answer")
    assert not writer.close(1)
    assert len(taken) == 1
    assert [found.key for found in world.bucket.list()] == [KEY]


def test_the_last_heartbeat_comes_after_everything_else(world: World) -> None:
    written: list[str] = []
    put = world.bucket.put

    def noted(key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        etag = put(key, body, if_none_match=if_none_match, if_match=if_match)
        written.append(f"{key.rpartition('/')[2]}{' ended' if b'ended' in body else ''}")
        return etag

    world.bucket.put = noted  # type: ignore[method-assign]
    writer = make_reporter(
        world.bucket,
        lease=world.machine("a").lease,
        interval=60,
        heartbeat=lambda: Heartbeat(loader="1", state="idle", started_at=BEGUN),
    )
    writer.start()
    for done in range(3):
        writer.progress("c", "a", done << 20, 10 << 20)
        writer.error("c", f"{done}", Code.TIMEOUT, "no answer")
    assert writer.close(PATIENCE)
    assert written[0] == "loader.json"
    assert written[-1] == "loader.json ended"
    assert written.count("loader.json ended") == 1


def test_the_tail_is_released_in_time_even_with_unsent_reports(world: World) -> None:
    put = world.bucket.put

    def slow(key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        time.sleep(0.02)
        return put(key, body, if_none_match=if_none_match, if_match=if_match)

    world.bucket.put = slow  # type: ignore[method-assign]
    writer = make_reporter(
        world.bucket,
        lease=world.machine("a").lease,
        interval=60,
        heartbeat=lambda: Heartbeat(loader="1", state="idle", started_at=BEGUN),
    )
    for at in range(2000):
        writer.progress("c", f"{at}", 0, 1)
    writer.start()
    wait_until(lambda: len(list(world.bucket.list())) > 2)
    assert not writer.close(1)
    wait_until(lambda: world.stored_heartbeat().extra["ended"])
    objects = len(list(world.bucket.list()))
    assert 1 < objects < 1500
    time.sleep(0.1)
    assert len(list(world.bucket.list())) == objects
