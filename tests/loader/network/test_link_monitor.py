"""The link check: its messages to a technician, how rarely it connects, and real networks that go down and return."""

from __future__ import annotations

import itertools
import json
import os
import queue
import random
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.network.link_monitor import (
    MAX_PROBES,
    CommandAnswer,
    LinkMonitor,
    LinkState,
    ProbeResults,
    ProbeSchedule,
    assess_link,
    connect_target,
)
from tests.support.aircraft import ROOT
from tests.support.portal_system import PATIENCE, wait_until
from tests.support.profiles import scaled

HOST = "s3.example.com"


# Messages.


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (ProbeResults(), ""),
        (ProbeResults(command=CommandAnswer(True), name="known", route=True, accepts_connection=True), ""),
        (ProbeResults(network=False), ""),
        (ProbeResults(network=False, route=True, accepts_connection=True), ""),
        (ProbeResults(route=False), "no route to s3.example.com: the network is down"),
        (ProbeResults(network=False, name="unknown"), "no route to s3.example.com: the network is down"),
        (ProbeResults(network=False, name="silent"), "no route to s3.example.com: the network is down"),
        (ProbeResults(command=CommandAnswer(False, "on approach")), "the link check command says: on approach"),
        (ProbeResults(command=CommandAnswer(False)), "the link check command says: no"),
        (
            ProbeResults(name="unknown"),
            "the name s3.example.com is unknown: name resolution returns no address",
        ),
        (
            ProbeResults(name="silent"),
            "the name s3.example.com cannot be looked up: name resolution does not answer",
        ),
        (ProbeResults(name="known", route=False), "no route to s3.example.com: the network is down"),
        (ProbeResults(name="known", route=True, accepts_connection=False), "s3.example.com does not answer"),
    ],
)
def test_the_monitor_reports_its_state(facts: ProbeResults, reason: str) -> None:
    assert assess_link(facts, HOST) == LinkState(not reason, reason)


@pytest.mark.parametrize("seed", range(scaled(100, quick=20)))
def test_the_monitor_probes_at_random_times_at_most_four_times_a_minute(seed: int) -> None:
    knocks, now, at = ProbeSchedule(random.Random(seed)), 0.0, []
    for turn in range(200):
        now = knocks.next(now, within=2.0 if turn % 3 else 30.0)
        knocks.record(now)
        at.append(now)
    assert all(later - earlier >= 59.999 for earlier, later in zip(at, at[MAX_PROBES:], strict=False))
    assert len({round(later - earlier, 3) for earlier, later in itertools.pairwise(at)}) > 20


