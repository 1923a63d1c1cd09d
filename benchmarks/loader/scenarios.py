"""The jobs of `benchmarks.loader`: each runs real processes and returns the rows of its goals."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.loader.setup import CAMPAIGN, LOADER, LOADS, MEDIA, GroundStore
from benchmarks.loader.zero_server import ZeroObjectServer
from benchmarks.network.forwarder import FAR
from benchmarks.network.lossy_link import LossyLink
from benchmarks.shared import goals, peers
from benchmarks.shared.goals import MIB, Row, median_row, ratio_row
from benchmarks.shared.processes import ROOT, Cost, MeasurementError, Variant, run, run_interleaved
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import Item, Manifest, build_manifest

GIB: Final = 1 << 30
RUN_LOADER, NO_PROGRESS, S5CMD, VERIFIED, AWS, RCLONE = (
    "run_loader",
    "run_loader, progress off",
    "s5cmd cp",
    "s5cmd cp, openssl, sync",
    "aws s3 cp",
    "rclone copy mt0",
)
BIG_AIRLINE: Final = "BENCH-X"
KILL_AT: Final = 0.7
SETTLE_SECONDS: Final = 20.0  # after its start, before a loader is idle
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Bench:
    """Configuration and results of all jobs. `log` receives a line for every run. `peaks` is the loader's peak memory
    in MiB of every run of any job.
    """

    ground: GroundStore
    folder: Path
    runs: int
    link_runs: int
    idle_seconds: float
    big: int
    log: Callable[[str], None]
    costs: dict[str, dict[str, list[Cost]]] = field(default_factory=dict)
    peaks: list[float] = field(default_factory=list)

    def ensure_published(self, name: str) -> None:
        """Publish a load unless it is published already."""
        if name not in self.ground.published:
            self.log(f"publishing {name}: {LOADS[name].items} x {LOADS[name].size >> 20} MiB")
            self.ground.publish(name)

    def record_costs(self, job: str, costs: Mapping[str, Sequence[Cost]]) -> None:
        """Add the costs of a job's runs to the report."""
        self.costs[job] = {name: list(runs) for name, runs in costs.items()}
        self.peaks += [cost.rss / MIB for name in (RUN_LOADER, NO_PROGRESS) for cost in costs.get(name, ())]


def loader_variant(ground: GroundStore, job: str, name: str = RUN_LOADER, **settings: str) -> Variant:
    """Return the loader with its default settings plus `settings`."""
    return Variant(
        name,
        lambda target, number: [*LOADER, "--once"],
        lambda target, number: ground.loader(LOADS[job].airline, target, f"T-{time.time_ns()}", **settings),
        lambda target: ground.check(job, target),
    )


def peer_variant(ground: GroundStore, job: str, name: str) -> Variant:
    """Return a peer as a variant of the job."""
    source, keys = ground.source(job), ground.store.environment()
    options = ["--multi-thread-streams", "10", "--multi-thread-cutoff", "1M"] if job == "link" else []
    commands: Mapping[str, Callable[[Path], list[str]]] = {
        S5CMD: source.s5cmd,
        VERIFIED: source.s5cmd_verified,
        AWS: source.aws,
        RCLONE: lambda target: source.rclone(target, *(options or ["--multi-thread-streams", "0"])),
    }
    return Variant(
        name,
        lambda target, number: commands[name](target),
        lambda target, number: peers.environment(keys, target.parent),
        lambda target: ground.check(job, target),
    )


def throughput(bench: Bench, job: str, *, wanted: Sequence[str]) -> list[Row]:
    """Run job a, b or c with the loader and the peers. With "progress" wanted, job a also runs the loader without
    reports; without "a" wanted, only these two run.
    """
    bench.ensure_published(job)
    ground = bench.ground
    variants = [loader_variant(ground, job)]
    if "progress" in wanted and job == "a":
        variants.append(loader_variant(ground, job, NO_PROGRESS, LOADER_PROGRESS_INTERVAL="1 day"))
    if job in wanted:
        names = {"a": (VERIFIED, S5CMD, AWS, RCLONE), "b": (VERIFIED, S5CMD, AWS), "c": (VERIFIED, S5CMD)}[job]
        variants += [peer_variant(ground, job, name) for name in names]
    costs = run_interleaved(variants, bench.runs, bench.folder, touch=LOADS[job].bytes, log=bench.log)
    bench.record_costs(job, costs)
    return throughput_rows(job, costs)


GOALS: Final = (
    (VERIFIED, goals.EQUAL, {"a": 0.60, "b": 0.95, "c": 0.80}),
    (S5CMD, goals.BARE, {"a": 1.3, "b": 1.9, "c": 1.1}),
    (AWS, goals.AWS, {"a": 0.70, "b": 0.70}),
    (RCLONE, goals.RCLONE, {"a": 0.70}),
)


def throughput_rows(job: str, costs: Mapping[str, Sequence[Cost]]) -> list[Row]:
    """Return the rows for which these runs have data. Pure."""
    walls = {name: [cost.wall for cost in runs] for name, runs in costs.items()}
    rows = [
        ratio_row(job, measure, goal[job], walls[RUN_LOADER], walls[peer])
        for peer, measure, goal in GOALS
        if peer in walls and job in goal
    ]
    if job == "a":
        cpu_per_gib = [cost.cpu * GIB / LOADS[job].bytes for cost in costs[RUN_LOADER]]
        rows.append(median_row(job, "CPU seconds per GiB", 1.3, cpu_per_gib, "s"))
    if NO_PROGRESS in walls:
        rows.append(ratio_row("progress", "wall, progress on ÷ off", 1.05, walls[RUN_LOADER], walls[NO_PROGRESS]))
    return rows


