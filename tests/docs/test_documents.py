"""The documents match the code: everything is documented, and everything documented exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from campaigns import api_urls as campaigns_urls
from campaigns.uploads import signing
from campaigns.uploads.announcements import part_plan
from campaigns.uploads.refusals import Refusal
from fleet.api import urls as fleet_urls
from fleet.archive import format
from fleet.metrics import FleetCollector
from fleet.reconcile.limits import Limits
from ifeportal.accounts import hashers
from ifeportal.api import changes, urls
from ifeportal.api.pagination import Pagination
from ifeportal.api.viewsets import ReadOnlyViewSet
from ifeportal.conf.environment import Config
from ifeportal.exports import downloads, responses, views, writing
from ifeportal.exports.models import LIFETIME
from ifeportal.live import connections, feed_query, protocol
from ifeportal.models import PACEMAKER, Airline, User
from ifeportal.tables.export import ROW_LIMIT
from ifeportal.tables.search import SEARCH_LIMIT, SEARCH_WORDS
from ifeportal.web import user_limits
from ifeportal.web.problems import PROBLEM_TYPES
from ifeportal.web.server import daphne_server
from loader.config import OPTIONS
from loader.contract import item_reports, keys, manifest, names, strict_json, transfer_queue, units
from loader.contract.heartbeat import HEARTBEAT_LIMIT, parse_heartbeat
from loader.contract.time_window import ALWAYS
from loader.errors import ERRORS, ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def rows(name: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a document, by the text of their first cell (the first row of that name)."""
    found: dict[str, list[str]] = {}
    for line in read(name).splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.setdefault(cells[0].strip("` "), cells[1:])
    return found


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.S | re.M)


def test_the_documents_that_are_promised_are_there() -> None:
    assert {
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/operations.md",
        "docs/loader.md",
        "docs/api.md",
        "docs/contract.md",
    } <= set(NAMES)
    assert "Apache License" in read("LICENSE")


# Everything is documented.


def default_of(value: object) -> str:
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_every_setting_is_in_the_operations_manual_with_its_meaning() -> None:
    table = rows("docs/operations.md")
    for entry in fields(Config):
        assert table.get(entry.name.upper()) == [default_of(entry.default), entry.metadata["meaning"]], entry.name


def test_the_operations_manual_names_no_setting_that_is_not_read() -> None:
    known = {entry.name.upper() for entry in fields(Config)}
    text = read("docs/operations.md")
    start = text.index("| setting |")
    listed = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", text[start : text.index("\n\n", start)], re.M))
    assert listed == known
    for name in NAMES:
        for word in re.findall(r"`([A-Z][A-Z0-9_]+)=[^`]*`", read(name)):
            assert word.removesuffix("_FILE") in known | {option.variable for option in OPTIONS}, (name, word)


def test_every_option_of_the_loader_is_documented_with_its_variable_and_meaning() -> None:
    table = rows("docs/loader.md")
    for option in OPTIONS:
        key = f"{option.flag} {option.metavar}".strip()
        default = f"`{option.default}`" if option.default else ""
        assert table.get(key) == [f"`{option.variable}`", default, option.help], option.flag


def flags_of(app: str, command: str) -> set[str]:
    return set(load_command_class(app, command).create_parser("manage.py", command)._option_string_actions)


def test_documents_name_only_existing_loader_options_and_variables() -> None:
    known = {option.variable for option in OPTIONS}
    others = (("loader", "loader_status"), ("loader", "loader_trust"), ("fleet", "tail_policy"))
    flags = {option.flag for option in OPTIONS} | {flag for other in others for flag in flags_of(*other)}
    for name in NAMES:
        assert set(re.findall(r"\bLOADER_[A-Z_]*[A-Z]\b", read(name))) <= known, name
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", read("docs/loader.md"))) <= flags


@pytest.mark.parametrize("name", ["docs/loader.md", "docs/operations.md"])
def test_every_error_code_is_documented_with_what_to_do(name: str) -> None:
    table = rows(name)
    for kind in ERRORS.values():
        assert table.get(kind.code) == [kind.sentence, kind.advice], kind.code


def test_every_exit_code_is_documented() -> None:
    table = rows("docs/loader.md")
    assert {str(int(code)) for code in ExitCode} <= set(table)


def test_every_anomaly_is_documented() -> None:
    source = "".join(path.read_text() for app in ("fleet", "campaigns") for path in (ROOT / app).rglob("*.py"))
    named = set(re.findall(r'"((?:BAD|TOO_MANY|NAME|OLDER)_[A-Z]+|TOO_MANY|ROLLBACK)"', source))
    named -= set(Refusal)  # codes of the uploads API
    named |= {"TOO_MANY_TAILS", "TOO_MANY_CAMPAIGNS"}
    documented = set(re.findall(r"`([A-Z_]+)`", read("docs/operations.md")))
    assert named
    assert named <= documented


