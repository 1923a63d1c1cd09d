"""Tables of the airline page as files, with all rows that the query selects."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import F

from fleet.choices import ServiceStatus
from fleet.models import Anomaly, Load
from fleet.pages.airline.columns import CAMPAIGNS, LOADS, TAILS
from fleet.pages.airline.rows import iter_tails
from fleet.pages.anomalies import anomaly_file
from fleet.pages.columns import load_file
from fleet.state.precedence import in_state
from fleet.stats import rollup
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.query import TableQuery, select_rows


def airline_tables(airline: Airline, choice: TableQuery) -> dict[str, Callable[[], Table]]:
    """Return the tables by name; the first is the default."""
    return {
        "tails": lambda: TAILS.with_rows(iter_tails(airline, choice), f"{airline.name} tails"),
        "loads": lambda: _loads(airline, choice),
        "campaigns": lambda: _campaigns(airline),
        "anomalies": lambda: anomaly_file(airline.name, Anomaly.objects.filter(airline=airline)),
    }


def _loads(airline: Airline, choice: TableQuery) -> Table:
    """Select every load in the chosen state, not only primary loads.

    With a state only those of tails in service are selected, as in the count of the state.
    """
    rows = Load.objects.filter(in_state(choice.state), tail__airline=airline)
    if choice.state:
        rows = rows.filter(tail__duty=ServiceStatus.ACTIVE)
    if choice.campaign:
        rows = rows.filter(campaign__name=choice.campaign)
    return load_file(LOADS, airline.name, select_rows(rows, LOADS, choice, "tail__name", "campaign__name"))


def _campaigns(airline: Airline) -> Table:
    rows = rollup.campaigns(airline.campaigns.all()).order_by(F("exhibition_starts").desc(nulls_first=True), "-name")
    return CAMPAIGNS.with_rows(rows, f"{airline.name} campaigns")