def over_bad_link(bench: Bench) -> list[Row]:
    """Load one item over a bad link, compared with each peer with several connections."""
    bench.ensure_published("link")
    port = int(bench.ground.store.endpoint.rpartition(":")[2])
    with LossyLink(forward=[port]) as link:
        ground = bench.ground.with_endpoint(f"http://{FAR}:{port}")
        local_variants = [
            loader_variant(ground, "link"),
            *(peer_variant(ground, "link", name) for name in (S5CMD, AWS, RCLONE)),
        ]
        variants = [_at_near_end(link, variant) for variant in local_variants]
        costs = run_interleaved(variants, bench.link_runs, bench.folder, touch=0, log=bench.log, warm=0)
    bench.record_costs("link", costs)
    walls = {name: [cost.wall for cost in runs] for name, runs in costs.items()}
    best = min((name for name in walls if name != RUN_LOADER), key=lambda name: goals.median(walls[name]))
    return [ratio_row("link", f"wall ÷ best of the peers (`{best}`)", 1.0, walls[RUN_LOADER], walls[best])]


def _at_near_end(link: LossyLink, variant: Variant) -> Variant:
    return Variant(
        variant.name,
        lambda target, number: link.command(variant.command(target, number)),
        variant.environment,
        variant.check,
    )


def memory(bench: Bench) -> list[Row]:
    """Load one item larger than memory; return the peak memory of this and all other runs."""
    digest, zeros = hashlib.sha256(), bytes(MIB)
    for _ in range(bench.big // MIB):
        digest.update(zeros)
    media = bench.ground.store.bucket(MEDIA)
    items = (Item("item-000", bench.big, digest.hexdigest()),)
    media.put(manifest_key(BIG_AIRLINE, CAMPAIGN), build_manifest(Manifest(items)))
    path = f"/{MEDIA}/{content_key(BIG_AIRLINE, CAMPAIGN, 'item-000')}"
    with ZeroObjectServer(path, bench.big, bench.ground.store.endpoint) as server, _folder(bench) as target:
        environment = bench.ground.with_endpoint(server.endpoint).loader(BIG_AIRLINE, target, "T-big")
        cost = run([*LOADER, "--once"], environment)
        loaded = target / CAMPAIGN / "item-000.tgz"
        if loaded.stat().st_size != bench.big:
            raise MeasurementError("the big item is incomplete")
    bench.log(f"  {bench.big >> 30} GiB: {cost.wall:.1f} s, CPU {cost.cpu:.1f} s, {cost.rss >> 20} MiB")
    bench.record_costs("rss", {RUN_LOADER: [cost]})
    return [Row("rss", "peak RSS, of this and every other run", 64, max(bench.peaks), "MiB")]


def resume(bench: Bench) -> list[Row]:
    """Kill the loader with SIGKILL at 70% of a large item and start it again. A proxy counts the refetched bytes."""
    bench.ensure_published("c")
    refetched = []
    for number in range(bench.runs):
        with _folder(bench) as target, FaultProxy(bench.ground.store.endpoint) as link:
            ground = bench.ground.with_endpoint(link.endpoint)
            environment = ground.loader(LOADS["c"].airline, target, f"T-{time.time_ns()}")
            process = subprocess.Popen(
                [*LOADER, "--once"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while _bytes_sent(link) < KILL_AT * LOADS["c"].bytes:
                if process.poll() is not None:
                    raise MeasurementError("the loader exited before it could be killed")
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            run([*LOADER, "--once"], environment)
            ground.check("c", target)
            refetched.append((_bytes_sent(link) - LOADS["c"].bytes) / MIB)
        bench.log(f"  [{number}] fetched again: {refetched[-1]:.1f} MiB")
    return [median_row("resume", "bytes fetched again", 64, refetched, "MiB")]


def _bytes_sent(link: FaultProxy) -> int:
    return sum(exchange.sent for exchange in link.requests("GET", "*.tgz"))


def idle(bench: Bench) -> list[Row]:
    """Measure the CPU use of an idle loader that has loaded everything and is offline."""
    bench.ensure_published("small")
    with _folder(bench) as target, FaultProxy(bench.ground.store.endpoint) as link:
        environment = bench.ground.with_endpoint(link.endpoint).loader(
            LOADS["small"].airline, target, f"T-{time.time_ns()}"
        )
        run([*LOADER, "--once"], environment)
        link.offline()
        process = subprocess.Popen(
            LOADER, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(SETTLE_SECONDS)
            before, started = _cpu_seconds(process.pid), time.monotonic()
            time.sleep(bench.idle_seconds)
            share = (_cpu_seconds(process.pid) - before) / (time.monotonic() - started)
            if process.poll() is not None:
                raise MeasurementError("the loader exited while it was offline")
        finally:
            process.terminate()
            process.wait()
    bench.log(f"  CPU {share:.3%} over {bench.idle_seconds:.0f} s")
    return [Row("idle", f"CPU, over {bench.idle_seconds:.0f} s", 0.1, share * 100, "%")]


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def once(bench: Bench) -> list[Row]:
    """Measure a start that has nothing to load."""
    bench.ensure_published("small")
    with _folder(bench) as target:
        environment = bench.ground.loader(LOADS["small"].airline, target, f"T-{time.time_ns()}")
        costs = [run([*LOADER, "--once"], environment) for _ in range(1 + bench.runs)][1:]
    bench.record_costs("once", {RUN_LOADER: costs})
    bench.log(f"  CPU {[round(cost.cpu, 2) for cost in costs]}")
    return [median_row("once", "CPU seconds", 0.7, [cost.cpu for cost in costs], "s")]


@contextmanager
def _folder(bench: Bench) -> Iterator[Path]:
    with TemporaryDirectory(dir=bench.folder, prefix="target-") as made:
        yield Path(made)
