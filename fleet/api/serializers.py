"""Fields of the API's rows and what they mean, for the schema. Values come from `fleet.serialization`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from campaigns.models import ManifestState
from fleet.choices import Inconsistency, ServiceStatus, State, Status, Verification
from fleet.models import Anomaly
from fleet.serialization import (
    serialize_airline,
    serialize_campaign,
    serialize_load,
    serialize_tail,
    serialize_transfer,
)
from fleet.stats import rollup
from ifeportal.api.viewsets import RowSerializer
from ifeportal.formatting import iso

# The order of weight in which a sum of loads gets its word (see Rollup.status).
STATUS_PRECEDENCE = (Status.FAILED, Status.LOADING, Status.PENDING, Status.COMPLETE)
SUM_STATUSES = [(word.value, word.label) for word in STATUS_PRECEDENCE]
SUM_STATES = [(word, word) for word in rollup.COUNTED_STATES]


class ProgressSerializer(RowSerializer[Any]):
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
        choices=Inconsistency.choices, allow_blank=True, help_text="What does not fit together; empty: all does."
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


@extend_schema_serializer(component_name="TransferRow")
class TransferSerializer(ProgressSerializer):
    """One content item on its way to one tail."""

    values_of = serialize_transfer

    content = serializers.CharField(help_text="The item's name, without .tgz.")
    listed = serializers.BooleanField(help_text="The manifest names it.")
    bytes_reported = serializers.IntegerField(allow_null=True, help_text="As the aircraft says, even above the total.")
    oversized = serializers.BooleanField(help_text="It reported more than the item's size.")
    unreadable = serializers.BooleanField(help_text="Its newest report could not be read.")
    error_past = serializers.BooleanField(help_text="The item succeeded after this error.")
    error_cut = serializers.BooleanField(help_text="The error was longer than 4 KiB.")


@extend_schema_serializer(component_name="LoadRow")
class LoadSerializer(ProgressSerializer):
    """One campaign on one tail."""

    values_of = serialize_load

    at_risk = serializers.BooleanField(help_text="It may not be complete when its exhibition starts.")
    effective_bps = serializers.IntegerField(
        allow_null=True, help_text="Bytes per second over days, pauses included, as observed."
    )
    eta_latest_seconds = serializers.IntegerField(
        allow_null=True, help_text="Seconds to the end at the slower of the two rates."
    )
    proof = serializers.ChoiceField(
        choices=Verification.choices,
        allow_blank=True,
        help_text="What is proven of a complete load; empty: it is claimed.",
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


class TotalsSerializer(RowSerializer[Any]):
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


@extend_schema_serializer(component_name="AirlineRow")
class AirlineSerializer(TotalsSerializer):
    """An airline and the sums of all its loads."""

    values_of = serialize_airline

    title = serializers.CharField(allow_blank=True)
    tails = serializers.IntegerField(help_text="In service.")
    tails_out = serializers.IntegerField(help_text="Stored or retired: in no sum.")


@extend_schema_serializer(component_name="CampaignRow")
class CampaignSerializer(TotalsSerializer):
    """A campaign: what its manifest says, and the sums of its loads on all tails."""

    values_of = serialize_campaign

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


@extend_schema_serializer(component_name="StoreRow")
class StoreSerializer(serializers.Serializer[Any]):
    """One content directory of a loader, as it says itself."""

    path = serializers.CharField()
    total = serializers.IntegerField(help_text="Bytes.")
    free = serializers.IntegerField(help_text="Bytes.")


@extend_schema_serializer(component_name="TailRow")
class TailSerializer(TotalsSerializer):
    """An aircraft: what its loader last said of itself, and the sums of its loads."""

    values_of = serialize_tail

    tail = serializers.CharField()
    heard_at = serializers.DateTimeField(allow_null=True, help_text="Time of the newest object it wrote.")
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    loader_version = serializers.CharField(allow_blank=True)
    loader_state = serializers.CharField(allow_blank=True)
    loader_reason = serializers.CharField(allow_blank=True)
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second, as its loader says.")
    stores = StoreSerializer(many=True)
    duty = serializers.ChoiceField(choices=ServiceStatus.choices, help_text="Stored and retired ones are in no sum.")
    aircraft_type = serializers.CharField(allow_blank=True)
    seen_at = serializers.DateTimeField(allow_null=True, help_text="When the portal last saw something new of it.")
    is_silent = serializers.BooleanField(help_text="Nothing was heard of it for long.")
    queue_version = serializers.IntegerField(allow_null=True, help_text="Of the transfer queue its loader follows.")
    queue_error = serializers.CharField(allow_blank=True, help_text="What is wrong with that queue.")
    signatures = serializers.CharField(allow_blank=True, help_text="Its loader's policy: off, warn or enforce.")


@extend_schema_serializer(component_name="TailChange")
class TailUpdateSerializer(serializers.Serializer[Any]):
    """What can be said of a tail."""

    duty = serializers.ChoiceField(required=False, choices=ServiceStatus.choices)
    aircraft_type = serializers.CharField(required=False, allow_blank=True, max_length=100)


def serialize_anomaly(row: Anomaly) -> dict[str, Any]:
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


@extend_schema_serializer(component_name="AnomalyRow")
class AnomalySerializer(RowSerializer[Anomaly]):
    """Something in a bucket that could not be understood."""

    values_of = serialize_anomaly

    id = serializers.IntegerField()
    airline = serializers.CharField(allow_null=True)
    bucket = serializers.ChoiceField(choices=["media", "status"])
    key = serializers.CharField()
    problem = serializers.CharField(help_text="A word for it, e.g. BAD_NAME.")
    detail = serializers.CharField(allow_blank=True)
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)
