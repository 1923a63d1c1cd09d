"""The airline page: its query parameters and the variables of its template.

Reads the database only, in a fixed number of queries, for an airline that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.paginator import Page
from django.http import QueryDict

from campaigns.models import Campaign
from fleet.models import Anomaly
from fleet.pages import anomalies
from fleet.pages.airline import queries
from fleet.pages.airline.columns import CAMPAIGNS, TAILS, RowContext, TailRow, row_context
from fleet.pages.airline.queries import AirlineFacts, CampaignTotals
from fleet.pages.airline.rows import tail_page
from fleet.pages.anomalies import AnomalySummary
from fleet.pages.bars import state_label
from fleet.pages.coverage import coverage, excluded
from fleet.pages.freshness import Freshness, StoreOutage, airline_freshness, store_outage
from fleet.state import precedence
from fleet.stats import rollup
from fleet.stats.rollup import Rollup
from ifeportal.formatting import quantity
from ifeportal.models import Airline
from ifeportal.tables import query
from ifeportal.tables.columns import Table
from ifeportal.tables.query import TableQuery


@dataclass(frozen=True)
class AirlineQuery:
    """Query parameters: filter and order of tails, campaign, visible columns, and whether to list all campaigns."""

    tails: TableQuery
    chosen: CampaignTotals | None
    columns: tuple[str, ...]
    all_campaigns: bool


@dataclass(frozen=True)
class AirlinePage:
    """Variables of the template. `sums` are the totals of the chosen campaign, else of the airline."""

    airline: Airline
    facts: AirlineFacts
    freshness: Freshness
    outage: StoreOutage
    choice: TableQuery
    chosen: Campaign | None
    sums: Rollup
    coverage: str
    page: Page[Any]
    rows: Sequence[TailRow]
    columns: tuple[str, ...]
    row_context: RowContext
    no_match: str
    campaigns: Sequence[CampaignTotals]
    more_campaigns: bool
    anomalies: AnomalySummary
    tails_table: Table = TAILS
    campaigns_table: Table = CAMPAIGNS


def parse_query(airline: Airline, params: QueryDict) -> AirlineQuery:
    """Parse the query parameters; an unknown campaign is ignored. At most one query."""
    choice = query.parse_query(params, TAILS, precedence.CHOICES)
    chosen = queries.campaign_of(airline, choice.campaign)
    if chosen is None:
        choice = replace(choice, campaign="")
    return AirlineQuery(choice, chosen, query.parse_columns(params, TAILS), "all" in params)


def load(airline: Airline, wanted: AirlineQuery, user: AbstractUser | AnonymousUser, now: datetime) -> AirlinePage:
    """Load the page of an airline from `rollup.airlines`."""
    sums, chosen, choice = rollup.read_rollup(airline), wanted.chosen, wanted.tails
    page, rows = tail_page(airline, choice, sums.tails + sums.tails_out)
    facts = queries.airline_facts(airline, user)
    fresh = airline_freshness(airline, now)
    campaigns, more = _campaigns(airline, every=wanted.all_campaigns)
    return AirlinePage(
        airline=airline,
        facts=facts,
        freshness=fresh,
        outage=store_outage([fresh]),
        choice=choice,
        chosen=chosen.campaign if chosen else None,
        sums=chosen.sums if chosen else sums,
        coverage=campaign_coverage(sums, chosen)
        if chosen
        else coverage(rollup.ready(airline), sums.tails, sums.tails_out),
        page=page,
        rows=rows,
        columns=wanted.columns,
        row_context=row_context(airline.name, now),
        no_match=no_match(airline, choice) if choice.is_filtered else "",
        campaigns=campaigns,
        more_campaigns=more,
        anomalies=anomalies.open_anomalies(Anomaly.objects.filter(airline=airline)),
    )


def campaign_coverage(sums: Rollup, chosen: CampaignTotals) -> str:
    """Return how many of the airline's tails in service have completed the campaign, and how many are not counted."""
    completed = f"{chosen.sums.complete:,} of {quantity(sums.tails, 'tail')} in service completed it"
    waiting = max(sums.tails - chosen.sums.tails, 0)
    return f"{completed}, {waiting:,} not started. {excluded(sums.tails_out)}".rstrip()


def no_match(airline: Airline, choice: TableQuery) -> str:
    """Return which filters no row matches."""
    filters = [f"state “{state_label(choice.state)}”"] if choice.state else []
    if choice.search:
        filters.append(f"search “{choice.search}”")
    return f"No tail of {airline} matches {' and '.join(filters)}."


def _campaigns(airline: Airline, *, every: bool) -> tuple[list[CampaignTotals], bool]:
    """Return the listed campaigns and whether there are more."""
    if every:
        return queries.newest_campaigns(airline, None), False
    campaigns = queries.newest_campaigns(airline, queries.CAMPAIGNS_SHOWN + 1)
    return campaigns[: queries.CAMPAIGNS_SHOWN], len(campaigns) > queries.CAMPAIGNS_SHOWN
