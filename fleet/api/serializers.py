"""Fields of the API's rows and their meaning, for the schema. Values come from `fleet.serialization`."""

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

# Precedence of the status of several loads together (see Rollup.status).
STATUS_PRECEDENCE = (Status.FAILED, Status.LOADING, Status.PENDING, Status.COMPLETE)
SUM_STATUSES = [(word.value, word.label) for word in STATUS_PRECEDENCE]
SUM_STATES = [(word, word) for word in rollup.COUNTED_STATES]


class LoadScopedSerializer(RowSerializer[Any]):
    """Fields shared by loads and what belongs to one load."""

    id = serializers.IntegerField()
    airline = serializers.CharField()
    tail = serializers.CharField()
    campaign = serializers.CharField()


class ProgressSerializer(LoadScopedSerializer):
    """Fields shared by loads and transfers."""

    status = serializers.ChoiceField(choices=Status.choices)
    state = serializers.ChoiceField(
        choices=State.choices, help_text="The status, or the most severe flag of a loading row."
    )
    stalled = serializers.BooleanField(help_text="Loading and the loader is running, but no data for a while.")
    silent = serializers.BooleanField(help_text="Loading, but no report from the tail for a long time.")
    waiting = serializers.BooleanField(help_text="Loading, but the loader reports that it is waiting or paused.")
    restarted = serializers.BooleanField(help_text="The bytes of an item went down.")
    contradiction = serializers.ChoiceField(
        choices=Inconsistency.choices, allow_blank=True, help_text="The contradiction in the reports; empty for none."
    )
    bytes_done = serializers.IntegerField(help_text="Never above bytes_total.")
    bytes_total = serializers.IntegerField(allow_null=True, help_text="Null while unknown.")
    percent = serializers.IntegerField(
        allow_null=True, help_text="Rounded down: 100 means every byte. Null while the total is unknown."
    )
    error = serializers.CharField(allow_blank=True, help_text="As written by the aircraft; empty for none.")
    error_code = serializers.CharField(allow_blank=True, help_text="Empty if the error has no code.")
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second, as observed.")
    eta_seconds = serializers.IntegerField(allow_null=True, help_text="Seconds left at that rate.")
    as_of = serializers.DateTimeField(allow_null=True, help_text="Time of the report that the figures come from.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="TransferRow")
class TransferSerializer(ProgressSerializer):
    """One content item on one tail."""

    values_of = serialize_transfer

    content = serializers.CharField(help_text="The item's name, without .tgz.")
    listed = serializers.BooleanField(help_text="Whether the manifest lists it.")
    bytes_reported = serializers.IntegerField(
        allow_null=True, help_text="As reported by the aircraft, even above the total."
    )
    oversized = serializers.BooleanField(help_text="Whether it reported more bytes than the item has.")
    unreadable = serializers.BooleanField(help_text="Whether its newest report could not be read.")
    error_past = serializers.BooleanField(help_text="Whether the item succeeded after this error.")
    error_cut = serializers.BooleanField(help_text="Whether the error was truncated to 4 KiB.")


@extend_schema_serializer(component_name="LoadRow")
class LoadSerializer(ProgressSerializer):
    """One campaign on one tail."""

    values_of = serialize_load

    at_risk = serializers.BooleanField(help_text="Whether it may be incomplete when its exhibition starts.")
    effective_bps = serializers.IntegerField(
        allow_null=True, help_text="Bytes per second over several days, including pauses, as observed."
    )
    eta_latest_seconds = serializers.IntegerField(
        allow_null=True, help_text="Seconds left at the slower of the two rates."
    )
    proof = serializers.ChoiceField(
        choices=Verification.choices,
        allow_blank=True,
        help_text="Verification of a complete load; empty if it is only claimed.",
    )
    error_content = serializers.CharField(
        allow_blank=True, help_text="The item whose error it is; empty for an error of the campaign itself."
    )
    items_total = serializers.IntegerField(allow_null=True, help_text="Null while unknown.")
    items_done = serializers.IntegerField()
    items_failed = serializers.IntegerField()
    archived_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When its reports were packed into one object. Other fields have the last reported values.",
    )


