"""Measure the portal with many large airlines in one database: `python -m benchmarks.portal`.

PostgreSQL has 20 airlines of 1,000 tails and 20 items (400,000 transfers) and one tail with 10 loads of 60 items. Pages
are requested from the portal's views, without a network. Each is compared with the minimum for a page of the same rows:
one statement and `json.dumps`. Then a thousand sockets on one daphne are compared with a minimal server, and a page of
1,000 rows is measured in Chromium. Touches a temporary folder, the loopback interface and the processes it starts.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.portal import fanout, frames
from benchmarks.portal.fanout import FanoutResult
from benchmarks.portal.frames import BrowserResult
from benchmarks.scaling.filling import fill_database
from benchmarks.scaling.synthetic import CAMPAIGN, EPOCH, SIZE, Synthetic
from benchmarks.shared.goals import percentile
from tests.support.portal_system import PortalSystem, is_answering, wait_for
from tests.support.postgresql import postgresql

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "ife.example.org"
PARTS: Final = ("pages", "sockets", "browser")
FLEET: Final = Synthetic(airlines=fanout.AIRLINES, tails=1_000, items=20, moving=10, beating=60)
START: Final = "import django; django.setup(); from benchmarks.portal.page_times import main; main()"
DEEP_TAIL: Final = "N99999"  # has many loads
LOADS, ITEMS = 10, 60
DEEP_TAIL_ROWS: Final = """
WITH tail AS (
    INSERT INTO fleet_tail (airline_id, name, discovered, created_at, heard_at, heartbeat_etag, loader_version,
        loader_state, loader_reason, stores, held, keys)
    SELECT id, %(tail)s, true, now(), now(), '', '1.0', 'loading', '', '[]', '[]', 601
    FROM ifeportal_airline WHERE name = %(airline)s RETURNING id, airline_id
), campaign AS (
    INSERT INTO campaigns_campaign (airline_id, name, title, discovered, manifest_state, manifest_problem,
        manifest_etag, items_total, bytes_total, extra, created_at)
    SELECT airline_id, 'deep-' || c, '', true, 'ok', '', '', %(items)s, %(items)s * %(size)s::bigint, '{}', now()
    FROM tail, generate_series(1, %(loads)s) c RETURNING id
), item AS (
    INSERT INTO campaigns_contentitem (campaign_id, name, position, size, sha256, title, kind, required, priority,
        listed, extra)
    SELECT id, 'item-' || i, i, %(size)s, repeat('a', 64), 'A film', 'movie', true, 0, true, '{}'
    FROM campaign, generate_series(1, %(items)s) i
), load AS (
    INSERT INTO fleet_load (tail_id, campaign_id, status, stalled, bytes_done, bytes_total, error_code, error, as_of,
        items_total, items_done, items_failed, error_content, campaign_error, campaign_error_code, error_etag,
        manifest_etag)
    SELECT tail.id, campaign.id, 'loading', false, 0, %(items)s * %(size)s::bigint, '', '', now(), %(items)s, 0, 0, '',
        '', '', '', '' FROM tail, campaign RETURNING id
)
INSERT INTO fleet_transfer (load_id, content, status, stalled, bytes_done, bytes_total, bytes_reported, error_code,
    error, as_of, moved_at, listed, progress_etag, progress_at, error_etag, error_cut, error_past, restarted, oversized,
    unreadable)
SELECT id, 'item-' || i, CASE WHEN i < 3 THEN 'loading' WHEN i = 3 THEN 'failed' ELSE 'pending' END, false,
    CASE WHEN i < 3 THEN %(size)s::bigint / 2 ELSE 0 END, %(size)s, 0, CASE WHEN i = 3 THEN 'NO_SPACE' ELSE '' END,
    CASE WHEN i = 3 THEN 'There is not enough free space.' ELSE '' END, now(), now(), true, 'x', now(),
    CASE WHEN i = 3 THEN 'y' ELSE '' END, false, false, false, false, false
FROM load, generate_series(1, %(items)s) i
"""
# Some failed and some stalled loads.
VARIED_STATES: Final = """
UPDATE fleet_load SET status = 'failed', error = 'NO_SPACE: There is not enough free space.', error_code = 'NO_SPACE',
    error_content = 'item-000', items_failed = 1 WHERE id %% 50 = 0;
