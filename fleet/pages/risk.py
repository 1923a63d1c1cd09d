"""Why a load is at risk, in a sentence, from the same figures as the flag. Pure; `now` is the portal's clock."""

from __future__ import annotations

from datetime import datetime

from fleet.choices import Status
from fleet.models import Load
from fleet.state.forecast import forecast_load, start_of_day
from ifeportal import formatting


def risk_sentence(load: Load, now: datetime) -> str:
    """Return why the load is at risk; empty if it is not."""
    starts = load.campaign.exhibition_starts
    if not load.at_risk or starts is None:
        return ""
    start = start_of_day(starts)
    when = f"{'starts' if start > now else 'started'} on {formatting.instant(start)[:10]}"
    if load.status == Status.FAILED:
        return f"The exhibition {when}, and a failed item may never complete."
    likely = forecast_load(load, now)
    if likely is None:
        return f"The exhibition {when}. No completion time can be estimated from the observed rates."
    by = f"{formatting.instant(likely.latest)[:16]} UTC"
    return f"The exhibition {when}. At the observed rates, this load completes by {by} at the latest."
