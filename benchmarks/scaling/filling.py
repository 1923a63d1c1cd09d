"""Fill the rows of a fleet of any size with SQL, as if the portal had read `benchmarks.scaling.synthetic`.

Touches the PostgreSQL it is given, whose tables exist and are empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import psycopg

from benchmarks.scaling.synthetic import CAMPAIGN, EPOCH, POSITIONS, SIZE, Synthetic

MIB: Final = 1 << 20
AIRLINE: Final = """
INSERT INTO ifeportal_airline (name, title, discovered, created_at)
VALUES (%(name)s, '', true, now()) RETURNING id
"""
CAMPAIGN_ROW: Final = """
INSERT INTO campaigns_campaign (airline_id, name, title, discovered, manifest_state, manifest_problem, manifest_etag,
    manifest_as_of, items_total, bytes_total, extra, created_at)
VALUES (%(airline)s, %(campaign)s, '', true, 'ok', '', %(etag)s, %(epoch)s, %(items)s,
    %(items)s::bigint * %(size)s + %(items)s::bigint * (%(items)s - 1) / 2, '{}', now()) RETURNING id
"""
ITEMS: Final = """
INSERT INTO campaigns_contentitem (campaign_id, name, position, size, sha256, title, kind, required, priority, listed,
    extra)
SELECT %(campaign)s, 'item-' || lpad(i::text, 3, '0'), i, %(size)s::bigint + i, '', '', '', true, 0, true, '{}'
FROM generate_series(0, %(items)s - 1) i
"""
TAILS: Final = """
INSERT INTO fleet_tail (airline_id, name, discovered, created_at, heard_at, heartbeat_etag, heartbeat_at,
    loader_version, loader_state, loader_reason, rate_bps, stores, held, keys)
SELECT %(airline)s, 'N' || lpad(t::text, 5, '0'), true, now(), %(epoch)s, %(beat)s, %(epoch)s, 'synthetic', 'idle', '',
    0, '[]', '[]', %(items)s + 1
FROM generate_series(0, %(tails)s - 1) t
"""
LOADS: Final = """
INSERT INTO fleet_load (tail_id, campaign_id, status, stalled, bytes_done, bytes_total, error_code, error, as_of,
    items_total, items_done, items_failed, error_content, campaign_error, campaign_error_code, error_etag,
    manifest_etag)
SELECT id, %(campaign)s, 'pending', false, 0, 0, '', '', %(epoch)s, %(items)s, 0, 0, '', '', '', '', %(etag)s
FROM fleet_tail WHERE airline_id = %(airline)s
"""
TRANSFERS: Final = """
INSERT INTO fleet_transfer (load_id, content, status, stalled, bytes_done, bytes_total, bytes_reported, error_code,
    error, as_of, moved_at, started_at, finished_at, listed, progress_etag, progress_at, error_etag, error_cut,
    error_past, restarted, oversized, unreadable)
SELECT load, 'item-' || lpad(i::text, 3, '0'),
    CASE WHEN done = size THEN 'complete' WHEN done = 0 THEN 'pending' ELSE 'loading' END, false, done, size, done, '',
    '', %(epoch)s, %(epoch)s, CASE WHEN done > 0 THEN %(epoch)s::timestamptz END,
    CASE WHEN done = size THEN %(epoch)s::timestamptz END, true, md5(done::text), %(epoch)s, '', false, false, false,
    false, false
FROM (
    SELECT load, i, size, CASE
        WHEN t %% %(moving)s > 0 THEN size
        WHEN i = t / %(moving)s %% %(items)s THEN %(mib)s::bigint * (1 + t %% %(positions)s)
        WHEN i < t / %(moving)s %% %(items)s THEN size
        ELSE 0 END AS done
    FROM (
        SELECT l.id AS load, substr(tail.name, 2)::int AS t, i, %(size)s::bigint + i AS size
        FROM fleet_load l JOIN fleet_tail tail ON tail.id = l.tail_id, generate_series(0, %(items)s - 1) i
        WHERE tail.airline_id = %(airline)s
    ) AS placed
) AS valued
"""
SUMS: Final = """
UPDATE fleet_load l SET bytes_done = s.bytes, bytes_total = s.total, items_done = s.done,
    status = CASE WHEN s.done = items_total THEN 'complete' ELSE 'loading' END
FROM (
    SELECT load_id, sum(bytes_done) AS bytes, sum(bytes_total) AS total,
        count(*) FILTER (WHERE status = 'complete') AS done
    FROM fleet_transfer WHERE load_id IN (SELECT id FROM fleet_load WHERE campaign_id = %(campaign)s) GROUP BY load_id
) s WHERE s.load_id = l.id
"""
SAMPLES: Final = """
INSERT INTO fleet_progresssample (load_id, at, bytes_done)
SELECT l.id, %(epoch)s::timestamptz - m * interval '1 hour', 1000000000 - m * 1000000
FROM (SELECT id FROM fleet_load ORDER BY id LIMIT 10000) l, generate_series(1, 20) m
"""


def fill_database(url: str, fleet: Synthetic, log: Callable[[str], None]) -> None:
    """Insert every row of cycle 0, one airline after the other. `log` is called for every tenth."""
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(fleet.airlines):
            _fill_airline(connection, fleet, number)
            if number % 10 == 9:
                log(f"{(number + 1) * fleet.tails * fleet.items:,} transfers filled")
        connection.execute(SAMPLES, {"epoch": EPOCH})
        connection.execute("VACUUM ANALYZE")


def _fill_airline(connection: psycopg.Connection[tuple[int, ...]], fleet: Synthetic, number: int) -> None:
    parameters: dict[str, object] = {
        "name": fleet.airline(number),
        "campaign": CAMPAIGN,
        "etag": hashlib.md5(fleet.manifest(number), usedforsecurity=False).hexdigest(),
        "beat": hashlib.md5(fleet.heartbeat(0, 0).body, usedforsecurity=False).hexdigest(),
        "epoch": EPOCH,
        "tails": fleet.tails,
        "items": fleet.items,
        "moving": fleet.moving,
        "size": SIZE,
        "mib": MIB,
        "positions": POSITIONS,
    }
    with connection.transaction():
        parameters["airline"] = _id(connection.execute(AIRLINE, parameters))
        parameters["campaign"] = _id(connection.execute(CAMPAIGN_ROW, parameters))
        for statement in (ITEMS, TAILS, LOADS, TRANSFERS, SUMS):
            connection.execute(statement, parameters)


def _id(cursor: psycopg.Cursor[tuple[int, ...]]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return row[0]
