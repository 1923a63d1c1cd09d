"""Tables of the tail page as files, with all rows that the query selects."""

from __future__ import annotations

from collections.abc import Callable

from django.http import QueryDict

from fleet.models import Load, Tail, Transfer
from fleet.pages.columns import load_file, transfer_file
from fleet.pages.tail import queries
from fleet.pages.tail.columns import EVENTS, ITEMS, LOADS
from fleet.state import precedence
from ifeportal.tables.columns import Table
from ifeportal.tables.query import parse_query


def tail_tables(tail: Tail, load: Load | None, params: QueryDict) -> dict[str, Callable[[], Table]]:
    """Return the tables by name, with `load` chosen for the items; the first is the default."""
    name = f"{tail.airline.name} {tail.name}"
    return {
        "items": lambda: _items(name, load, params),
        "loads": lambda: load_file(LOADS, name, Load.objects.filter(tail=tail)),
        "events": lambda: EVENTS.with_rows(
            queries.filtered_events(tail, params.get("turns", "")).select_related("load__campaign"), f"{name} events"
        ),
    }


def _items(name: str, load: Load | None, params: QueryDict) -> Table:
    if load is None:
        return transfer_file(ITEMS, name, Transfer.objects.none())
    rows = queries.filtered_items(load, parse_query(params, ITEMS, precedence.CHOICES))
    return transfer_file(ITEMS, f"{name} {load.campaign.name}", rows)
