"""The arithmetic and the tools of `benchmarks.loader`; the measurement itself takes too long for a test."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks.loader.scenarios import AWS, NO_PROGRESS, RCLONE, RUN_LOADER, S5CMD, VERIFIED, throughput_rows
from benchmarks.loader.zero_server import ZeroObjectServer, build_response_head
from benchmarks.shared import peers
from benchmarks.shared.goals import HEADINGS, JOBS, Row, median, median_row, ratio_row, table
from benchmarks.shared.processes import Cost, MeasurementError, Variant, run, run_interleaved
from ifeportal.embedded.seaweedfs import SeaweedFS

ROOT = Path(__file__).resolve().parents[2]
HERE = {"PATH": "/usr/bin:/bin"}


def cost(wall: float) -> Cost:
    return Cost(wall, cpu=2 * wall, rss=50 << 20)


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_our_runs() -> None:
    row = ratio_row("a", "wall", 0.7, values=[3.0, 1.0, 2.0], baseline=[9.0, 4.0, 1.0])
    assert (row.found, row.low, row.high) == (0.5, 0.25, 0.75)
    assert row.met
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_a_goal_is_met_by_what_reads_as_the_goal_and_by_nothing_above() -> None:
    assert Row("a", "wall", 0.7, 0.7049).met
    assert not Row("a", "wall", 0.7, 0.7051).met


def test_the_table_shows_the_result_of_every_goal() -> None:
    rows = [
        ratio_row("b", "wall ÷ x", 0.95, [1.0], [2.0]),
        median_row("once", "CPU seconds", 0.7, [0.8, 0.9, 1.0], "s"),
    ]
    assert table(rows).splitlines() == [
        f"| {' | '.join(HEADINGS).replace('|  |', '| |')} |",
        "| --- | --- | ---: | ---: | --- | ---: |",
        "| b: 200 x 2 MiB | wall ÷ x | ≤ 0.95 | 0.50 | met | 0.50-0.50 |",
        "| `run_loader --once`, nothing to do | CPU seconds | ≤ 0.7 s | 0.90 s | **missed** | 0.80-1.00 |",
    ]


def test_every_goal_against_a_peer_gets_a_row_in_the_jobs_it_is_set_for() -> None:
    costs = {name: [cost(1.0)] for name in (RUN_LOADER, NO_PROGRESS, S5CMD, VERIFIED, AWS, RCLONE)}
    goals = {job: [row.goal for row in throughput_rows(job, costs)] for job in "abc"}
    assert goals == {"a": [0.6, 1.3, 0.7, 0.7, 1.3, 1.05], "b": [0.95, 1.9, 0.7, 1.05], "c": [0.8, 1.1, 1.05]}
    spent = [row for row in throughput_rows("a", costs) if row.unit == "s"]
    assert [row.found for row in spent] == [1.0]  # two seconds for two GiB


def test_goals_without_peers_are_judged_when_peers_are_missing() -> None:
    rows = throughput_rows("a", {RUN_LOADER: [cost(1.0)], NO_PROGRESS: [cost(1.0)]})
    assert [(row.job, row.found) for row in rows] == [("a", 1.0), ("progress", 1.0)]


def test_variants_take_turns_each_in_an_empty_folder_and_warm_up_first(tmp_path: Path) -> None:
    lines: list[str] = []
    runs: list[tuple[str, int]] = []

    def variant(name: str) -> Variant:
        def command(target: Path, number: int) -> list[str]:
            assert not list(target.iterdir())
            runs.append((name, number))
            return ["touch", str(target / name)]

        return Variant(name, command, lambda target, number: HERE)

    costs = run_interleaved([variant("x"), variant("y")], 2, tmp_path, touch=3 << 20, log=lines.append)
    assert runs == [("x", 0), ("y", 0), ("x", 1), ("y", 1), ("x", 2), ("y", 2)]
    assert {name: len(of) for name, of in costs.items()} == {"x": 2, "y": 2}
    assert len(lines) == 6
    assert not list(tmp_path.iterdir())


def test_files_of_a_run_are_emptied_before_the_next_one_and_deleted_at_the_end(tmp_path: Path) -> None:
    left: list[list[int]] = []

    def command(target: Path, number: int) -> list[str]:
        left.append([path.stat().st_size for path in target.parent.rglob("x")])
        return ["sh", "-c", f"echo content > {target}/x"]

    run_interleaved([Variant("x", command, lambda target, number: HERE)], 2, tmp_path, touch=0, log=lambda line: None)
    assert left == [[], [0], [0, 0]]
    assert not list(tmp_path.iterdir())


def test_the_memory_of_a_process_is_its_own_and_not_that_of_who_measures(tmp_path: Path) -> None:
    ballast = bytearray(b"x") * (100 << 20)
    small = run(["true"], HERE)
    large = run([sys.executable, "-S", "-c", "bytearray(b'x') * (60 << 20)"], HERE)
    assert len(ballast) > 100_000_000
    assert small.rss < 30 << 20
    assert large.rss > 60 << 20


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(MeasurementError, match="no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"], HERE)


@pytest.mark.parametrize(
    ("asked", "status", "length", "span"),
    [
        ("", "200 OK", 1000, None),
        ("Range: bytes=400-\r\n", "206 Partial Content", 600, "400-999/1000"),
        ("range: bytes=10-19\r\n", "206 Partial Content", 10, "10-19/1000"),
        ("Range: bytes=990-2000\r\n", "206 Partial Content", 10, "990-999/1000"),
    ],
)
def test_the_generated_object_is_served_in_full_and_by_range(
    asked: str, status: str, length: int, span: str | None
) -> None:
    head, count = build_response_head(f"GET /b/k HTTP/1.1\r\n{asked}\r\n", 1000)
    text = head.decode()
    assert count == length
    assert text.startswith(f"HTTP/1.1 {status}\r\n")
    assert (f"Content-Range: bytes {span}" in text) is (span is not None)


def test_other_objects_are_served_from_the_store(seaweed: SeaweedFS) -> None:
    with ZeroObjectServer("/bench-media/big", 3_000_000, seaweed.endpoint) as server:
        with urllib.request.urlopen(f"{server.endpoint}/bench-media/big") as answer:
            assert answer.read() == bytes(3_000_000)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.endpoint}/bench-media/other")
        assert refused.value.code == 403  # SeaweedFS: the request is not signed


def test_missing_measurements_are_named() -> None:
    assert set(peers.missing()) <= set(peers.PROGRAMS)


def test_the_help_lists_all_jobs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ",".join(JOBS) in "".join(done.stdout.split())
