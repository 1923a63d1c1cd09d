"""The flag *at risk* and the sentence beside it come from the same figures and never contradict each other."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from campaigns.models import Campaign
from fleet.models import Load
from fleet.pages.risk import risk_sentence
from fleet.state.forecast import ExhibitionDates, is_load_at_risk, start_of_day

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
RATES = st.one_of(st.none(), st.integers(0, 10**7))


@given(
    status=st.sampled_from(["pending", "loading", "failed"]),
    left=st.one_of(st.none(), st.integers(0, 10**12)),
    rate=RATES,
    effective=RATES,
    days=st.integers(-3, 40),
    later=st.integers(0, 10**6),
)
def test_a_load_at_risk_is_never_expected_before_the_exhibition(
    status: str, left: int | None, rate: int | None, effective: int | None, days: int, later: int
) -> None:
    starts = date(2026, 12, 1) + timedelta(days=days)
    load = Load(
        status=status, bytes_total=left, rate_bps=rate, effective_bps=effective,
        campaign=Campaign(exhibition_starts=starts),
    )  # fmt: skip
    load.at_risk = is_load_at_risk(load, ExhibitionDates(starts, None), timedelta(days=2), NOW)
    sentence = risk_sentence(load, NOW + timedelta(seconds=later))
    assert bool(sentence) is load.at_risk
    found = re.search(r"completes by (.{16}) UTC", sentence)
    if found:
        by = datetime.strptime(found[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        assert by + timedelta(minutes=1) > start_of_day(starts)
