"""The documented performance matches the benchmarks and the tests that assert it."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

from benchmarks import latency
from benchmarks.shared import goals
from tests.fleet.polling import test_polling_cost as cost

ROOT = Path(__file__).resolve().parents[2]
# The other modules are helpers.
MAINS = [path for path in (ROOT / "benchmarks").rglob("*.py") if "\ndef parser(" in path.read_text()]
BENCHMARKS = {path.parent.name if path.stem == "__main__" else path.stem: path for path in MAINS}
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


def words(name: str) -> str:
    return " ".join((ROOT / name).read_text().split())


def options_of(name: str) -> set[str]:
    module = f"benchmarks.{name}.__main__" if BENCHMARKS[name].stem == "__main__" else f"benchmarks.{name}"
    parser: ArgumentParser = import_module(module).parser()
    return set(parser._option_string_actions)


def test_every_benchmark_that_is_named_is_one_and_has_the_options_that_are_named() -> None:
    named = set()
    for document in DOCUMENTS:
        for module, rest in re.findall(r"python -m benchmarks\.(\w+)([^\n`]*)", document.read_text()):
            named.add(module)
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest)) <= options_of(module), (document.name, rest)
    assert named == set(BENCHMARKS)


def test_every_benchmark_is_listed_and_has_its_results() -> None:
    for name in BENCHMARKS:
        assert f"python -m benchmarks.{name}" in words("benchmarks/README.md")
        assert f"python -m benchmarks.{name}" in words("docs/performance.md")


def test_the_limits_that_tests_assert_are_as_documented() -> None:
    text = words("docs/performance.md")
    assert f"{cost.TAILS * cost.ITEMS:,} objects" in text
    assert f"{cost.QUERIES_A_POLL} queries and {cost.QUERIES_A_BATCH} more for each batch of tails that changed" in text


def test_the_table_of_latencies_has_the_columns_that_are_printed() -> None:
    heads = latency.Latency(2.0, [1.0]).table("sqlite").splitlines()[0]
    assert heads in (ROOT / "docs/performance.md").read_text()


def test_the_table_of_the_loader_has_the_columns_that_are_printed() -> None:
    assert goals.table([]) in (ROOT / "docs/performance.md").read_text()


def test_every_job_of_the_loader_is_documented() -> None:
    assert ", ".join(f"`{job}`" for job in goals.JOBS) in words("benchmarks/README.md")


def test_the_ratio_is_that_of_the_95th_percentile_to_the_goal() -> None:
    found = latency.Latency(2.0, [number / 100 for number in range(1, 101)])
    assert found.percentile(95) == 0.95
    assert found.percentile(50) == 0.50
    assert found.ratio == 0.95 / 3


def test_the_benchmark_formats_numbers_as_the_documents_do() -> None:
    cases = {1: "1.00 MB", 42: "42.0 MB", 100: "100 MB", latency.MAX_SAMPLES: f"{latency.MAX_SAMPLES} MB"}
    assert {number: latency.format_megabytes(number) for number in cases} == cases
