"""Tails, loads, transfers, their totals, history, issues and usage."""

from fleet.models.attention import AttentionFinding, AttentionFindingQuerySet
from fleet.models.history import Event, EventQuerySet, ProgressSample, ThroughputInterval, ThroughputIntervalQuerySet
from fleet.models.issues import Acknowledgement, AcknowledgementQuerySet, Anomaly, AnomalyQuerySet
from fleet.models.load import Load, LoadFigures, LoadQuerySet, ProgressFields, Transfer, TransferQuerySet
from fleet.models.tail import Tail, TailQuerySet
from fleet.models.totals import (
    AirlineTotals,
    AirlineTotalsQuerySet,
    CampaignTotals,
    CampaignTotalsQuerySet,
    ItemTotals,
    ItemTotalsQuerySet,
    LoadTotals,
)
from fleet.models.usage import Usage, UsageQuerySet

__all__ = [
    "Acknowledgement",
    "AcknowledgementQuerySet",
    "AirlineTotals",
    "AirlineTotalsQuerySet",
    "Anomaly",
    "AnomalyQuerySet",
    "AttentionFinding",
    "AttentionFindingQuerySet",
    "CampaignTotals",
    "CampaignTotalsQuerySet",
    "Event",
    "EventQuerySet",
    "ItemTotals",
    "ItemTotalsQuerySet",
    "Load",
    "LoadFigures",
    "LoadQuerySet",
    "LoadTotals",
    "ProgressFields",
    "ProgressSample",
    "Tail",
    "TailQuerySet",
    "ThroughputInterval",
    "ThroughputIntervalQuerySet",
    "Transfer",
    "TransferQuerySet",
    "Usage",
    "UsageQuerySet",
]
