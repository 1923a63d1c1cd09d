"""Filters of the API's lists, named like the fields. They build conditions and run no query."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Final

import django_filters
from django.db.models import Exists, OuterRef, Q, QuerySet

from campaigns.models import ManifestState
from fleet.api.serializers import SUM_STATES, SUM_STATUSES
from fleet.choices import Inconsistency, ServiceStatus, State, Status, Verification
from fleet.models import Load, Tail, Transfer
from fleet.state.precedence import in_state, transfer_in_state
from fleet.stats import rollup
from ifeportal.api.filters import BooleanFilter, ChoicesFilter, datetime_range

INCONSISTENCIES = [choice for choice in Inconsistency.choices if choice[0]]


class TransferFilter(django_filters.FilterSet):
    """Filter by scope, item, state, error and time."""

    airline = django_filters.CharFilter(field_name="load__tail__airline__name")
    tail = django_filters.CharFilter(field_name="load__tail__name")
    campaign = django_filters.CharFilter(field_name="load__campaign__name")
    content = django_filters.CharFilter(field_name="content")
    status = ChoicesFilter(field_name="status", choices=Status.choices)
    error_code = django_filters.CharFilter(field_name="error_code")
    state = ChoicesFilter(choices=State.choices, method="by_state")
    stalled = BooleanFilter(field_name="stalled")
    silent = BooleanFilter(field_name="load__silent")
    waiting = BooleanFilter(field_name="load__waiting")
    restarted = BooleanFilter(field_name="restarted")
    oversized = BooleanFilter(field_name="oversized")
    unreadable = BooleanFilter(field_name="unreadable")
    at_risk = BooleanFilter(field_name="load__at_risk")
    listed = BooleanFilter(field_name="listed")
    duty = ChoicesFilter(field_name="load__tail__duty", choices=ServiceStatus.choices)
    as_of_after, as_of_before = datetime_range("as_of")
    started_at_after, started_at_before = datetime_range("started_at")
    finished_at_after, finished_at_before = datetime_range("finished_at")

    def by_state(self, rows: QuerySet[Transfer], name: str, words: list[str]) -> QuerySet[Transfer]:
        return rows.filter(reduce(or_, map(transfer_in_state, words), Q()))


class LoadFilter(django_filters.FilterSet):
    """Filter by scope, state, error, proof and time."""

    airline = django_filters.CharFilter(field_name="tail__airline__name")
    tail = django_filters.CharFilter(field_name="tail__name")
    campaign = django_filters.CharFilter(field_name="campaign__name")
    status = ChoicesFilter(field_name="status", choices=Status.choices)
    error_code = django_filters.CharFilter(field_name="error_code")
    state = ChoicesFilter(choices=State.choices, method="by_state")
    stalled = BooleanFilter(field_name="stalled")
    silent = BooleanFilter(field_name="silent")
    waiting = BooleanFilter(field_name="waiting")
    restarted = BooleanFilter(field_name="restarted")
    contradiction = ChoicesFilter(field_name="contradiction", choices=INCONSISTENCIES)
    at_risk = BooleanFilter(field_name="at_risk")
    proof = ChoicesFilter(field_name="proof", choices=[choice for choice in Verification.choices if choice[0]])
    archived = BooleanFilter(field_name="archived_at", lookup_expr="isnull", exclude=True)
    duty = ChoicesFilter(field_name="tail__duty", choices=ServiceStatus.choices)
    as_of_after, as_of_before = datetime_range("as_of")
    started_at_after, started_at_before = datetime_range("started_at")
    finished_at_after, finished_at_before = datetime_range("finished_at")

    def by_state(self, rows: QuerySet[Load], name: str, words: list[str]) -> QuerySet[Load]:
        return rows.filter(reduce(or_, map(in_state, words), Q()))


class TotalsFilter(django_filters.FilterSet):
    """Filter by the status and state that the totals add up to."""

    status = ChoicesFilter(choices=SUM_STATUSES, method="by_status")
    state = ChoicesFilter(choices=SUM_STATES, method="by_state")
    at_risk = BooleanFilter(field_name=f"{rollup.PREFIX}at_risk", method="by_risk")

    def by_state(self, rows: QuerySet[Any], name: str, words: list[str]) -> QuerySet[Any]:
        return rows.filter(reduce(or_, map(self._has_state, words), Q()))

    def by_risk(self, rows: QuerySet[Any], name: str, at_risk: bool) -> QuerySet[Any]:
        some = Q(**{f"{name}__gt": 0})
        return rows.filter(some if at_risk else ~some)

    @staticmethod
    def _has_state(word: str) -> Q:
        lighter = rollup.COUNTED_STATES[: rollup.COUNTED_STATES.index(word)]
        some = Q(**{f"{rollup.PREFIX}{word}__gt": 0})
        if word == Status.PENDING:  # also rows without loads
            some |= Q(**{f"{rollup.PREFIX}{Status.COMPLETE.value}": 0})
        return some & Q(**{f"{rollup.PREFIX}{state}": 0 for state in lighter})

    def by_status(self, rows: QuerySet[Any], name: str, words: list[str]) -> QuerySet[Any]:
        wanted = Q()
        for word in words:
            wanted |= self._has_status(word)
        return rows.filter(wanted)

    @staticmethod
    def _has_status(word: str) -> Q:
        first = next(place for place, state in enumerate(rollup.COUNTED_STATES) if rollup.status_of(state) == word)
        none_before = Q(**{f"{rollup.PREFIX}{state}": 0 for state in rollup.COUNTED_STATES[:first]})
        theirs = [state for state in rollup.COUNTED_STATES if rollup.status_of(state) == word]
        some = reduce(or_, (Q(**{f"{rollup.PREFIX}{state}__gt": 0}) for state in theirs))
        if word == Status.PENDING:
            some |= Q(**{f"{rollup.PREFIX}{Status.COMPLETE.value}": 0})
        return none_before & some


class AirlineFilter(TotalsFilter):
    """Filter by name and state."""

    airline = django_filters.CharFilter(field_name="name")
    discovered = BooleanFilter(field_name="discovered")


class CampaignFilter(TotalsFilter):
    """Filter by airline, name, manifest and state."""

    airline = django_filters.CharFilter(field_name="airline__name")
    campaign = django_filters.CharFilter(field_name="name")
    manifest_state = ChoicesFilter(field_name="manifest_state", choices=ManifestState.choices)
    signed = BooleanFilter(field_name="signed")
    withdrawn = BooleanFilter(field_name="withdrawn_at", lookup_expr="isnull", exclude=True)
    discovered = BooleanFilter(field_name="discovered")


class TailFilter(TotalsFilter):
    """Filter by airline, registration, loaded campaign and state."""

    airline = django_filters.CharFilter(field_name="airline__name")
    tail = django_filters.CharFilter(field_name="name")
    campaign = django_filters.CharFilter(method="by_campaign", label="Tails with a load of this campaign.")
    loader_state = django_filters.CharFilter(field_name="loader_state")
    duty = ChoicesFilter(field_name="duty", choices=ServiceStatus.choices)
    is_silent = BooleanFilter(field_name="silent")
    heard_at_after, heard_at_before = datetime_range("heard_at")
    discovered = BooleanFilter(field_name="discovered")

    def by_campaign(self, rows: QuerySet[Tail], name: str, campaign: str) -> QuerySet[Tail]:
        """Select tails with a load of the campaign. Their totals still cover all their loads."""
        return rows.filter(Exists(Load.objects.filter(tail=OuterRef("pk"), campaign__name=campaign)))


class AnomalyFilter(django_filters.FilterSet):
    """Filter by airline, bucket, problem and whether it is resolved."""

    airline = django_filters.CharFilter(field_name="airline__name")
    bucket = ChoicesFilter(field_name="bucket", choices=[("media", "media"), ("status", "status")])
    problem = django_filters.CharFilter(field_name="problem")
    resolved = BooleanFilter(field_name="resolved_at", lookup_expr="isnull", exclude=True)
    last_seen_after, last_seen_before = datetime_range("last_seen")


class LoadScopedFilter(django_filters.FilterSet):
    """Filter by scope and time."""

    airline = django_filters.CharFilter(field_name="load__tail__airline__name")
    tail = django_filters.CharFilter(field_name="load__tail__name")
    campaign = django_filters.CharFilter(field_name="load__campaign__name")
    load = django_filters.NumberFilter(field_name="load_id", min_value=0, max_value=2**63 - 1)
    at_after, at_before = datetime_range("at")


LOAD_SCOPED_ORDERINGS: Final = {
    "airline": "load__tail__airline__name",
    "tail": "load__tail__name",
    "campaign": "load__campaign__name",
}
