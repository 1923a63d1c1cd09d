"""Rows of the campaign page: a row a tail, tails per item, and both as a table for browsers without scripts.

Reads the database only, and only below a campaign that its caller has reached by `visible_to`. Both directions are
paged, so the page stays small and the number of queries constant. Counted are the tails in service, those that have
not begun the campaign too; tails that are stored or retired stand in no row and no total.
"""

from __future__ import annotations

from django.db.models import Max, QuerySet

from campaigns.models import Campaign
from fleet.models import Load, Tail, Transfer
from fleet.stats import rollup
from fleet.stats.rollup import Rollup
from ifeportal.models import Airline


def sums_of(row: QuerySet[Airline] | QuerySet[Tail] | QuerySet[Campaign]) -> Rollup:
    """The sums of the one row in the query set, which comes from `fleet.stats.rollup`."""
    return rollup.rollup_of(row.get())


def newest(rows: QuerySet[Load] | QuerySet[Tail] | QuerySet[Transfer] | QuerySet[Campaign]) -> int:
    """The highest id among the rows, so that the page can tell a new row from one on another page."""
    top: int | None = rows.aggregate(top=Max("pk"))["top"]
    return top or 0
