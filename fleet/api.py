"""What has arrived, in the API: airlines and campaigns with their sums, tails, loads, transfers, anomalies.

Reads only; each row is built by `fleet.states`, which pages and the feed use too, so that all say the same.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import django_filters
from django.db.models import Exists, OuterRef, Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers

from campaigns.models import Campaign, ManifestState
from fleet import rollup
from fleet.figures import iso
from fleet.listing import in_state, item_in_state
from fleet.models import Anomaly, Contradiction, Duty, Load, Proof, State, Status, Tail, Transfer
from fleet.states import airline_state, campaign_state, load_state, tail_state, transfer_state
from ifeportal.api import ReadOnly, Row
from ifeportal.filtering import Flag, Words
from ifeportal.models import Airline

# The order of weight in which a sum of loads gets its word (see Rollup.status).
WEIGHTS = (Status.FAILED, Status.LOADING, Status.PENDING, Status.COMPLETE)
SUM_STATUSES = [(word.value, word.label) for word in WEIGHTS]
SUM_STATES = [(word, word) for word in rollup.COUNTED]


class MeasuredRow(Row[Any]):
    """What a load and a transfer have in common."""

    id = serializers.IntegerField()
    airline = serializers.CharField()
    tail = serializers.CharField()
    campaign = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices)
    state = serializers.ChoiceField(
        choices=State.choices, help_text="The one word: the status, or the weightiest of what lies on top of loading."
    )
    stalled = serializers.BooleanField(help_text="Loading, its loader alive, but no byte for a while.")
    silent = serializers.BooleanField(help_text="Loading, but nothing was heard of its tail for long.")
    waiting = serializers.BooleanField(help_text="Loading, but its loader says that it waits or is paused.")
    restarted = serializers.BooleanField(help_text="The bytes of an item went down.")
    contradiction = serializers.ChoiceField(
        choices=Contradiction.choices, allow_blank=True, help_text="What does not fit together; empty: all does."
    )
    bytes_done = serializers.IntegerField(help_text="Never above bytes_total.")
    bytes_total = serializers.IntegerField(allow_null=True, help_text="Null while unknown.")
    percent = serializers.IntegerField(
        allow_null=True, help_text="Rounded down: 100 means every byte. Null while the total is unknown."
    )
    error = serializers.CharField(allow_blank=True, help_text="As the aircraft wrote it; empty when there is none.")
    error_code = serializers.CharField(allow_blank=True, help_text="Empty where the error names none.")
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second, as observed.")
    eta_seconds = serializers.IntegerField(allow_null=True, help_text="Seconds to the end at that rate.")
    as_of = serializers.DateTimeField(allow_null=True, help_text="When the figures were true.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class TransferRow(MeasuredRow):
    """One content item on its way to one tail."""

    values_of = transfer_state

    content = serializers.CharField(help_text="The item's name, without .tgz.")
    listed = serializers.BooleanField(help_text="The manifest names it.")
    bytes_reported = serializers.IntegerField(allow_null=True, help_text="As the aircraft says, even above the total.")
    oversized = serializers.BooleanField(help_text="It reported more than the item's size.")
    unreadable = serializers.BooleanField(help_text="Its newest report could not be read.")
    error_past = serializers.BooleanField(help_text="The item succeeded after this error.")
    error_cut = serializers.BooleanField(help_text="The error was longer than 4 KiB.")


class LoadRow(MeasuredRow):
    """One campaign on one tail."""

    values_of = load_state

    at_risk = serializers.BooleanField(help_text="It may not be complete when its exhibition starts.")
    effective_bps = serializers.IntegerField(
        allow_null=True, help_text="Bytes per second over days, pauses included, as observed."
    )
    eta_latest_seconds = serializers.IntegerField(
        allow_null=True, help_text="Seconds to the end at the slower of the two rates."
    )
    proof = serializers.ChoiceField(
        choices=Proof.choices, allow_blank=True, help_text="What is proven of a complete load; empty: it is claimed."
    )
    error_content = serializers.CharField(
        allow_blank=True, help_text="The item whose error it is; empty for an error of the campaign itself."
    )
    items_total = serializers.IntegerField(allow_null=True, help_text="Null while unknown.")
    items_done = serializers.IntegerField()
    items_failed = serializers.IntegerField()
    archived_at = serializers.DateTimeField(
        allow_null=True, help_text="When its reports were packed into one object; what is shown is their last word."
    )


class SumRow(Row[Any]):
    """Sums over loads, each counted under one state.

    Loads that were deleted and those of stored or retired tails are left out; bytes are of loads whose total is known.
    """

    id = serializers.IntegerField()
    airline = serializers.CharField()
    discovered = serializers.BooleanField(help_text="Found in a bucket rather than made by a person.")
    status = serializers.ChoiceField(
        choices=SUM_STATUSES,
        help_text="The word that matters most: failed before loading before pending before complete.",
    )
    state = serializers.ChoiceField(choices=SUM_STATES, help_text="The weightiest state any of the loads is in.")
    percent = serializers.IntegerField(allow_null=True)
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(allow_null=True, help_text="Null while no total is known.")
    loads = serializers.IntegerField()
    loads_unknown = serializers.IntegerField(help_text="How many of them are not in the bytes.")
    failed = serializers.IntegerField(help_text="Loads in that state, and in no other; so the next eight.")
    silent = serializers.IntegerField()
    stalled = serializers.IntegerField()
    contradiction = serializers.IntegerField()
    waiting = serializers.IntegerField()
    restarted = serializers.IntegerField()
    loading = serializers.IntegerField()
    pending = serializers.IntegerField()
    complete = serializers.IntegerField()
    at_risk = serializers.IntegerField(help_text="Loads that may be late, whatever their state.")
    items_total = serializers.IntegerField(allow_null=True)
    items_done = serializers.IntegerField()
    items_failed = serializers.IntegerField()
    as_of = serializers.DateTimeField(allow_null=True, help_text="Time of the newest object the sums rest on.")


class AirlineRow(SumRow):
    """An airline and the sums of all its loads."""

    values_of = airline_state

    title = serializers.CharField(allow_blank=True)
    tails = serializers.IntegerField(help_text="In service.")
    tails_out = serializers.IntegerField(help_text="Stored or retired: in no sum.")


class CampaignRow(SumRow):
    """A campaign: what its manifest says, and the sums of its loads on all tails."""

    values_of = campaign_state

    campaign = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    version = serializers.IntegerField(allow_null=True)
    exhibition_starts = serializers.DateField(allow_null=True)
    exhibition_ends = serializers.DateField(allow_null=True)
    manifest_state = serializers.ChoiceField(choices=ManifestState.choices)
    manifest_problem = serializers.CharField(allow_blank=True, help_text="Why the newest manifest was refused.")
    manifest_as_of = serializers.DateTimeField(allow_null=True)
    items = serializers.IntegerField(allow_null=True, help_text="Items of one set.")
    bytes = serializers.IntegerField(allow_null=True, help_text="Bytes of one set.")
    signed = serializers.BooleanField(help_text="A signed manifest lies beside the plain one.")
    withdrawn_at = serializers.DateTimeField(allow_null=True, help_text="When its manifest was taken away.")
    tails = serializers.IntegerField(help_text="In service, that have begun it.")
    tails_out = serializers.IntegerField(help_text="Stored or retired ones with a load of it: in no sum.")


class StoreRow(serializers.Serializer[Any]):
    """One content directory of a loader, as it says itself."""

    path = serializers.CharField()
    total = serializers.IntegerField(help_text="Bytes.")
    free = serializers.IntegerField(help_text="Bytes.")


class TailRow(SumRow):
    """An aircraft: what its loader last said of itself, and the sums of its loads."""

    values_of = tail_state

    tail = serializers.CharField()
    heard_at = serializers.DateTimeField(allow_null=True, help_text="Time of the newest object it wrote.")
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    loader_version = serializers.CharField(allow_blank=True)
    loader_state = serializers.CharField(allow_blank=True)
    loader_reason = serializers.CharField(allow_blank=True)
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second, as its loader says.")
    stores = StoreRow(many=True)
    duty = serializers.ChoiceField(choices=Duty.choices, help_text="Stored and retired ones are in no sum.")
    aircraft_type = serializers.CharField(allow_blank=True)
    seen_at = serializers.DateTimeField(allow_null=True, help_text="When the portal last saw something new of it.")
    is_silent = serializers.BooleanField(help_text="Nothing was heard of it for long.")
    queue_version = serializers.IntegerField(allow_null=True, help_text="Of the transfer queue its loader follows.")
    queue_error = serializers.CharField(allow_blank=True, help_text="What is wrong with that queue.")
    signatures = serializers.CharField(allow_blank=True, help_text="Its loader's policy: off, warn or enforce.")


def anomaly_state(row: Anomaly) -> dict[str, Any]:
    """One thing that could not be understood; `airline` is null where the key names none we know."""
    return {
        "id": row.pk,
        "airline": row.airline.name if row.airline else None,
        "bucket": row.bucket,
        "key": row.key,
        "problem": row.problem,
        "detail": row.detail,
        "first_seen": iso(row.first_seen),
        "last_seen": iso(row.last_seen),
        "resolved_at": iso(row.resolved_at) if row.resolved_at else None,
    }


class AnomalyRow(Row[Anomaly]):
    """Something in a bucket that could not be understood."""

    values_of = anomaly_state

    id = serializers.IntegerField()
    airline = serializers.CharField(allow_null=True)
    bucket = serializers.ChoiceField(choices=["media", "status"])
    key = serializers.CharField()
    problem = serializers.CharField(help_text="A word for it, e.g. BAD_NAME.")
    detail = serializers.CharField(allow_blank=True)
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)


class TransferFilter(django_filters.FilterSet):
    """By where, what, state and error."""

    airline = django_filters.CharFilter(field_name="load__tail__airline__name")
    tail = django_filters.CharFilter(field_name="load__tail__name")
    campaign = django_filters.CharFilter(field_name="load__campaign__name")
    content = django_filters.CharFilter(field_name="content")
    status = Words(field_name="status", choices=Status.choices)
    error_code = django_filters.CharFilter(field_name="error_code")
    state = Words(choices=State.choices, method="by_state")
    stalled = Flag(field_name="stalled")
    at_risk = Flag(field_name="load__at_risk")
    listed = Flag(field_name="listed")

    def by_state(self, rows: QuerySet[Transfer], name: str, words: list[str]) -> QuerySet[Transfer]:
        """The rows in one of these states."""
        return rows.filter(reduce(or_, map(item_in_state, words), Q()))


class LoadFilter(django_filters.FilterSet):
    """By where, what, state and error."""

    airline = django_filters.CharFilter(field_name="tail__airline__name")
    tail = django_filters.CharFilter(field_name="tail__name")
    campaign = django_filters.CharFilter(field_name="campaign__name")
    status = Words(field_name="status", choices=Status.choices)
    error_code = django_filters.CharFilter(field_name="error_code")
    state = Words(choices=State.choices, method="by_state")
    stalled = Flag(field_name="stalled")
    at_risk = Flag(field_name="at_risk")
    proof = Words(field_name="proof", choices=Proof.choices)
    duty = Words(field_name="tail__duty", choices=Duty.choices)

    def by_state(self, rows: QuerySet[Load], name: str, words: list[str]) -> QuerySet[Load]:
        """The rows in one of these states."""
        return rows.filter(reduce(or_, map(in_state, words), Q()))


class SumFilter(django_filters.FilterSet):
    """By the word the sums come to."""

    status = Words(choices=SUM_STATUSES, method="by_status")

    def by_status(self, rows: QuerySet[Any], name: str, words: list[str]) -> QuerySet[Any]:
        """The rows whose `status` is one of the words."""
        wanted = Q()
        for word in words:
            wanted |= self._is(word)
        return rows.filter(wanted)

    @staticmethod
    def _is(word: str) -> Q:
        first = next(place for place, state in enumerate(rollup.COUNTED) if rollup.status_of(state) == word)
        none_before = Q(**{f"{rollup.PREFIX}{state}": 0 for state in rollup.COUNTED[:first]})
        theirs = [state for state in rollup.COUNTED if rollup.status_of(state) == word]
        some = reduce(or_, (Q(**{f"{rollup.PREFIX}{state}__gt": 0}) for state in theirs))
        if word == Status.PENDING:
            some |= Q(**{f"{rollup.PREFIX}{Status.COMPLETE.value}": 0})
        return none_before & some


class AirlineFilter(SumFilter):
    """By name and state."""

    airline = django_filters.CharFilter(field_name="name")
    discovered = Flag(field_name="discovered")


class CampaignFilter(SumFilter):
    """By airline, name, manifest and state."""

    airline = django_filters.CharFilter(field_name="airline__name")
    campaign = django_filters.CharFilter(field_name="name")
    manifest_state = Words(field_name="manifest_state", choices=ManifestState.choices)
    discovered = Flag(field_name="discovered")


class TailFilter(SumFilter):
    """By airline, registration, a campaign on board and state."""

    airline = django_filters.CharFilter(field_name="airline__name")
    tail = django_filters.CharFilter(field_name="name")
    campaign = django_filters.CharFilter(method="by_campaign", label="Tails with a load of this campaign.")
    loader_state = django_filters.CharFilter(field_name="loader_state")
    duty = Words(field_name="duty", choices=Duty.choices)
    is_silent = Flag(field_name="silent")
    discovered = Flag(field_name="discovered")

    def by_campaign(self, rows: QuerySet[Tail], name: str, campaign: str) -> QuerySet[Tail]:
        """The tails that have a load of the campaign; their sums stay those of all their loads."""
        return rows.filter(Exists(Load.objects.filter(tail=OuterRef("pk"), campaign__name=campaign)))


class AnomalyFilter(django_filters.FilterSet):
    """By airline, bucket, problem and whether it is over."""

    airline = django_filters.CharFilter(field_name="airline__name")
    bucket = Words(field_name="bucket", choices=[("media", "media"), ("status", "status")])
    problem = django_filters.CharFilter(field_name="problem")
    resolved = Flag(field_name="resolved_at", lookup_expr="isnull", exclude=True)


MEASURED_ORDERINGS = {
    name: name
    for name in ("status", "bytes_done", "bytes_total", "rate_bps", "as_of", "started_at", "finished_at", "error_code")
}
SUM_ORDERINGS = {
    name: f"{rollup.PREFIX}{name}"
    for name in ("loads", *rollup.COUNTED, "at_risk", "items_done", "items_failed", "as_of")
}


@extend_schema_view(
    list=extend_schema(summary="List airlines", tags=["airlines"]),
    retrieve=extend_schema(summary="One airline", tags=["airlines"]),
)
class Airlines(ReadOnly[Airline]):
    """The airlines the user may see."""

    queryset = Airline.objects.all()
    serializer_class = AirlineRow
    filterset_class = AirlineFilter
    search_fields = ["name", "title"]
    usual_order = ["name"]
    orderings = {"airline": "name", **SUM_ORDERINGS}

    def with_sums(self, rows: QuerySet[Airline]) -> QuerySet[Airline]:
        """The sums of all their loads."""
        return rollup.airlines(rows)


@extend_schema_view(
    list=extend_schema(summary="List campaigns", tags=["campaigns"]),
    retrieve=extend_schema(summary="One campaign", tags=["campaigns"]),
)
class Campaigns(ReadOnly[Campaign]):
    """Content cycles, with how far they have got on all tails."""

    queryset = Campaign.objects.select_related("airline")
    serializer_class = CampaignRow
    filterset_class = CampaignFilter
    search_fields = ["name", "title"]
    usual_order = ["airline__name", "-exhibition_starts", "name"]
    orderings = {
        "airline": "airline__name",
        "campaign": "name",
        "exhibition_starts": "exhibition_starts",
        "exhibition_ends": "exhibition_ends",
        **SUM_ORDERINGS,
    }

    def with_sums(self, rows: QuerySet[Campaign]) -> QuerySet[Campaign]:
        """The sums of their loads."""
        return rollup.campaigns(rows)


@extend_schema_view(
    list=extend_schema(summary="List tails", tags=["tails"]),
    retrieve=extend_schema(summary="One tail", tags=["tails"]),
)
class Tails(ReadOnly[Tail]):
    """Aircraft, with how far all their loads have got."""

    queryset = Tail.objects.select_related("airline")
    serializer_class = TailRow
    filterset_class = TailFilter
    search_fields = ["name", "loader_reason"]
    usual_order = ["airline__name", "name"]
    orderings = {
        "airline": "airline__name",
        "tail": "name",
        "heard_at": "heard_at",
        "heartbeat_at": "heartbeat_at",
        **SUM_ORDERINGS,
    }

    def with_sums(self, rows: QuerySet[Tail]) -> QuerySet[Tail]:
        """The sums of their loads."""
        return rollup.tails(rows)


@extend_schema_view(
    list=extend_schema(summary="List loads", tags=["loads"]),
    retrieve=extend_schema(summary="One load", tags=["loads"]),
)
class Loads(ReadOnly[Load]):
    """Campaigns on tails."""

    queryset = Load.objects.select_related("tail__airline", "campaign")
    serializer_class = LoadRow
    filterset_class = LoadFilter
    search_fields = ["tail__name", "campaign__name", "error"]
    usual_order = ["tail__airline__name", "tail__name", "campaign__name"]
    orderings = {
        "airline": "tail__airline__name",
        "tail": "tail__name",
        "campaign": "campaign__name",
        "items_done": "items_done",
        "items_failed": "items_failed",
        **MEASURED_ORDERINGS,
    }


@extend_schema_view(
    list=extend_schema(summary="List transfers", tags=["transfers"]),
    retrieve=extend_schema(summary="One transfer", tags=["transfers"]),
)
class Transfers(ReadOnly[Transfer]):
    """Content items on their way to tails."""

    queryset = Transfer.objects.select_related("load__tail__airline", "load__campaign")
    serializer_class = TransferRow
    filterset_class = TransferFilter
    search_fields = ["content", "load__tail__name", "load__campaign__name", "error"]
    usual_order = ["load_id", "content"]
    orderings = {
        "airline": "load__tail__airline__name",
        "tail": "load__tail__name",
        "campaign": "load__campaign__name",
        "content": "content",
        **MEASURED_ORDERINGS,
    }


@extend_schema_view(
    list=extend_schema(summary="List anomalies", tags=["anomalies"]),
    retrieve=extend_schema(summary="One anomaly", tags=["anomalies"]),
)
class Anomalies(ReadOnly[Anomaly]):
    """What could not be understood. Those that name no known airline are for staff."""

    queryset = Anomaly.objects.select_related("airline")
    serializer_class = AnomalyRow
    filterset_class = AnomalyFilter
    search_fields = ["key", "detail"]
    usual_order = ["-last_seen"]
    orderings = {"airline": "airline__name", "problem": "problem", "first_seen": "first_seen", "last_seen": "last_seen"}