UPDATE fleet_load SET stalled = true WHERE status = 'loading' AND id %% 20 = 1;
"""
# Facts that polls store for loads that need attention.
RECOUNT: Final = (
    "from fleet.attention.keeping import recount; from ifeportal.models import Airline; recount(Airline.objects.all())"
)


@dataclass(frozen=True)
class PageSpec:
    """One kind of page: its paths, its limits, and the SQL statement it is compared with."""

    name: str
    paths: Sequence[str]
    seconds: float
    query: str
    statements: int | None = None
    kilobytes: int | None = None


def names() -> list[str]:
    """Return the names of the airlines."""
    return [FLEET.airline(number) for number in range(FLEET.airlines)]


LOAD_ROWS: Final = (
    "SELECT * FROM fleet_load l JOIN fleet_tail t ON t.id = l.tail_id JOIN ifeportal_airline a ON a.id = t.airline_id "
    "JOIN campaigns_campaign c ON c.id = l.campaign_id WHERE a.name = 'SYN003'"
)
PAGES: Final = (
    PageSpec(
        "airline page, 1,000 tails",
        [f"/airlines/{name}/?size=1000" for name in names()[:5]],
        0.150,
        LOAD_ROWS,
        statements=12,
        kilobytes=120,
    ),
    PageSpec(
        "airline page, as it opens",
        [f"/airlines/{name}/" for name in names()],
        0.150,
        f"{LOAD_ROWS} ORDER BY t.name LIMIT 50",
        statements=12,
        kilobytes=120,
    ),
    PageSpec(
        "fleet page",
        ["/"],
        0.060,
        "SELECT t.airline_id, l.status, count(*), sum(l.bytes_done), sum(l.bytes_total) FROM fleet_load l "
        "JOIN fleet_tail t ON t.id = l.tail_id GROUP BY 1, 2",
        statements=10,
    ),
    PageSpec(
        "tail page, 10 loads x 60 items",
        [f"/airlines/SYN000/tails/{DEEP_TAIL}/"],
        0.080,
        "SELECT * FROM fleet_transfer tr JOIN fleet_load l ON l.id = tr.load_id JOIN fleet_tail t ON t.id = l.tail_id "
        f"WHERE t.name = '{DEEP_TAIL}'",
        statements=12,
    ),
    PageSpec(
        "campaign page",
        [f"/airlines/{name}/campaigns/{CAMPAIGN}/" for name in names()],
        0.120,
        f"{LOAD_ROWS} ORDER BY t.name LIMIT 50",
    ),
    PageSpec(
        "attention page",
        ["/attention/"],
        0.150,
        "SELECT * FROM fleet_load WHERE status = 'failed' OR stalled",
        statements=12,
    ),
    PageSpec(
        "API, 100 rows, filtered",
        [f"/api/v1/transfers/?airline={name}&status=loading&page_size=100" for name in names()],
        0.080,
        "SELECT * FROM fleet_transfer tr JOIN fleet_load l ON l.id = tr.load_id JOIN fleet_tail t ON t.id = l.tail_id "
        "JOIN ifeportal_airline a ON a.id = t.airline_id JOIN campaigns_campaign c ON c.id = l.campaign_id "
        "WHERE a.name = 'SYN003' AND tr.status = 'loading' ORDER BY tr.id LIMIT 100",
    ),
)


@contextmanager
def filled_portal() -> Iterator[PortalSystem]:
    """Fill a database and yield the portal's settings."""
    with tempfile.TemporaryDirectory(prefix="ifeportal-portal-") as folder, postgresql() as url:
        system = PortalSystem(Path(folder), _settings(url, Path(folder)))
        system.manage("migrate", "-v0")
        system.manage("collectstatic", "--noinput", "-v0")
        fill_database(url, FLEET, lambda line: print(f"  {line}", flush=True))
        with psycopg.connect(url, autocommit=True) as connection:
            parameters = {
                "tail": DEEP_TAIL,
                "airline": "SYN000",
                "items": ITEMS,
                "loads": LOADS,
                "size": SIZE,
                "epoch": EPOCH,
            }
            connection.execute(DEEP_TAIL_ROWS, parameters)
            connection.execute(VARIED_STATES.replace("%%", "%"))
            connection.execute("UPDATE fleet_tail SET seen_at = now(), heard_at = now()")
            system.manage("shell", "-c", RECOUNT)
        with _page_process(system.environment) as child:
            ask(child, recounted=True)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        system.manage(
            "createsuperuser",
            "--noinput",
            "--username=ops",
            "--email=ops@example.org",
            DJANGO_SUPERUSER_PASSWORD=secrets.token_urlsafe(20),
        )
        yield system


