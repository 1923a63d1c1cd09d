"""Tails, loads, transfers, their history, issues and usage."""

from fleet.models.attention import AttentionFinding, AttentionFindingQuerySet
from fleet.models.history import Event, EventQuerySet, ProgressSample, ThroughputInterval, ThroughputIntervalQuerySet
from fleet.models.issues import Acknowledgement, AcknowledgementQuerySet, Anomaly, AnomalyQuerySet
from fleet.models.load import Load, LoadQuerySet, ProgressFields, Transfer, TransferQuerySet
from fleet.models.tail import Tail, TailQuerySet
from fleet.models.usage import Usage, UsageQuerySet

__all__ = [
    "Acknowledgement",
    "AcknowledgementQuerySet",
    "Anomaly",
    "AnomalyQuerySet",
    "AttentionFinding",
    "AttentionFindingQuerySet",
    "Event",
    "EventQuerySet",
    "Load",
    "LoadQuerySet",
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
