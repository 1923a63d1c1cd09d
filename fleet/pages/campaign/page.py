"""The campaign page, current and at an earlier time: query parameters and the variables of the templates.

Reads the database only, for a campaign that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.paginator import Page
from django.http import HttpRequest, QueryDict
from django.urls import reverse

from campaigns.models import Campaign, Draft, ManifestState
from fleet.history import point_in_time
from fleet.history.point_in_time import CampaignSnapshot, LoadSnapshot
from fleet.models import Load
from fleet.pages.campaign import history, queries
from fleet.pages.campaign.columns import ITEMS, LOADS, PAST_ITEMS, PAST_LOADS, ItemColumn, ItemCounts
from fleet.pages.campaign.history import SnapshotTotals, TimeStep
from fleet.pages.campaign.queries import MatrixRow
from fleet.pages.coverage import excluded
from fleet.pages.freshness import Freshness, StoreOutage, airline_freshness, store_outage
from fleet.state import precedence
from fleet.stats import rollup
from fleet.stats.rollup import Rollup
from ifeportal.access import Role
from ifeportal.formatting import quantity
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.query import TableQuery, parse_query


@dataclass(frozen=True)
class CampaignQuery:
    """Query parameters: filter and order of tails, page of items, and whether to show the heat map as a table.

    `with_cells` is False for scripts that fetch the page: they do not need the table for browsers without scripts.
    """

    loads: TableQuery
    items: str
    as_table: bool
    with_cells: bool


@dataclass(frozen=True)
class CampaignPage:
    """Variables of the template. `run` is the URL of the campaign in the admin; empty without permission."""

    airline: Airline
    campaign: Campaign
    sums: Rollup
    in_service: int
    scope: str
    empty: str
    manifest: str
    freshness: Freshness
    outage: StoreOutage
    run: str
    choice: TableQuery
    page: Page[Load]
    names: Page[str]
    columns: Sequence[ItemColumn]
    matrix: Sequence[MatrixRow]
    as_table: bool
    with_cells: bool
    newest_load: int
    newest_transfer: int
    loads_table: Table = LOADS
    items_table: Table = ITEMS


@dataclass(frozen=True)
class PastCampaignPage:
    """Variables of the template for an earlier time. `at` is the value of the parameter."""

    airline: Airline
    campaign: Campaign
    then: CampaignSnapshot
    at: str
    steps: Sequence[TimeStep]
    sums: SnapshotTotals
    scope: str
    choice: TableQuery
    page: Page[LoadSnapshot]
    items: Page[ItemCounts]
    loads_table: Table = PAST_LOADS
    items_table: Table = PAST_ITEMS


def parse_request(request: HttpRequest) -> CampaignQuery:
    """Parse the query parameters and the `Sec-Fetch-Dest` header, which is `empty` for requests of scripts."""
    params, as_table = request.GET, "table" in request.GET
    return CampaignQuery(
        parse_query(params, LOADS, precedence.CHOICES),
        params.get("items", "1"),
        as_table,
        as_table or request.headers.get("Sec-Fetch-Dest") != "empty",
    )


def load(campaign: Campaign, wanted: CampaignQuery, user: AbstractUser | AnonymousUser, now: datetime) -> CampaignPage:
    """Load the current page of the campaign, which comes from `fleet.stats.rollup` with its airline's totals."""
    sums = rollup.read_rollup(campaign)
    not_started = max(rollup.read_rollup(campaign.airline).tails - sums.tails, 0)
    page = queries.load_page(campaign, wanted.loads, sums.loads)
    items = queries.item_totals(campaign)
    names = queries.item_names(campaign, items, wanted.items)
    columns = queries.item_columns(campaign, list(names.object_list), items)
    fresh = airline_freshness(campaign.airline, now)
    return CampaignPage(
        airline=campaign.airline,
        campaign=campaign,
        sums=sums,
        in_service=sums.tails + not_started,
        scope=scope(campaign.airline, sums, not_started),
        empty=empty(campaign.airline, sums.tails_out),
        manifest=manifest(campaign),
        freshness=fresh,
        outage=store_outage([fresh]),
        run=run_address(campaign, user),
        choice=wanted.loads,
        page=page,
        names=names,
        columns=columns,
        matrix=queries.matrix(list(page.object_list), columns if wanted.with_cells else []),
        as_table=wanted.as_table,
        with_cells=wanted.with_cells,
        newest_load=rollup.newest_load(campaign),
        newest_transfer=max((row.newest for row in items.values()), default=0),
    )


def load_past(campaign: Campaign, at: datetime, params: QueryDict, now: datetime) -> PastCampaignPage:
    """Load the page of the campaign at an earlier time, for the tails in service today."""
    then = history.in_service(campaign, point_in_time.snapshot_at(campaign, at, now))
    choice = parse_query(params, PAST_LOADS, precedence.CHOICES)
    sums = history.snapshot_totals(then)
    return PastCampaignPage(
        airline=campaign.airline,
        campaign=campaign,
        then=then,
        at=history.format_time(at),
        steps=history.steps(at, now),
        sums=sums,
        scope=past_scope(sums, then.not_started),
        choice=choice,
        page=history.load_page(then, choice),
        items=history.item_page(campaign, then, params.get("items", "1")),
    )


def scope(airline: Airline, sums: Rollup, not_started: int) -> str:
    """Return which tails are counted, and how many are not."""
    tails = quantity(sums.tails + not_started, "tail")
    counted = f"Counts cover the {tails} of {airline} in service: {sums.tails:,} started, {not_started:,} not started."
    return f"{counted} A tail is counted from its first report. {excluded(sums.tails_out)}".rstrip()


def empty(airline: Airline, tails_out: int) -> str:
    """Return why there is no row."""
    missing = (
        f"No aircraft in service has reported this campaign. It appears here when a loader of {airline} starts it."
    )
    return f"{missing} {excluded(tails_out)}".rstrip()


def manifest(campaign: Campaign) -> str:
    """Return the version of the manifest, or its state and the version shown instead."""
    version = f"version {'not given' if campaign.version is None else campaign.version}"
    if campaign.manifest_state == ManifestState.OK:
        return version
    return campaign.manifest_state if campaign.version is None else f"{campaign.manifest_state}, showing {version}"


def past_scope(sums: SnapshotTotals, not_started: int) -> str:
    """Return which tails the sums cover, and which they do not."""
    facts = [f"on {quantity(sums.loads, 'tail')} that had started"]
    if sums.unknown:
        facts.append(f"{sums.unknown:,} of unknown size not counted")
    if not_started:
        facts.append(f"{not_started:,} had not started")
    return " · ".join([*facts, "only tails in service today"])


def run_address(campaign: Campaign, user: AbstractUser | AnonymousUser) -> str:
    """Return the URL of the campaign's draft in the admin, or of a new draft; empty without permission.

    Staff with individual permissions get no link: checking these would cost every page two queries.
    """
    if user.is_staff and not user.is_superuser:
        return ""
    if not Airline.objects.with_role(user, Role.MANAGER).filter(pk=campaign.airline_id).exists():
        return ""
    draft = Draft.objects.filter(airline=campaign.airline_id, name=campaign.name).values_list("pk", flat=True).first()
    if draft is not None:
        return reverse("admin:campaigns_draft_change", args=[draft])
    return (
        f"{reverse('admin:campaigns_draft_add')}?{urlencode({'airline': campaign.airline_id, 'name': campaign.name})}"
    )