def _settings(url: str, folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "DEBUG": "0",  # Django stores every statement in memory with DEBUG
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": f"{HOST},127.0.0.1",
        "HTTPS": "0",
        "LIVE_SOCKETS_PER_USER": str(fanout.SOCKETS),
        "CONNECTIONS_PER_ADDRESS": str(2 * fanout.SOCKETS),
        "DJANGO_SETTINGS_MODULE": "ifeportal.settings",
        "LOG_LEVEL": "WARNING",
        "STATIC_ROOT": str(folder / "static"),
    }


def ask(child: subprocess.Popen[str], **question: object) -> dict[str, Any]:
    """Send one request to the process and return its response."""
    assert child.stdin
    assert child.stdout
    child.stdin.write(json.dumps(question) + "\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise SystemExit("the process that requests pages exited")
    answer: dict[str, Any] = json.loads(line)
    return answer


def measure_pages(child: subprocess.Popen[str], times: int) -> list[list[str]]:
    """Return a table row for each kind of page."""
    lines = []
    for page in PAGES:
        count = max(times // len(page.paths), 2)
        found = ask(child, user="ops", paths=page.paths, times=count)
        bare = ask(child, query=page.query, times=times)
        lines.append(_line(page, found, bare))
        print("  ".join(lines[-1]), flush=True)
    return lines


async def fan_out(system: PortalSystem, child: subprocess.Popen[str]) -> FanoutResult:
    """Measure a thousand sockets of the portal, 50 for each airline."""
    session = ask(child, session="ops")

    async def send(number: int, at: float) -> None:
        airline = names()[number % fanout.AIRLINES]
        await asyncio.to_thread(ask, child, published=[airline, fanout.state(number, at)])

    watches = [
        {"watch": {"airline": names()[number % fanout.AIRLINES]}, "rev": session["rev"]}
        for number in range(fanout.SOCKETS)
    ]
    pid = system.portal.pid
    assert pid is not None
    return await fanout.measure_fanout(
        system.address.replace("http", "ws") + "/ws/live/", session["cookie"], watches, pid, send
    )


def socket_rows(portal: FanoutResult, bare_server: FanoutResult) -> list[list[str]]:
    """Return the table rows about sockets."""
    expected = fanout.CHANGES * fanout.SECONDS * fanout.SOCKETS // fanout.AIRLINES
    slow, minimum = percentile(portal.delays, 95), percentile(bare_server.delays, 95)
    label = f"{fanout.SOCKETS:,} sockets, {fanout.CHANGES} changes a second"
    all_received = portal.changes == expected and not portal.dropped
    return [
        [
            label, "p95 ≤ 1 s", f"{percentile(portal.delays, 50) * 1000:.0f} ms", f"{slow * 1000:.0f} ms",
            "met" if slow <= 1 else "**missed**", "", "", "", f"{slow / minimum:.1f} of `websockets`",
        ],
        [
            "changes received, none dropped", "100%", "", f"{portal.changes / expected:.0%}",
            "met" if all_received else "**missed**", "", "", "", f"{bare_server.changes / expected:.0%}",
        ],
        [
            "memory of that daphne", "≤ 300 MB", "", f"{portal.rss / 1e6:.0f} MB",
            "met" if portal.rss <= 300e6 else "**missed**", "", "", "", f"{portal.rss / bare_server.rss:.1f}",
        ],
    ]  # fmt: skip


@contextmanager
def _page_process(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        assert child.stdin
        child.stdin.close()
        child.wait()


def _line(page: PageSpec, found: Mapping[str, Any], bare: Mapping[str, Any]) -> list[str]:
    slow, minimum = percentile(found["seconds"], 95), percentile(bare["seconds"], 95)
    met = slow <= page.seconds
    met &= page.statements is None or found["statements"] <= page.statements
    met &= page.kilobytes is None or found["bytes"] <= page.kilobytes * 1000
    return [
        page.name,
        f"≤ {page.seconds * 1000:.0f} ms",
        f"{percentile(found['seconds'], 50) * 1000:.0f} ms",
        f"{slow * 1000:.0f} ms",
        "met" if met else "**missed**",
        f"{found['cpu'] * 1000:.0f} ms",
        f"{found['statements']}",
        f"{found['bytes'] / 1000:.0f} KB",
        f"{slow / minimum:.1f}",
    ]


def measure_in_browser(system: PortalSystem, child: subprocess.Popen[str]) -> BrowserResult:
    """Measure an airline's 1,000 rows in a browser, and the first paint of the pages."""
    cookie = ask(child, session="ops")["cookie"]
    starts = itertools.cycle(range(0, FLEET.tails, frames.ROWS))

    def change() -> None:
        ask(child, moved=[names()[0], frames.ROWS, next(starts)])

    paths = ["/", f"/airlines/{names()[0]}/", f"/airlines/{names()[0]}/campaigns/{CAMPAIGN}/"]
    return frames.measure_browser(system.address, cookie, f"/airlines/{names()[0]}/?size=1000", paths, change)


def browser_rows(result: BrowserResult) -> list[list[str]]:
    """Return the table rows about the browser."""
    script, paint = percentile(result.batches, 95), percentile(result.paints, 95)
    weight, longest = sum(result.script.values()), max(result.long_tasks, default=0)
    label = f"1,000 rows, {frames.ROWS} of them changing each second"
    return [
        [
            f"{label}: script of a batch", "≤ 10 ms", f"{percentile(result.batches, 50):.1f} ms", f"{script:.1f} ms",
            "met" if script <= 10 and result.patches else "**missed**", "", "", "", "",
        ],
        [
            f"{label}: tasks over 50 ms", "0", "", f"{len(result.long_tasks)}, longest {longest:.0f} ms",
            "**missed**" if result.long_tasks else "met", "", "", "", "",
        ],
        [
            "first paint, empty cache", "≤ 400 ms", f"{percentile(result.paints, 50):.0f} ms", f"{paint:.0f} ms",
            "met" if paint <= 400 else "**missed**", "", "", "", "",
        ],
        [
            "all JavaScript of these pages, as transferred", "≤ 60 KB", "", f"{weight / 1000:.0f} KB",
            "met" if weight <= 60_000 else "**missed**", "", "", "", "",
        ],
    ]  # fmt: skip


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.portal", description=__doc__)
    arguments.add_argument(
        "--times", type=int, default=100, metavar="N", help="responses of each kind of page (%(default)s)"
    )
    arguments.add_argument(
        "--only", choices=PARTS, action="append", help="measure one part; may be given more than once"
    )
    return arguments


def main() -> None:
    """Measure and print a table. Exit with 1 if a goal is missed."""
    options = parser().parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over 5 min, Python {platform.python_version()}\n")
    with filled_portal() as system:
        lines = [line for part in PARTS if part in (options.only or PARTS) for line in _part(part, system, options)]
    headings = ["what", "goal, p95", "p50", "p95", "", "CPU", "statements", "in gzip", "p95 ÷ the least"]
    table_rows = [headings, ["---", "---:", "---:", "---:", "---", "---:", "---:", "---:", "---:"], *lines]
    print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in table_rows))
    raise SystemExit(any("**missed**" in line for line in lines))


def _part(part: str, system: PortalSystem, options: argparse.Namespace) -> list[list[str]]:
    with _page_process(system.environment) as child:
        if part == "pages":
            return measure_pages(child, options.times)
        system.portal.start()
        wait_for("the portal answers", lambda: is_answering(system.address, system.portal))
        try:
            if part == "browser":
                return browser_rows(measure_in_browser(system, child))
            portal = asyncio.run(fan_out(system, child))
        finally:
            system.portal.stop()
        return socket_rows(portal, asyncio.run(fanout.measure_bare_server(names())))


if __name__ == "__main__":
    main()