class TotalsSerializer(RowSerializer[Any]):
    """Totals over loads. Each load is counted under one state.

    Deleted loads and those of stored or retired tails are not counted. Bytes cover the loads whose total is known.
    """

    id = serializers.IntegerField()
    airline = serializers.CharField()
    discovered = serializers.BooleanField(help_text="Whether it was created from a key in a bucket, not by a person.")
    status = serializers.ChoiceField(
        choices=SUM_STATUSES,
        help_text="The most severe status: failed, loading, pending, complete.",
    )
    state = serializers.ChoiceField(choices=SUM_STATES, help_text="The most severe state of its loads.")
    percent = serializers.IntegerField(allow_null=True)
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(allow_null=True, help_text="Null while no total is known.")
    loads = serializers.IntegerField()
    loads_unknown = serializers.IntegerField(help_text="Loads of unknown size, which are not in the bytes.")
    failed = serializers.IntegerField(help_text="Loads in this state. Each load is counted under one state.")
    silent = serializers.IntegerField()
    stalled = serializers.IntegerField()
    contradiction = serializers.IntegerField()
    waiting = serializers.IntegerField()
    restarted = serializers.IntegerField()
    loading = serializers.IntegerField()
    pending = serializers.IntegerField()
    complete = serializers.IntegerField()
    at_risk = serializers.IntegerField(help_text="Loads at risk, in any state.")
    items_total = serializers.IntegerField(allow_null=True)
    items_done = serializers.IntegerField()
    items_failed = serializers.IntegerField()
    as_of = serializers.DateTimeField(allow_null=True, help_text="Time of the newest object that the totals come from.")


@extend_schema_serializer(component_name="AirlineRow")
class AirlineSerializer(TotalsSerializer):
    """An airline and the totals of its loads."""

    values_of = serialize_airline

    title = serializers.CharField(allow_blank=True)
    tails = serializers.IntegerField(help_text="In service.")
    tails_out = serializers.IntegerField(help_text="Stored or retired; not in the totals.")


@extend_schema_serializer(component_name="CampaignRow")
class CampaignSerializer(TotalsSerializer):
    """A campaign: its manifest and the totals of its loads on all tails."""

    values_of = serialize_campaign

    campaign = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    version = serializers.IntegerField(allow_null=True)
    exhibition_starts = serializers.DateField(allow_null=True)
    exhibition_ends = serializers.DateField(allow_null=True)
    manifest_state = serializers.ChoiceField(choices=ManifestState.choices)
    manifest_problem = serializers.CharField(allow_blank=True, help_text="Why the newest manifest was refused.")
    manifest_as_of = serializers.DateTimeField(allow_null=True)
    items = serializers.IntegerField(allow_null=True, help_text="Items in the manifest.")
    bytes = serializers.IntegerField(allow_null=True, help_text="Bytes of the items in the manifest.")
    signed = serializers.BooleanField(help_text="Whether there is a signed manifest.")
    withdrawn_at = serializers.DateTimeField(allow_null=True, help_text="When its manifest was removed.")
    tails = serializers.IntegerField(help_text="Tails in service that have started it.")
    tails_out = serializers.IntegerField(help_text="Stored or retired tails with a load of it; not in the totals.")


@extend_schema_serializer(component_name="StoreRow")
class StoreSerializer(serializers.Serializer[Any]):
    """A content directory, as reported by the loader."""

    path = serializers.CharField()
    total = serializers.IntegerField(help_text="Bytes.")
    free = serializers.IntegerField(help_text="Bytes.")


@extend_schema_serializer(component_name="TailRow")
class TailSerializer(TotalsSerializer):
    """An aircraft: the last report of its loader and the totals of its loads."""

    values_of = serialize_tail

    tail = serializers.CharField()
    heard_at = serializers.DateTimeField(allow_null=True, help_text="Time of the newest object it wrote.")
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    loader_version = serializers.CharField(allow_blank=True)
    loader_state = serializers.CharField(allow_blank=True)
    loader_reason = serializers.CharField(allow_blank=True)
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Bytes per second, as reported by the loader.")
    stores = StoreSerializer(many=True)
    duty = serializers.ChoiceField(
        choices=ServiceStatus.choices, help_text="Stored and retired tails are not in totals."
    )
    aircraft_type = serializers.CharField(allow_blank=True)
    seen_at = serializers.DateTimeField(
        allow_null=True, help_text="When the portal last received a new report from it."
    )
    is_silent = serializers.BooleanField(help_text="Whether no report has arrived for a long time.")
    queue_version = serializers.IntegerField(
        allow_null=True, help_text="Version of the transfer queue that the loader uses."
    )
    queue_error = serializers.CharField(allow_blank=True, help_text="Error in that queue.")
    signatures = serializers.CharField(allow_blank=True, help_text="Its loader's policy: off, warn or enforce.")


@extend_schema_serializer(component_name="TailChange")
class TailUpdateSerializer(serializers.Serializer[Any]):
    """Fields of a tail that operators can set."""

    duty = serializers.ChoiceField(required=False, choices=ServiceStatus.choices)
    aircraft_type = serializers.CharField(required=False, allow_blank=True, max_length=100)


def serialize_anomaly(row: Anomaly) -> dict[str, Any]:
    """Return the row; `airline` is null if the key names no known airline."""
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
    """An object in a bucket that could not be read."""

    values_of = serialize_anomaly

    id = serializers.IntegerField()
    airline = serializers.CharField(allow_null=True)
    bucket = serializers.ChoiceField(choices=["media", "status"])
    key = serializers.CharField()
    problem = serializers.CharField(help_text="Code of the problem, for example BAD_NAME.")
    detail = serializers.CharField(allow_blank=True)
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)