def lists() -> Iterator[tuple[str, type[ReadOnlyViewSet[Any]]]]:
    routers = campaigns_urls.router, fleet_urls.router, urls.router
    for prefix, view, _ in (row for router in routers for row in router.registry):
        assert issubclass(view, ReadOnlyViewSet)
        yield prefix, view


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_list_filter_order_and_column_of_the_api_is_documented() -> None:
    table = rows("docs/api.md")
    for prefix, view in lists():
        _, filters, orderings = table[f"/api/v1/{prefix}/"]
        assert words(filters) == set(view.filterset_class.base_filters), prefix  # type: ignore[attr-defined]
        assert words(orderings) == set(view.orderings), prefix
        serializer: Any = view.serializer_class
        assert words(table[prefix][0]) == set(serializer().fields), prefix


def test_every_refusal_of_an_upload_is_documented() -> None:
    assert set(Refusal) <= set(rows("docs/api.md"))


def test_the_limits_of_uploads_are_as_documented() -> None:
    text = " ".join(read("docs/api.md").split())
    assert f"at least {part_plan.SMALLEST_PART // units.MIB} MiB" in text
    assert f"at most {part_plan.MOST_PARTS:,} parts" in text
    assert f"at most {signing.PARTS_PER_REQUEST:,} parts a request" in text
    assert f"valid for {signing.VALID_FOR / 60:.0f} minutes" in text
    assert f"at most {signing.LONGEST_VALID_FOR / 3_600:.0f} hours" in text


def test_every_kind_of_problem_of_the_api_is_documented() -> None:
    assert set(PROBLEM_TYPES) <= set(rows("docs/api.md"))


@pytest.mark.django_db
def test_the_example_of_a_problem_is_what_the_api_answers(client: Client) -> None:
    example = json.loads(blocks("docs/api.md", "json")[0])
    client.force_login(User.objects.create_user("ops", is_staff=True))
    assert client.get("/api/v1/loads/?status=lost").json() == example


def test_the_limits_of_the_api_are_as_documented() -> None:
    text = " ".join(read("docs/api.md").split())
    assert f"(0 by default, at most {changes.MAX_WAIT})" in text
    assert f"`limit` ({feed_query.DEFAULT_LIMIT} by default, at most {feed_query.MAX_LIMIT:,})" in text
    rates: Any = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    per_minute = {scope: int(rate.removesuffix("/min")) for scope, rate in rates.items()}
    assert f"{per_minute['user']:,} requests a minute and user" in text
    assert f"{Pagination.page_size} rows by default, at most {Pagination.max_page_size:,}" in text


