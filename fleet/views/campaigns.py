"""The page of a campaign."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet import listing, matrix, pages, rollup
from fleet.models import Load, Transfer
from fleet.views.answers import answer, freshness_of
from ifeportal.access import visible_or_404
from ifeportal.live.feed import current_rev


@require_safe
def campaign(request: HttpRequest, airline: str, campaign: str) -> HttpResponse:
    """A campaign: its manifest, a row a tail, and tails by items."""
    rev = current_rev()
    rows = Campaign.objects.select_related("airline")
    row = visible_or_404(rows, request.user, airline__name=airline, name=campaign)
    choice = listing.choice_of(request.GET, matrix.CAMPAIGN_COLUMNS)
    page = matrix.load_page(row, choice)
    names = matrix.item_names(row, request.GET.get("items", "1"))
    columns = matrix.item_columns(row, list(names.object_list))
    return answer(
        request,
        "fleet/campaign.html",
        {
            "rev": rev,
            "airline": row.airline,
            "campaign": row,
            "sums": pages.sums_of(rollup.campaigns(Campaign.objects.filter(pk=row.pk))),
            **freshness_of(row.airline),
            "choice": choice,
            "page": page,
            "names": names,
            "columns": columns,
            "matrix": matrix.matrix(list(page.object_list), columns),
            "newest_load": pages.newest(Load.objects.filter(campaign=row)),
            "newest_transfer": pages.newest(Transfer.objects.filter(load__campaign=row)),
        },
    )
