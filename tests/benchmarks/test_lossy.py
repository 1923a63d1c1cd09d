"""The emulated link: real packets, really delayed, really lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lossy import near_end_environment, parse_share
from benchmarks.network.forwarder import FAR, NEAR, Channel, Conditions, listen
from benchmarks.network.lossy_link import LossyLink
from benchmarks.network.namespaces import inside

ROOT = Path(__file__).resolve().parents[2]
PORT = 9


def test_a_packet_arrives_when_those_before_it_are_through_and_half_a_round_trip_later() -> None:
    channel = Channel(Conditions(rtt=1.0, loss=0, rate=1000, queue=10_000), seed=1)
    assert [channel.arrival(500, 10.0) for _ in range(3)] == [11.0, 11.5, 12.0]
    assert channel.arrival(500, 60.0) == 61.0


def test_packets_beyond_the_queue_limit_are_dropped() -> None:
    channel = Channel(Conditions(rtt=0, loss=0, rate=1000, queue=1000), seed=1)
    assert [channel.arrival(500, 0.0) for _ in range(3)] == [0.5, 1.0, None]
    assert channel.counts.overflowed == 1


def test_the_same_seed_loses_the_same_packets_and_about_as_many_as_set() -> None:
    conditions = Conditions(loss=0.005, rate=10**9, queue=10**9)
    channels = [Channel(conditions, seed) for seed in (1, 1, 2)]
    patterns = [[channel.arrival(1, 0.0) is None for _ in range(20_000)] for channel in channels]
    assert patterns[0] == patterns[1] != patterns[2]
    assert 60 < sum(patterns[0]) < 140


def test_a_share_is_written_as_people_write_it() -> None:
    assert parse_share("0.5%") == parse_share("0.005") == 0.005
    with pytest.raises(ValueError, match="write it like"):
        parse_share("200%")


def test_a_store_on_the_loopback_interface_is_forwarded_without_being_asked() -> None:
    environment, ports = near_end_environment({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8333", "A": "b"})
    assert ports == [8333]
    assert environment == {"AWS_ENDPOINT_URL_S3": f"http://{FAR}:8333", "A": "b", "LOSSY_FAR": FAR}
    assert near_end_environment({"AWS_ENDPOINT_URL_S3": "https://s3.example.org"})[1] == []


@pytest.mark.root
def test_sent_data_arrives_late_and_complete_and_leaves_no_residue() -> None:
    with LossyLink(Conditions(rtt=0.1, loss=0.05, rate=2_500_000)) as link:
        with inside(link.far):
            server = listen(PORT, "cubic")
        with inside(link.near):
            client = socket.create_connection((FAR, PORT), timeout=30)
        with server, client:
            accepted, (address, _) = server.accept()
            with accepted:
                sent = os.urandom(100_000)
                accepted.sendall(sent)
                accepted.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: client.recv(65_536), b""))
        there, back = link.counts()
        forwarder = link.near.parents[1]
    assert address == NEAR
    assert got == sent
    assert there.passed > 2
    assert back.passed >= 100_000 // 1460
    assert not list(Path("/sys/class/net").glob("lossy*"))
    assert not forwarder.exists()


@pytest.mark.root
def test_a_command_reaches_a_forwarded_port_and_returns_its_exit_code() -> None:
    source = (
        "import os, socket; s = socket.create_connection((os.environ['LOSSY_FAR'], {port})); os._exit(s.recv(1)[0])"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = [sys.executable, "-m", "benchmarks.lossy", "--rtt", "1ms", "--forward", str(port), "--"]
        process = subprocess.Popen([*link, sys.executable, "-c", source.format(port=port)], cwd=ROOT)
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"\x2a")
            assert process.wait(30) == 0x2A


def test_without_root_there_is_a_clear_error() -> None:
    program = (
        "import benchmarks.network.namespaces as n; n.os.geteuid = lambda: 1000; "
        "from benchmarks.lossy import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "An emulated link needs root, because it creates network namespaces and TUN devices."