def test_every_test_that_the_security_page_names_exists() -> None:
    text = read("docs/security.md")
    named = set(re.findall(r"`(test_[a-z_0-9]+)`", text))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^(?:async )?def (test_[a-z_0-9]+)\(", sources, re.M))
    assert named
    assert named <= defined
    rows_of_asvs = re.findall(r"^\| (\d+\.\d+\.\d+) \| .+ \| (.+) \|$", text, re.M)
    assert all("`test_" in tests for _, tests in rows_of_asvs)
    assert len(rows_of_asvs) == text.split("## ASVS 5.0")[1].count("\n| ") - 2


def test_the_limits_of_work_are_as_documented() -> None:
    pages, security = " ".join(read("docs/pages.md").split()), " ".join(read("docs/security.md").split())
    manual = " ".join(read("docs/operations.md").split())
    for text, sentence in [
        (security, f"{SEARCH_LIMIT} characters, {SEARCH_WORDS} words"),
        (read("docs/api.md"), f"at most {SEARCH_WORDS} words and {SEARCH_LIMIT} characters"),
        (security, f"{user_limits.MAX_RUNNING} in a web process; {user_limits.MAX_WAITING} wait, each for 20 s"),
        (manual, f"runs {user_limits.MAX_RUNNING} requests of one user at a time"),
        (manual, f"may take {daphne_server.HEAD_TIMEOUT:.0f} s and 16 KiB, a body {daphne_server.BODY_TIMEOUT:.0f} s"),
        (manual, f"does not read an answer for {daphne_server.WRITE_TIMEOUT:.0f} s"),
        (manual, f"at most {daphne_server.MAX_CONNECTIONS:,}"),
        (security, f"{protocol.MESSAGE_LIMIT:,} characters; {daphne_server.SOCKET_MESSAGE_LIMIT // 1024} KiB"),
        (pages, f"at most {responses.DIRECT_ROWS:,} rows is sent at once"),
        (pages, f"| rows of a file | {ROW_LIMIT:,} | | size of a file | {writing.FILE_LIMIT // 2**20} MiB |"),
        (pages, f"| time to write a file | {writing.TIME_LIMIT:.0f} s |"),
        (pages, f"unfinished, in all | {views.UNFINISHED_PER_USER}, {views.STORED_PER_USER} |"),
        (pages, f"| all files, compressed | {writing.SPACE_LIMIT // 2**30} GiB |"),
        (pages, f"of a web process | {downloads.DOWNLOADS_PER_USER}, {downloads.DOWNLOADS_IN_ALL} |"),
        (pages, f"deleted {LIFETIME.days * 24} hours after"),
        (security, f"{hashers.MAX_CONCURRENT} at a time in a web process; {hashers.MAX_WAITING} wait"),
    ]:
        assert sentence in text, sentence


def test_the_limits_of_the_contract_are_as_documented() -> None:
    text = " ".join(read("docs/contract.md").split())
    limits = Limits()
    for sentence in [
        f"1 to {names.NAME_LIMIT} bytes of UTF-8",
        f"at most {manifest.MANIFEST_LIMIT // units.MIB} MiB, {manifest.ITEMS_LIMIT:,} items",
        f"{strict_json.DEPTH_LIMIT} levels deep",
        f"at most {transfer_queue.QUEUE_LIMIT // units.MIB} MiB, {transfer_queue.ENTRIES_LIMIT:,} entries",
        f"{manifest.ITEMS_LIMIT:,} names in one of them",
        f"at most {item_reports.PROGRESS_LIMIT} bytes are read",
        f"at most {item_reports.ERROR_LIMIT // 1024} KiB are read",
        f"at most {HEARTBEAT_LIMIT // 1024} KiB",
        f"at most {format.ARCHIVE_LIMIT // units.MIB} MiB, {format.UNPACKED_LIMIT // units.MIB} MiB unpacked",
        f"{limits.airlines:,} airlines; {limits.tails:,} tails and {limits.campaigns:,} campaigns of an airline",
        f"{limits.tails_in_all:,} tails and {limits.campaigns_in_all:,} campaigns in all",
        f"{limits.objects:,} transfers of one load",
    ]:
        assert sentence in text, sentence
    assert Airline().stalled_after_minutes == 10
    assert "no byte came for ten minutes" in " ".join(read("docs/operations.md").split())


def test_the_examples_of_the_contract_are_legal_and_whole() -> None:
    examples = blocks("docs/contract.md", "json")
    parsed = manifest.parse_manifest(examples[0].encode(), airline="ACME", campaign="2026-12")
    assert parsed.content[0].sha256
    assert not parsed.extra
    assert not parsed.content[0].extra
    queue = transfer_queue.parse_transfer_queue(examples[1].encode())
    assert [entry.action for entry in queue.entries or ()] == ["load", "load", "purge"]
    assert not queue.extra
    assert not queue.settings_extra
    assert not any(entry.extra for entry in queue.entries or ())
    heartbeat = parse_heartbeat(examples[2].encode())
    assert heartbeat.queue_version == 7
    assert set(heartbeat.extra) == {"holder"}
    assert len(examples) == 3


def test_every_field_of_the_queue_is_documented() -> None:
    table = rows("docs/contract.md")
    full = transfer_queue.TransferQueue(
        1,
        (transfer_queue.QueueEntry("c", ("i",), "load", 1, datetime.now(UTC), datetime.now(UTC)),),
        paused=True,
        bandwidth_limit=1,
        window=ALWAYS,
    )
    written = json.loads(transfer_queue.build_transfer_queue(full))
    fields = {f"entries[].{name}" for name in written["entries"][0]} | {
        f"settings.{name}" for name in written["settings"]
    }
    assert fields | {"version", "entries"} <= set(table)


def test_every_field_of_an_archive_is_documented() -> None:
    table = rows("docs/contract.md")
    assert set(format.LOAD_FIELDS) | set(format.TRANSFER_FIELDS) <= {
        word for name, cells in table.items() for cell in (name, *cells) for word in re.findall(r"\w+", cell)
    }


def test_the_keys_of_the_contract_are_those_that_are_built() -> None:
    table = rows("docs/contract.md")
    place = {"airline": "A", "tail": "T", "campaign": "C", "name": "i"}
    documented = {re.sub(r"<(\w+)>", lambda match: place[match[1]], key) for key in table if key.startswith("<")}
    built = {
        keys.manifest_key("A", "C"),
        keys.content_key("A", "C", "i"),
        keys.queue_key("A", "T"),
        keys.queue_signature_key("A", "T"),
        keys.progress_key("A", "T", "C", "i"),
        keys.error_key("A", "T", "C", "i"),
        keys.campaign_error_key("A", "T", "C"),
        keys.heartbeat_key("A", "T"),
        format.archive_key("A", "T", "C"),
    }
    assert documented == built | {"A/C/" + keys.SIGNATURE}


def name_of(metric: Metric) -> str:
    """Return the name in /metrics."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


@pytest.mark.django_db
def test_every_figure_of_the_metrics_is_documented() -> None:
    text = read("docs/operations.md")
    ours = {name_of(metric) for metric in (*FleetCollector().collect(), *connections.open_sockets_gauge.collect())}
    assert ours <= {name_of(metric) for metric in REGISTRY.collect()}
    documented = set(re.findall(r"`(ifeportal_\w+)", text))
    assert ours == documented


def test_every_command_of_ours_is_in_the_table_of_commands() -> None:
    text = read("docs/operations.md").split("## Commands")[1].split("\n## ")[0]
    ours = {path.stem for path in ROOT.glob("*/management/commands/[a-z]*.py")}
    assert set(re.findall(r"^\| `(\w+)`", text, re.M)) == ours


def test_every_job_is_documented() -> None:
    table = rows("docs/operations.md")
    assert {*settings.JOBS, *(f"{kind}:<airline>" for kind in settings.JOBS_PER_AIRLINE), PACEMAKER} <= set(table)


# Everything documented exists.


@pytest.mark.parametrize("name", NAMES)
def test_every_link_target_exists(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", read(name)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.resolve().is_relative_to(ROOT)
        assert file.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            assert fragment in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, target


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_is_one(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", read(name)), *blocks(name, "console")])
    assert set(re.findall(r"^(?:\$ )?make ([a-z-]+)", code, re.M)) <= targets


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_its_options_are_ones(name: str) -> None:
    for command, rest in re.findall(r"manage\.py ([a-z_]+)([^\n`]*)", read(name)):
        assert command in get_commands(), command
        app = get_commands()[command]
        loaded = load_command_class(app, command) if isinstance(app, str) else app
        options = set(loaded.create_parser("manage.py", command)._option_string_actions)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest)) <= options, (command, rest)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_ours_that_is_named_is_there(name: str) -> None:
    rooms = "loader|ifeportal|campaigns|fleet|tests|docker|requirements|docs"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]+\.\w+)`", read(name)):
        assert (ROOT / path).exists(), path


def test_every_arrow_of_the_diagrams_is_named() -> None:
    diagrams = blocks("docs/architecture.md", "mermaid")
    assert len(diagrams) == 3
    for diagram in diagrams:
        arrows = [line for line in diagram.splitlines() if "-->" in line]
        assert arrows
        assert all(re.fullmatch(r'\s+\w+ -- ".+" --> \w+', line) for line in arrows)
        nodes = set(re.findall(r"^    (\w+)[\[(]", diagram, re.M))
        ends = [re.findall(r"^\s+(\w+) --|--> (\w+)$", line) for line in arrows]
        assert {end for pairs in ends for pair in pairs for end in pair if end} == nodes


ARROW = re.compile(r'^\s+(\w+) -- "(.+)" --> (\w+)$', re.M)


def test_every_flow_of_level_0_is_found_on_level_1() -> None:
    """A flow keeps its external end and its data; the portal and the loader are replaced by their parts."""
    system, *insides = blocks("docs/architecture.md", "mermaid")
    inside = dict(zip(("portal", "loader"), insides, strict=True))
    labels = [dict(re.findall(r"^    (\w+)([\[(].+)$", diagram, re.M)) for diagram in (system, *insides)]
    lost = []
    for begin, data, end in ARROW.findall(system):
        part = next((name for name in (begin, end) if name in inside), "")
        flows = ARROW.findall(inside[part or "portal"])
        outside = [name for name in (begin, end) if name != part]
        assert {name: labels[0][name] for name in outside}.items() <= labels[1 if part != "loader" else 2].items()
        found = {
            item
            for first, items, last in flows
            if (first == begin or begin == part) and (last == end or end == part)
            for item in items.split(", ")
        }
        lost += [f"{begin} -> {end}: {item}" for item in data.split(", ") if item not in found]
    assert lost == []
