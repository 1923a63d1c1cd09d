"""The page of an aircraft."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet.choices import Status
from fleet.models import Anomaly, Tail
from fleet.pages import anomalies, freshness
from fleet.pages.tail import columns, exports, presenter, queries
from fleet.state import precedence
from ifeportal.access import visible_or_404
from ifeportal.live.feed import current_rev
from ifeportal.tables import query
from ifeportal.web.responses import export_response, render_page


@require_safe
def tail(request: HttpRequest, airline: str, tail: str) -> HttpResponseBase:
    """An aircraft: its loads, what moves now, every item of the chosen load, and what turned when."""
    rev, now = current_rev(), timezone.now()
    row = visible_or_404(Tail.objects.select_related("airline"), request.user, airline__name=airline, name=tail)
    loads = queries.loads_of(row)
    for each in loads:
        each.tail = row
    wanted = request.GET.get("campaign", "")
    load = next((load for load in loads if load.campaign.name == wanted), loads[0] if loads else None)
    file = export_response(request, exports.tail_tables(row, load, request.GET))
    if file is not None:
        return file
    choice = query.parse_query(request.GET, columns.ITEMS, precedence.CHOICES)
    counts = queries.counts(row, load)
    item = queries.requested_item(request.GET)
    page, rows = queries.item_page(load, choice, counts, item) if load else (None, [])
    moving = queries.loading_now(row)
    speaking = loads[0] if loads else None
    unfinished = [each for each in loads if each.status in (Status.LOADING, Status.FAILED, Status.PENDING)]
    return render_page(
        request,
        "fleet/tail.html",
        {
            "rev": rev,
            "airline": row.airline,
            "tail": row,
            **freshness.freshness_context(row.airline),
            "loads_table": columns.LOADS,
            "items_table": columns.ITEMS,
            "loads": loads,
            "groups": presenter.load_groups(loads, now, every="all" in request.GET),
            "not_begun": queries.not_started(row, now),
            "speaking": speaking,
            "expected": presenter.expected_completion(speaking, now) if speaking else None,
            "risk": presenter.risk_sentence(speaking, now) if speaking else "",
            "fit": presenter.disk_fit(row.stores, unfinished),
            "load": load,
            "moving": moving[: queries.LOADING_ROWS],
            "more_moving": len(moving) > queries.LOADING_ROWS,
            "choice": choice,
            "counts": counts.states,
            "page": page,
            "rows": rows,
            "turns": queries.event_page(row, request.GET),
            "turn_states": queries.EVENT_STATES,
            "anomalies": anomalies.open_anomalies(
                Anomaly.objects.filter(airline=row.airline, key__startswith=f"{row.airline.name}/{row.name}/")
            ),
            "newest_load": max((load.pk for load in loads), default=0),
            "newest_transfer": counts.newest,
        },
    )
