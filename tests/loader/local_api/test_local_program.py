"""A local program at the socket of a real loader: it follows a load to its end, and its request is loaded first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleet.simulation.proxy import FaultProxy
from loader.local_api.client import LoaderNotRunning, fetch_status
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.local_programs import post_now, send_request, stream_events

pytestmark = pytest.mark.processes
SIZE = 1_000_000
SLOW = 20_000  # bytes per second: nothing completes before the test allows it


def started(aircraft: Aircraft, *options: str) -> subprocess.Popen[str]:
    """A loader that responds and has a plan."""
    process = aircraft.start(*options)
    while process.poll() is None:
        try:
            if fetch_status(aircraft.folder)["items"]:
                return process
        except LoaderNotRunning:
            continue
    raise AssertionError(process.communicate()[1])


def socket_of(aircraft: Aircraft) -> Path:
    return aircraft.folder / ".loader" / "loader.sock"


def test_the_program_follows_a_load_to_its_end(aircraft: Aircraft, link: FaultProxy) -> None:
    contents = {name: os.urandom(SIZE) for name in ("a", "b")}
    publish(aircraft.media, "c", contents)
    link.bandwidth = SLOW
    process = started(aircraft, "--once", "--max-transfers", "1")
    events: list[tuple[str, Any]] = []
    with stream_events(aircraft.folder) as stream:
        while not any(data["bytes_done"] and data["rate_bps"] for kind, data in events if kind in ("status", "change")):
            events.append(next(stream))
        link.bandwidth = None
        events += stream
    assert wait_for_exit(process).code == 0
    assert [kind for kind, _ in events][:: len(events) - 1] == ["status", "end"]
    news = [data for kind, data in events if kind in ("status", "change")]
    done = [one["bytes_done"] for one in news]
    assert done == sorted(done)
    assert any(0 < one["bytes_done"] < 2 * SIZE and one["state"] == "loading" for one in news)
    assert any(one["rate_bps"] for one in news)
    assert (news[-1]["items_done"], news[-1]["bytes_done"], news[-1]["percent"]) == (2, 2 * SIZE, 100)
    assert news[-1]["campaigns"][0]["status"] == "complete"
    assert not socket_of(aircraft).exists()
    for name, body in contents.items():
        assert aircraft.path("c", name).read_bytes() == body


def test_a_local_request_comes_first(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {name: os.urandom(SIZE) for name in ("a", "b", "d")})
    link.bandwidth = SLOW
    process = started(aircraft, "--once", "--max-transfers", "1")
    answer = post_now(aircraft.folder, {"campaign": "c", "content": "d"})
    assert (answer.code, answer.json["status"]) == (202, "pending")
    assert post_now(aircraft.folder, {"campaign": "c", "content": "x"}).code == 404
    with stream_events(aircraft.folder) as stream:
        while not any(one["content"] == "d" and one["status"] == "loading" for one in next(stream)[1]["items"]):
            pass
    link.bandwidth = None
    run = wait_for_exit(process)
    assert run.code == 0
    # The order of the ends proves nothing: while an item is synced to disk, the next ones are downloaded.
    begun = [one["content"] for one in run.of("began")]
    assert begun in (["a", "d", "a", "b"], ["d", "a", "b"])


def test_the_next_loader_takes_the_place_of_one_that_was_killed(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {"a": os.urandom(SIZE)})
    link.bandwidth = SLOW
    process = started(aircraft, "--once")
    process.kill()
    process.communicate()
    assert socket_of(aircraft).is_socket()
    with pytest.raises(LoaderNotRunning):
        fetch_status(aircraft.folder)
    process = started(aircraft, "--once")
    assert send_request(aircraft.folder, "GET", "/status").code == 200
    link.bandwidth = None
    assert wait_for_exit(process).code == 0
    assert not socket_of(aircraft).exists()


def test_without_a_socket_content_is_loaded_all_the_same(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    (socket_of(aircraft) / "something").mkdir(parents=True)
    run = aircraft.load()
    assert run.code == 0
    assert aircraft.path("c", "a").read_bytes() == b"content"
    [line] = run.stderr.splitlines()
    assert "its socket cannot be created" in json.loads(line)["text"]
