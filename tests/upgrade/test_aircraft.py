"""The current loader resumes what an earlier one left in the middle of a load: disk, buckets, state files, hooks.

The fixtures were created by the loader of an earlier commit (`tests.upgrade.make_aircraft`). Names of files and fields
are literal here, because aircraft in service have them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.simulation.proxy import FaultProxy, RecordedRequest
from tests.upgrade.aircraft import (
    BOOT_ID,
    FIXTURES,
    HOOK,
    OLD_BOOT_ID,
    Aircraft,
    Objects,
    list_files,
    read_json,
    rewrite_json,
    set_boot,
    unpack,
)
from tests.upgrade.contents import AIRLINE, NEWEST, TAIL, build_body, content_key

pytestmark = [pytest.mark.processes]  # none of it: once is enough

Extent = tuple[int, int]
PARTLY_LOADED = (("show", "feature"), ("next", "film"), ("next", "song"))
FAILED = ("next", "game")
STATE_FILES = {
    "id",
    "lease.json",
    "queue.json",
    "status.json",
    "trust.json",
    "campaigns/next.json",
    "campaigns/show.json",
    "told/next/campaign.json",
    "told/show/campaign.json",
    *(f"{place}/{campaign}/{content}.tgz.json" for place in ("held", "told") for campaign, content in NEWEST),
}
# Folders allowed in `.loader/`, empty or not.
STATE_FOLDERS = {"held", "parts", "beside", "campaigns", "told"}


@dataclass
class Upgraded:
    """An aircraft with the content of a fixture, and the proxy between the current loader and its buckets."""

    aircraft: Aircraft
    link: FaultProxy
    durable: dict[tuple[str, str], list[Extent]]
    before: dict[str, dict[str, Any]]  # the JSON files below .loader
    identity: str

    def run(self) -> None:
        code, printed = self.aircraft.load()
        assert code == 0, printed

    def gets(self, campaign: str, content: str) -> list[RecordedRequest]:
        return self.link.requests("GET", f"{self.aircraft.media.name}/{content_key(campaign, content)}")


@pytest.fixture(params=["stopped", "killed"])
def ending(request: pytest.FixtureRequest) -> str:
    """Return how the earlier loader ended."""
    return str(request.param)


@pytest.fixture(params=["the same boot", "another boot"])
def upgraded(
    ending: str, request: pytest.FixtureRequest, tmp_path: Path, seaweed: Any, media: Any, status: Any
) -> Iterator[Upgraded]:
    """`seaweed`, `media`, `status`: a store and two of its buckets, used only by address, keys and names."""
    store = seaweed.environment()
    with FaultProxy(seaweed.endpoint) as link:
        aircraft = Aircraft(
            tmp_path,
            Objects(media.name, store),
            Objects(status.name, store),
            {**store, "AWS_ENDPOINT_URL_S3": link.endpoint},
        )
        unpack(FIXTURES / f"{ending}.tar.xz", aircraft)
        for (campaign, content), made in NEWEST.items():
            aircraft.media.put(content_key(campaign, content), build_body(*made))
        aircraft.write_hook(HOOK)
        boot = BOOT_ID.read_text().strip() if request.param == "the same boot" else OLD_BOOT_ID
        set_boot(aircraft, boot)
        take_to_this_place(aircraft)
        durable = {name: read_durable(aircraft, name, same_boot=boot != OLD_BOOT_ID) for name in PARTLY_LOADED}
        before = {name: read_json(aircraft.state / name) for name in list_files(aircraft.state) if is_json(name)}
        yield Upgraded(aircraft, link, durable, before, (aircraft.state / "id").read_text())


def take_to_this_place(aircraft: Aircraft) -> None:
    """Set the status bucket and a recent time in the record of an orderly end, which expires soon."""
    record = aircraft.state / "status.json"
    if record.exists():
        a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
        rewrite_json(record, bucket=aircraft.status.name, at=a_minute_ago.isoformat())


def is_json(name: str) -> bool:
    return name.endswith(".json")


def read_durable(aircraft: Aircraft, name: tuple[str, str], *, same_boot: bool) -> list[Extent]:
    """Return the durable bytes of an unfinished item according to its state file."""
    state, length = aircraft.part_state(*name), aircraft.part(*name).stat().st_size
    if not same_boot:
        return [(0, state["durable"])] if state["durable"] else []
    if state.get("extents") is None:
        return [(0, length)]
    return [(start, end) for start, end in state["extents"]]


def fetched(exchanges: list[RecordedRequest]) -> Iterator[Extent]:
    """Yield the bytes that the bucket served."""
    for seen in exchanges:
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-\d*", seen.range)) else 0
        yield start, start + seen.sent


def reports(aircraft: Aircraft) -> dict[str, bytes]:
    prefix = f"{AIRLINE}/{TAIL}/"
    return {key.removeprefix(prefix): body for key, body in aircraft.status.read_all(prefix).items()}


def test_an_aircraft_upgraded_in_the_middle_of_a_load_goes_on(upgraded: Upgraded, ending: str) -> None:
    aircraft = upgraded.aircraft
    assert_fixture_holds_every_kind_of_state(aircraft, ending)
    told_before = reports(aircraft)
    upgraded.run()
    assert_every_file_is_whole(aircraft)
    assert_only_missing_bytes_came(upgraded)
    assert_the_ground_knows(upgraded, told_before)
    assert_state_is_named_as_before(upgraded)
    assert_hooks_ran_for_what_was_owed(aircraft)


def assert_fixture_holds_every_kind_of_state(aircraft: Aircraft, ending: str) -> None:
    assert (aircraft.state / "status.json").exists() == (ending == "stopped")
    assert len(aircraft.part_state("next", "film")["extents"]) > 1
    for name in PARTLY_LOADED:
        assert 0 < aircraft.part_state(*name)["durable"] < NEWEST[name][1]
    assert aircraft.part_state("show", "feature")["extents"] is None
    longer = aircraft.part("show", "feature").stat().st_size > aircraft.part_state("show", "feature")["durable"]
    assert longer == (ending == "killed")
    assert (aircraft.state / "beside/show/news.tgz").exists()
    assert {path.name for path in (aircraft.state / "told").iterdir()} == {"show"}
    assert aircraft.final("show", "short").samefile(aircraft.final("next", "again"))
    told = reports(aircraft)
    assert told["next/game.tgz.error"].startswith(b"HASH_MISMATCH: ")
    assert told["next/clip.tgz.error"].startswith(b"HOOK_FAILED: ")


def assert_every_file_is_whole(aircraft: Aircraft) -> None:
    finals = {path for folder in aircraft.content.iterdir() if folder.name != ".loader" for path in folder.rglob("*")}
    assert finals == {aircraft.final(*name) for name in NEWEST}
    for name, made in NEWEST.items():
        assert aircraft.final(*name).read_bytes() == build_body(*made), name
    assert aircraft.final("show", "short").samefile(aircraft.final("next", "again"))


def assert_only_missing_bytes_came(upgraded: Upgraded) -> None:
    """Check that stored and fetched bytes make up each item without overlap.

    Complete items must not be fetched.
    """
    for name, (_, size) in NEWEST.items():
        came = [extent for extent in fetched(upgraded.gets(*name)) if extent[0] < extent[1]]
        if name not in PARTLY_LOADED:
            assert came == ([(0, size)] if name == FAILED else []), name
            continue
        pieces = sorted([*upgraded.durable[name], *came])
        assert [start for start, _ in pieces] == [0, *(end for _, end in pieces[:-1])], (name, pieces)
        assert pieces[-1][1] == size
        assert sum(seen.sent for seen in upgraded.gets(*name)) == size - sum(e - s for s, e in upgraded.durable[name])


def assert_the_ground_knows(upgraded: Upgraded, before: dict[str, bytes]) -> None:
    """Check that every item is reported complete without errors, and known values are not written again."""
    told = reports(upgraded.aircraft)
    progress = {f"{campaign}/{content}.tgz.progress": size for (campaign, content), (_, size) in NEWEST.items()}
    assert told.keys() == {"loader.json", *progress}
    assert {key: int(told[key]) for key in progress} == progress
    known = {key for key in progress if before[key] == told[key]}
    assert known == {"show/short.tgz.progress", "next/clip.tgz.progress", "next/again.tgz.progress"}
    bucket = upgraded.aircraft.status.name
    for key in known:
        assert upgraded.link.requests("PUT", f"{bucket}/{AIRLINE}/{TAIL}/{key}") == []
    heartbeat = json.loads(told["loader.json"])
    assert heartbeat["holder"] == upgraded.identity.strip()
    assert (heartbeat["ended"], heartbeat["queue_version"], heartbeat["state"]) == (True, 7, "idle")
    assert {held["campaign"]: (held["items"], held["verified"]) for held in heartbeat["held"]} == {
        "show": (3, True),
        "next": (5, True),
    }


def assert_state_is_named_as_before(upgraded: Upgraded) -> None:
    """Check that `.loader/` has exactly the files and fields that an earlier loader reads."""
    state = upgraded.aircraft.state
    assert list_files(state) == STATE_FILES
    assert {path.name for path in state.iterdir() if path.is_dir()} <= STATE_FOLDERS
    assert (state / "id").read_text() == upgraded.identity
    for file, fields in upgraded.before.items():
        if file in STATE_FILES:
            assert read_json(state / file).keys() >= fields.keys(), file
    assert read_json(state / "trust.json")["airlines"] == upgraded.before["trust.json"]["airlines"]
    for name, made in NEWEST.items():
        held = read_json(state / "held" / name[0] / f"{name[1]}.tgz.json")
        status = upgraded.aircraft.final(*name).stat()
        assert (held["size"], held["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        assert held["sha256"] == hashlib.sha256(build_body(*made)).hexdigest()
    assert read_json(state / "campaigns/show.json")["version"] == 2


def assert_hooks_ran_for_what_was_owed(aircraft: Aircraft) -> None:
    """Check that hooks ran once for each item and campaign that was pending."""
    ran = Path(f"{aircraft.hook}.log").read_text().splitlines()
    owed = {f"{campaign} {content}" for campaign, content in NEWEST} - {"show short"}
    assert sorted(ran) == sorted({*owed, "show ", "next "})
