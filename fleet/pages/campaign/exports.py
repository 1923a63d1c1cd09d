"""Tables of the campaign page as files, with all rows that the query selects."""

from __future__ import annotations

from collections.abc import Callable

from django.http import QueryDict

from campaigns.models import Campaign, ContentItem
from fleet.pages.campaign import queries
from fleet.pages.campaign.columns import ITEMS, LOADS
from fleet.pages.columns import TRANSFERS, load_file, transfer_file
from fleet.state import precedence
from ifeportal.tables.columns import Table
from ifeportal.tables.query import parse_query


def campaign_tables(campaign: Campaign, params: QueryDict) -> dict[str, Callable[[], Table]]:
    """Return the tables by name; the first is the default."""
    name = f"{campaign.airline.name} {campaign.name}"
    return {
        "loads": lambda: load_file(
            LOADS, name, queries.filtered_loads(campaign, parse_query(params, LOADS, precedence.CHOICES))
        ),
        "cells": lambda: transfer_file(TRANSFERS, name, queries.transfers_of(campaign)),
        "manifest": lambda: _manifest(campaign, name),
    }


def _manifest(campaign: Campaign, name: str) -> Table:
    """Return the items of the manifest, in its order."""
    rows = ContentItem.objects.filter(campaign=campaign, listed=True).order_by("position", "name")
    version = "" if campaign.version is None else f" v{campaign.version}"
    return ITEMS.with_rows(rows, f"{name} manifest{version}")
