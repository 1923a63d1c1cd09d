"""Tables of loads, items, events, manifests and anomalies as files: what a row is and how its columns are called.

Reads the database only, below rows that its caller has reached by `visible_to`, some rows at a time. Columns are named
as the API's fields; bytes, bytes per second, seconds, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

from django.db.models import QuerySet

from campaigns.models import Campaign, ContentItem
from fleet.models import Anomaly, Event, Load, Tail, Transfer
from fleet.serialization import serialize_load, serialize_transfer
from ifeportal.tables.export import CHUNK_SIZE, Column, Table

STATES: Final = (
    "failed", "silent", "stalled", "contradiction", "waiting", "restarted", "loading", "pending", "complete", "at_risk",
)  # fmt: skip
TOTALS: Final = (
    "percent",
    "bytes_done",
    "bytes_total",
    "loads",
    "loads_unknown",
    *STATES,
    "items_total",
    "items_done",
    "items_failed",
    "as_of",
)
ANOMALIES: Final = ("airline", "bucket", "key", "problem", "detail", "first_seen", "last_seen")


def build_table(name: str, keys: Sequence[str], rows: Iterable[dict[str, Any]]) -> Table:
    """Return a table of `rows` with a column for each key, titled by the key's words."""
    return Table(name, [Column(key, field_title(key), itemgetter(key)) for key in keys], rows)


def field_title(key: str) -> str:
    """The words of a field: `Eta seconds`."""
    return key.replace("_", " ").capitalize()


def anomalies(name: str, rows: QuerySet[Anomaly]) -> Table:
    """What could not be understood and still stands."""
    found = rows.filter(resolved_at=None).order_by("-last_seen", "pk").select_related("airline").iterator(CHUNK_SIZE)
    told = (
        {**{key: getattr(row, key) for key in ANOMALIES[1:]}, "airline": row.airline and row.airline.name}
        for row in found
    )
    return build_table(f"{name} anomalies", ANOMALIES, told)


_SCOPE: Final = {"airline": "Airline", "tail": "Tail", "campaign": "Campaign"}

_PROGRESS: Final = {
    "state": "State",
    "status": "Status",
    "percent": "Percent",
    "bytes_done": "Bytes held",
    "bytes_total": "Bytes in all",
    "rate_bps": "Bytes per second",
    "eta_seconds": "Seconds left",
}

_ERROR: Final = {"error_code": "Error code", "error": "Error"}

_TIMES: Final = {"as_of": "As of", "started_at": "Started", "finished_at": "Finished"}

LOAD_TITLES: Final = {
    **_SCOPE,
    **_PROGRESS,
    "effective_bps": "Bytes per second over days",
    "eta_latest_seconds": "Seconds left at the latest",
    "at_risk": "At risk",
    "items_total": "Items",
    "items_done": "Items complete",
    "items_failed": "Items failed",
    "proof": "Proof",
    **_ERROR,
    "error_content": "Item of the error",
    **_TIMES,
    "archived_at": "Archived",
}

TRANSFER_TITLES: Final = {
    **_SCOPE,
    "content": "Item",
    **_PROGRESS,
    "bytes_reported": "Bytes reported",
    "listed": "In the manifest",
    "restarted": "Restarted",
    **_ERROR,
    "error_past": "Error is past",
    **_TIMES,
}

MANIFEST: Final = ("name", "title", "kind", "required", "size", "sha256", "priority", "position")

EVENT_TITLES: Final = {"at": "At", "content": "Item", "state": "State", "error_code": "Error code", "text": "Text"}


def loads(name: str, rows: QuerySet[Load]) -> Table:
    """Loads, a row each."""
    found = rows.select_related("tail__airline", "campaign")
    return Table(f"{name} loads", _columns(LOAD_TITLES), _serialized(serialize_load, found))


def transfers(name: str, rows: QuerySet[Transfer]) -> Table:
    """Items on tails, a row each."""
    found = rows.select_related("load__tail__airline", "load__campaign")
    return Table(f"{name} items", _columns(TRANSFER_TITLES), _serialized(serialize_transfer, found))


def manifest(campaign: Campaign) -> Table:
    """The items that the campaign's manifest lists, in its order."""
    rows = ContentItem.objects.filter(campaign=campaign, listed=True).order_by("position", "name")
    columns = [Column(name, name.capitalize(), attrgetter(name)) for name in MANIFEST]
    version = "" if campaign.version is None else f" v{campaign.version}"
    return Table(f"{campaign.airline.name} {campaign.name} manifest{version}", columns, rows.iterator(CHUNK_SIZE))


def events(tail: Tail, rows: QuerySet[Event]) -> Table:
    """The turns of a tail's loads and items, newest first."""
    columns = [
        Column("campaign", "Campaign", attrgetter("load.campaign.name")),
        *(Column(key, title, attrgetter(key)) for key, title in EVENT_TITLES.items()),
        Column("bytes_done", "Bytes held", attrgetter("bytes_done")),
        Column("bytes_total", "Bytes in all", attrgetter("bytes_total")),
    ]
    found = rows.select_related("load__campaign").iterator(CHUNK_SIZE)
    return Table(f"{tail.airline.name} {tail.name} events", columns, found)


def _columns(titles: dict[str, str]) -> Sequence[Column]:
    return [Column(key, title, itemgetter(key)) for key, title in titles.items()]


def _serialized(state: Callable[[Any], dict[str, Any]], rows: QuerySet[Any]) -> Iterable[dict[str, Any]]:
    return map(state, rows.iterator(CHUNK_SIZE))
