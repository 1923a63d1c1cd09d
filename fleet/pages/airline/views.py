"""The page of an airline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet.models import Anomaly
from fleet.pages import anomalies, freshness
from fleet.pages.airline import columns, exports, queries
from fleet.pages.airline.rows import tail_page
from fleet.state import precedence
from fleet.stats import rollup
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables import query
from ifeportal.web.responses import compressed, export_response, render_page


@require_safe
@compressed
def airline(request: HttpRequest, airline: str) -> HttpResponseBase:
    """One row a tail, and the airline's campaigns; or one of these tables as a file."""
    rev = current_rev()
    row = get_object_or_404(queries.airlines(Airline.objects.visible_to(request.user)), name=airline)
    sums, choice = rollup.read_rollup(row), query.parse_query(request.GET, columns.TAILS, precedence.CHOICES)
    chosen = queries.campaign_of(row, choice.campaign)
    if chosen is None:
        choice = replace(choice, campaign="")
    file = export_response(request, exports.airline_tables(row, choice))
    if file is not None:
        return file
    page, rows = tail_page(row, choice, sums.tails + sums.tails_out)
    return render_page(
        request,
        "fleet/airline.html",
        {
            "rev": rev,
            "airline": row,
            "about": queries.airline_facts(row, request.user),
            **freshness.freshness_context(row),
            "choice": choice,
            "all_sums": sums,
            "chosen": chosen and chosen.campaign,
            "sums": chosen.sums if chosen else sums,
            "not_begun": sums.tails - chosen.sums.tails if chosen else 0,
            "page": page,
            "rows": rows,
            "tails_table": columns.TAILS,
            "campaigns_table": columns.CAMPAIGNS,
            "columns": query.parse_columns(request.GET, columns.TAILS),
            "around": columns.row_context(row.name, timezone.now()),
            **_campaigns(request, row),
            "anomalies": anomalies.open_anomalies(Anomaly.objects.filter(airline=row)),
        },
    )


def _campaigns(request: HttpRequest, row: Airline) -> dict[str, Any]:
    every = "all" in request.GET
    found = queries.newest_campaigns(row, None if every else queries.CAMPAIGNS_SHOWN + 1)
    few = found if every else found[: queries.CAMPAIGNS_SHOWN]
    return {"campaigns": few, "more_campaigns": len(few) < len(found)}
