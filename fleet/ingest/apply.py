"""Write the updates of tails: their rows, the totals of their loads, samples, and the feed, in one transaction.

The number of statements depends neither on the number of tails nor on that of objects (beyond the rows per statement).
The rows of the tails are locked first, in order of id, and every decision is made on rows read after that, so that two
concurrent writers end in the same rows. Every other writer of loads or transfers locks their tails the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from fleet.attention import keeping
from fleet.choices import Status
from fleet.feed import publish_totals, row_changes
from fleet.history import events
from fleet.ingest import anomalies
from fleet.ingest.heartbeats import apply_heartbeats
from fleet.ingest.loads import open_loads, write_loads
from fleet.ingest.rows import lock_tails
from fleet.ingest.transfers import write_transfers
from fleet.ingest.updates import Catalog, ObjectRef, SupersededObjects, TailUpdate
from fleet.ingest.verification import update_verification
from fleet.stats.throughput import add_received
from ifeportal.models import Airline
from ifeportal.work_lease import NO_LEASE, WorkLease


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """Numbers of transfers and loads written.

    `superseded` are objects, by the id of their tail, that were ignored because a newer version is known.
    """

    transfers: int = 0
    loads: int = 0
    superseded: Mapping[int, frozenset[ObjectRef]] = field(default_factory=dict)


def apply_tails(
    airline: Airline,
    batch: Mapping[int, TailUpdate],
    catalog: Catalog,
    now: datetime,
    *,
    lease: WorkLease = NO_LEASE,
) -> ApplyResult:
    """Write the updates of these tails (by id) in one transaction, the feed last. Ids without a row are ignored.

    The fence of `lease` is checked right before the feed is written; a lost lease rolls everything back, as any error
    does.
    """
    with transaction.atomic():
        tails = lock_tails(airline, batch)
        loads = open_loads(tails, batch, catalog)
        transfers = write_transfers(loads, now)
        totals = write_loads(loads, {row.load_id for row in transfers.rows}, now)
        heartbeats = apply_heartbeats(((tail, batch[pk]) for pk, tail in tails.items()), now)
        complete = {row.pk for row in totals.rows if row.status == Status.COMPLETE}
        verified = update_verification(tails=heartbeats.inventory_changed, loads=complete)
        anomalies.upsert_open(airline, "status", [problem for pk in tails for problem in batch[pk].problems], now)
        written = [*totals.rows, *verified]
        changes = row_changes(transfers.rows, written, heartbeats.changed)
        events.write_events([*transfers.events, *totals.events])
        add_received(airline, transfers.bytes_received, now)
        keeping.keep(airline.pk, tails)
        publish_totals(
            [airline.pk] if written or transfers.item_changes else (),
            {row.campaign_id for row in written},
            tails={row.tail_id for row in totals.rows},
            items=transfers.item_changes,
            rows=changes,
            lease=lease,
        )
    return ApplyResult(
        transfers=len(transfers.rows),
        loads=len(totals.rows),
        superseded=_by_tail(transfers.superseded | totals.superseded | heartbeats.superseded),
    )


def _by_tail(superseded: SupersededObjects) -> dict[int, frozenset[ObjectRef]]:
    objects: defaultdict[int, set[ObjectRef]] = defaultdict(set)
    for pk, name in superseded:
        objects[pk].add(name)
    return {pk: frozenset(names) for pk, names in objects.items()}
