"""All totals counted from the rows in plain Python, to compare with the stored ones."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test import Client

from campaigns.models import Campaign
from fleet.attention import keeping
from fleet.choices import ServiceStatus, State, Status
from fleet.models import AirlineTotals, CampaignTotals, ItemTotals, Load, LoadTotals, Tail, Transfer
from fleet.stats.rollup import HALF
from fleet.stats.totals import PROOFS, recount
from ifeportal.models import Airline

# Statements that write to a table of the apps `fleet` and `campaigns`, or to the airlines; or that undo such writes.
MAY_CHANGE_TOTALS: Final = re.compile(
    r"^\s*ROLLBACK|\b(?:INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\b.*\b(?:fleet|campaigns|ifeportal_airline)", re.DOTALL
)
COLUMNS = tuple(each.name for each in LoadTotals._meta.local_fields)
Totals = dict[str, Any]


def counted_totals() -> Totals:
    """Return every total by a readable key, counted from loads, tails and transfers."""
    loads = list(Load.objects.select_related("tail", "campaign").order_by("pk"))
    found: Totals = {}
    for campaign in Campaign.objects.all():
        theirs = [load for load in loads if load.campaign_id == campaign.pk]
        serving = sum(load.tail.duty == ServiceStatus.ACTIVE for load in theirs)
        found[f"campaign {campaign.pk}"] = _of_loads(theirs) | {"tails": serving, "tails_out": len(theirs) - serving}
    for airline in Airline.objects.all():
        tails = list(airline.tails.all())
        serving_tails = [tail.pk for tail in tails if tail.duty == ServiceStatus.ACTIVE]
        ready = [pk for pk in serving_tails if _is_ready([load for load in loads if load.tail_id == pk])]
        found[f"airline {airline.pk}"] = _of_loads([load for load in loads if load.tail.airline_id == airline.pk]) | {
            "tails": len(serving_tails),
            "tails_out": len(tails) - len(serving_tails),
            "ready": len(ready),
            "newest_tail": max((tail.pk for tail in tails), default=0),
        }
    for tail in Tail.objects.all():
        found[f"tail {tail.pk}"] = _of_tail([load for load in loads if load.tail_id == tail.pk])
    return found | _of_items()


def stored_totals() -> Totals:
    """Return the same from the stored rows. A campaign or airline without a row has no loads and tails."""
    found: Totals = {}
    for campaign in Campaign.objects.all():
        row = CampaignTotals.objects.filter(pk=campaign.pk).first() or CampaignTotals()
        found[f"campaign {campaign.pk}"] = {name: getattr(row, name) for name in COLUMNS}
    for airline in Airline.objects.all():
        of_airline = AirlineTotals.objects.filter(pk=airline.pk).first() or AirlineTotals()
        found[f"airline {airline.pk}"] = {
            name: getattr(of_airline, name) for name in (*COLUMNS, "ready", "newest_tail")
        }
    for tail in Tail.objects.all():
        found[f"tail {tail.pk}"] = (tail.primary_load_id, tail.loads_loading, tail.loads_failed, tail.ready)
    for item in ItemTotals.objects.all():
        key = f"item {item.campaign_id} {item.content}"
        found[key] = (item.complete, item.loading, item.failed, item.newest)
    return found


def _of_loads(loads: Collection[Load]) -> Totals:
    serving = [load for load in loads if load.tail.duty == ServiceStatus.ACTIVE]
    existing = [load for load in serving if load.status != Status.DELETED]
    known = [load for load in existing if load.bytes_total is not None]
    states = Counter(load.state for load in serving)
    complete = [load.proof for load in serving if load.status == Status.COMPLETE]
    listed = [load.items_total for load in known if load.items_total is not None]
    return {
        "loads": len(existing),
        "loads_unknown": len(existing) - len(known),
        "at_risk": sum(load.at_risk for load in existing),
        **{state: states[state] for state in State.values},
        **{name: complete.count(level) for name, level in PROOFS.items()},
        "items_total": sum(listed) if listed else None,
        "items_done": sum(load.items_done for load in known),
        "items_failed": sum(load.items_failed for load in existing),
        **_halves("bytes_done", [load.bytes_done for load in known]),
        **_halves("bytes_held", [load.bytes_done for load in existing]),
        **(
            _halves("bytes_total", [load.bytes_total or 0 for load in known])
            if known
            else {"bytes_total_high": None, "bytes_total_low": None}
        ),
        "as_of": max((load.as_of for load in serving if load.as_of), default=None),
        "newest_load": max((load.pk for load in loads), default=0),
    }


def _halves(name: str, numbers: Collection[int]) -> Totals:
    return {f"{name}_high": sum(each // HALF for each in numbers), f"{name}_low": sum(each % HALF for each in numbers)}


def _is_ready(loads: Collection[Load]) -> bool:
    statuses = {load.status for load in loads} - {Status.DELETED}
    return statuses == {Status.COMPLETE}


def _of_tail(loads: Collection[Load]) -> tuple[int | None, int, int, bool]:
    existing = [load for load in loads if load.status != Status.DELETED]
    statuses = Counter(load.status for load in existing)
    first = min(existing, key=_place, default=None)
    return first.pk if first else None, statuses[Status.LOADING], statuses[Status.FAILED], _is_ready(loads)


def _place(load: Load) -> tuple[Any, ...]:
    """Rank as `primary_load_order` does."""
    starts = load.campaign.exhibition_starts
    if load.status == Status.LOADING:
        return (0, starts is None, starts.toordinal() if starts else 0, -load.pk)
    return (1, load.as_of is None, -load.as_of.timestamp() if load.as_of else 0, -load.pk)


def _of_items() -> Totals:
    found: Totals = {}
    for row in Transfer.objects.select_related("load__tail"):
        key = f"item {row.load.campaign_id} {row.content}"
        complete, loading, failed, newest = found.get(key, (0, 0, 0, 0))
        serving = row.load.tail.duty == ServiceStatus.ACTIVE
        found[key] = (
            complete + (serving and row.status == Status.COMPLETE),
            loading + (serving and row.status == Status.LOADING),
            failed + (serving and row.status == Status.FAILED),
            max(newest, row.pk),
        )
    return found


def recount_all() -> None:
    """Store the totals and findings of all airlines, for rows that a test wrote by hand."""
    for airline in Airline.objects.order_by("pk").values_list("pk", flat=True):
        recount(airline)
    keeping.recount(Airline.objects.all())


def count_before_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have totals counted before each request of a test client, for tests that write rows by hand.

    Only if a row may have changed since the last time, because it takes as long as most requests. The queries of the
    counting are in no count of queries.
    """
    send, execute = Client.request, CursorWrapper._execute_with_wrappers  # type: ignore[attr-defined]
    changed = threading.Event()
    changed.set()

    def note_and_execute(cursor: CursorWrapper, sql: Any, *arguments: Any, **options: Any) -> Any:
        if MAY_CHANGE_TOTALS.search(str(sql)):
            changed.set()
        return execute(cursor, sql, *arguments, **options)

    def count_and_send(client: Client, **request: Any) -> Any:
        if changed.is_set():
            is_logged, connection.force_debug_cursor = connection.force_debug_cursor, False
            for airline in Airline.objects.order_by("pk").values_list("pk", flat=True):
                recount(airline)
            connection.force_debug_cursor = is_logged
            changed.clear()
        return send(client, **request)

    monkeypatch.setattr(CursorWrapper, "_execute_with_wrappers", note_and_execute)
    monkeypatch.setattr(Client, "request", count_and_send)