@pytest.mark.parametrize(
    ("endpoint", "proxy", "expected"),
    [
        ("http://10.0.0.1:8333", "", ("10.0.0.1", 8333)),
        ("https://s3.example.com", "", ("s3.example.com", 443)),
        (None, "", ("films.s3.eu-central-1.amazonaws.com", 443)),
        (None, "http://proxy.cabin:3128", ("proxy.cabin", 3128)),
        ("https://s3.example.com", "proxy.cabin", ("proxy.cabin", 80)),
        ("http://10.0.0.1:8333", "http://proxy.cabin:3128", ("10.0.0.1", 8333)),
        ("https://[fd00::1]:8333", "", ("fd00::1", 8333)),
    ],
)
def test_the_monitor_probes_the_address_of_requests(
    endpoint: str | None, proxy: str, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert connect_target("films", endpoint, "eu-central-1") == expected


# On this machine's own network.


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server


@pytest.fixture
def made() -> Iterator[Callable[..., LinkMonitor]]:
    links: list[LinkMonitor] = []

    def make(
        port: int, command: tuple[str, ...] = (), changed: Callable[[bool, str], None] = lambda up, reason: None
    ) -> LinkMonitor:
        links.append(LinkMonitor("127.0.0.1", port, command, changed=changed))
        links[-1].start()
        return links[-1]

    yield make
    for link in links:
        link.close()


def knocks(server: socket.socket) -> int:
    """Return how many connections wait to be accepted."""
    count = 0
    while select.select([server], [], [], 0)[0]:
        server.accept()[0].close()
        count += 1
    return count


def test_an_unsuspected_link_is_up_and_nothing_is_sent(made: Callable[..., LinkMonitor]) -> None:
    with listening() as server:
        link = made(server.getsockname()[1])
        assert link.state() == (True, "")
        assert knocks(server) == 0


def test_a_doubt_is_settled_by_one_knock_for_all(made: Callable[..., LinkMonitor]) -> None:
    with listening() as server:
        link, stop, results = made(server.getsockname()[1]), threading.Event(), []
        hands = [threading.Thread(target=lambda: results.append(link.wait_until_up(stop))) for _ in range(8)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join(PATIENCE)
        assert results == [False] * 8
        assert not link.wait_until_up(stop)
        assert knocks(server) == 1


def test_a_store_that_does_not_answer_is_waited_for_and_a_stop_ends_that(made: Callable[..., LinkMonitor]) -> None:
    with listening() as server:
        port = server.getsockname()[1]
    changes: list[tuple[bool, str]] = []
    link, stop, results = made(port, changed=lambda up, reason: changes.append((up, reason))), threading.Event(), []
    hand = threading.Thread(target=lambda: results.append(link.wait_until_up(stop)))
    hand.start()
    wait_until(lambda: changes)
    assert changes == [(False, "127.0.0.1 does not answer")]
    assert link.state() == changes[0]
    assert results == []
    stop.set()
    hand.join(PATIENCE)
    assert results == [True]


def command(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "allowed"
    path.write_text(text)
    return ("/bin/sh", str(path))


def test_the_airline_decides_and_without_its_yes_nothing_is_sent(
    tmp_path: Path, made: Callable[..., LinkMonitor]
) -> None:
    words = command(tmp_path, "echo; echo on approach; echo more; exit 3")
    with listening() as server:
        link = made(server.getsockname()[1], words)
        assert link.state()[0] is False
        wait_until(lambda: link.state() == (False, "the link check command says: on approach"))
        stop = threading.Event()
        stop.set()
        assert link.wait_until_up(stop)
        assert knocks(server) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [("exit 1", "exit status 1"), ("kill -KILL $$", "ended by SIGKILL"), ("printf 'a\\033[2Jb'; exit 1", r"a\x1b[2Jb")],
)
def test_a_no_without_words_still_has_a_reason(
    tmp_path: Path, made: Callable[..., LinkMonitor], text: str, words: str
) -> None:
    link = made(9, command(tmp_path, text))
    wait_until(lambda: link.state() == (False, f"the link check command says: {words}"))


def test_a_command_that_cannot_be_run_is_a_no(tmp_path: Path, made: Callable[..., LinkMonitor]) -> None:
    link = made(9, (str(tmp_path / "missing"),))
    wait_until(lambda: link.state() == (False, "the link check command says: cannot be run: No such file or directory"))


def test_a_yes_is_asked_for_again_and_again_and_a_no_too(
    tmp_path: Path, made: Callable[..., LinkMonitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.network.link_monitor.ROUTE_INTERVAL", 0.01)
    monkeypatch.setattr("loader.network.link_monitor._COMMAND_UP", 0.2)
    monkeypatch.setattr("loader.network.link_monitor._COMMAND_DOWN", 0.1)
    words = command(tmp_path, f"echo run >> {tmp_path}/log; [ -e {tmp_path}/gate ] || {{ echo taxiing; exit 1; }}")
    changes: list[tuple[bool, str]] = []
    with listening() as server:
        made(server.getsockname()[1], words, changed=lambda up, reason: changes.append((up, reason)))
        no, yes = (False, "the link check command says: taxiing"), (True, "")
        wait_until(lambda: changes == [no])
        (tmp_path / "gate").touch()
        wait_until(lambda: changes == [no, yes])
        (tmp_path / "gate").unlink()
        wait_until(lambda: changes == [no, yes, no])
        assert knocks(server) == 0  # the store was not suspected


# Real networks, each in a separate namespace.

WATCH = """
import json, sys, threading
from loader.network.link_monitor import LinkMonitor
def say(*what):
    print(json.dumps(what), flush=True)
stop = threading.Event()
link = LinkMonitor(sys.argv[1], int(sys.argv[2]), changed=lambda up, reason: say("changed", up, reason))
link.start()
threading.Thread(target=lambda: say("waited", link.wait_until_up(stop)), daemon=True).start()
for line in sys.stdin:
    if line.strip() == "wait":
        threading.Thread(target=lambda: say("waited", link.wait_until_up(stop)), daemon=True).start()
    if line.strip() == "state":
        say("state", *link.state())
"""


class Watched:
    """A monitored link in a namespace without any network."""

    def __init__(self, host: str, port: int, before: str = "true") -> None:
        inside = f'{before} && exec "$0" -c "$1" "$2" "$3"'
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", inside, sys.executable, WATCH, host, str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line)

    def next_event(self) -> list[object]:
        return list(json.loads(self._lines.get(timeout=PATIENCE)))

    def ask(self, what: str) -> list[object]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.next_event()

    def run(self, *words: str) -> None:
        subprocess.run(["nsenter", "--net", "--target", str(self.process.pid), *words], check=True, timeout=PATIENCE)

    def listen(self, port: int) -> subprocess.Popen[str]:
        """Start a minimal store inside; it writes a line for each connection."""
        text = (
            "import socket\ns = socket.create_server(('', int(__import__('sys').argv[1])))\n"
            "print('ready', flush=True)\nwhile True:\n    s.accept()[0].close()\n    print('knock', flush=True)"
        )
        words = ["nsenter", "--net", "--target", str(self.process.pid), sys.executable, "-c", text, str(port)]
        store = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert store.stdout is not None
        assert store.stdout.readline() == "ready\n"
        return store

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def watched(host: str, port: int, before: str = "true") -> Iterator[Watched]:
    one = Watched(host, port, before)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.root
@pytest.mark.processes
def test_a_network_that_comes_and_goes_is_noticed_within_seconds() -> None:
    down = ["changed", False, "no route to 127.0.0.1: the network is down"]
    with watched("127.0.0.1", 8333) as plane:
        assert plane.next_event() == down
        assert plane.ask("state") == ["state", *down[1:]]
        store = plane.listen(8333)
        try:
            plane.run("ip", "link", "set", "lo", "up")
            assert sorted(map(str, (plane.next_event(), plane.next_event()))) == sorted(
                map(str, (["changed", True, ""], ["waited", True]))
            )
            assert store.stdout is not None
            assert store.stdout.readline() == "knock\n"
            plane.run("ip", "addr", "flush", "dev", "lo")
            assert plane.next_event() == down
        finally:
            store.kill()
            store.communicate()


@pytest.mark.root
@pytest.mark.processes
def test_without_any_network_a_name_is_not_blamed() -> None:
    with watched(HOST, 443) as plane:
        assert plane.next_event() == ["changed", False, f"no route to {HOST}: the network is down"]


RESOLVER = (
    "printf 'nameserver 127.0.0.1\\noptions timeout:30 attempts:5\\n' > $D/resolv.conf"
    " && mount --bind $D/resolv.conf /etc/resolv.conf"
)
OUTWARD = (
    "ip link set lo up && ip tuntap add dev cabin mode tap && ip addr add 10.1.1.1/24 dev cabin && ip link set cabin up"
)


@pytest.mark.root
@pytest.mark.processes
@pytest.mark.parametrize("hangs", [True, False])
def test_name_resolution_that_fails_or_hangs_is_reported_at_once(tmp_path: Path, hangs: bool) -> None:
    # A name server that receives every query and answers none, or no name server.
    silent = (
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53)); "
        f"open('{tmp_path}/ready', 'w').close(); s.recv(1000); open('{tmp_path}/asked', 'w').close(); time.sleep(999)"
    )
    server = f'{{ {sys.executable} -c "{silent}" & while [ ! -e {tmp_path}/ready ]; do sleep 0.05; done; }}'
    before = f"D={tmp_path} && {RESOLVER} && {OUTWARD}" + (f" && {server}" if hangs else "")
    with watched(HOST, 443, before) as plane:
        try:
            _, up, reason = plane.next_event()
            assert up is False
            if hangs:
                assert reason == f"the name {HOST} cannot be looked up: name resolution does not answer"
                assert (tmp_path / "asked").exists()
            else:
                assert reason == f"the name {HOST} is unknown: name resolution returns no address"
            # The call still hangs, but the process ends as soon as a stop is requested.
            assert plane.process.stdin is not None
            plane.process.stdin.close()
            assert plane.process.wait(PATIENCE) == 0  # the name server has more than two minutes
            plane.process.stdin = None
        finally:
            for pid in _others_in(tmp_path):
                os.kill(pid, 9)


def _others_in(folder: Path) -> list[int]:
    """Return the processes whose arguments contain the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found


IDLE = """
import resource, sys, threading, time
from loader.network.link_monitor import LinkMonitor
link, stop = LinkMonitor(sys.argv[1], 443), threading.Event()
link.start()
for _ in range(8):
    threading.Thread(target=link.wait_until_up, args=(stop,), daemon=True).start()
while link.state()[0]:
    time.sleep(0.01)
time.sleep(1)
before = resource.getrusage(resource.RUSAGE_SELF)
began = time.monotonic()
time.sleep(5)
after = resource.getrusage(resource.RUSAGE_SELF)
print((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (time.monotonic() - began))
"""


@pytest.mark.root
@pytest.mark.processes
def test_waiting_for_a_network_costs_next_to_nothing() -> None:
    words = ["unshare", "--net", sys.executable, "-c", IDLE, "10.9.9.9"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert float(done.stdout) <= 0.01  # share of a processor; it is a tenth of that where nothing else runs
