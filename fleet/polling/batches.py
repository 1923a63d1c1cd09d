"""Batches of tails: what a transaction of the poll writes, and the update of each tail from fetched objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from campaigns.models import Campaign
from fleet.ingest.updates import LoadUpdate, TailUpdate
from fleet.models.load import LoadKey
from fleet.polling.fetcher import FetchResult
from fleet.polling.provisioning import ProvisionedRows
from fleet.reconcile.pending import TailChanges
from fleet.reconcile.problems import Problems
from fleet.state.observations import (
    ErrorObserved,
    HeartbeatObserved,
    ObjectDeleted,
    ObjectRewritten,
    Observation,
    ProgressObserved,
)
from loader.contract.keys import StatusKey

OBJECTS_A_BATCH: Final = 2_000  # fetched before the tails they belong to are written: bounds the memory in use
ROWS_A_BATCH: Final = 5_000  # created or compared with a manifest in one transaction
TAILS_A_BATCH: Final = 500  # written in one transaction, which other writers wait for


@dataclass(slots=True)
class TailWork:
    """The changed objects of one tail, and `dirty`: its campaigns whose manifest changed."""

    name: str
    changes: TailChanges = field(default_factory=TailChanges)
    dirty: set[str] = field(default_factory=set)

    @property
    def campaigns(self) -> set[str]:
        """Every campaign with a changed object or manifest."""
        keys = [each.key for each in self.changes.changed] + [key for key, _ in self.changes.deleted]
        return {key.campaign for key in keys if key.campaign} | self.dirty


def make_batches(
    works: Iterable[TailWork], counts: Mapping[LoadKey, int], campaigns: Mapping[str, Campaign]
) -> Iterator[list[TailWork]]:
    """Yield tails together until there are too many of them, of their objects, or of their rows.

    `counts` are the transfers each load has now.
    """
    batch: list[TailWork] = []
    objects = rows = 0
    for work in works:
        more = _manifest_rows(work, counts, campaigns)
        if batch and rows + more > ROWS_A_BATCH:
            yield batch
            batch, objects, rows = [], 0, 0
        batch.append(work)
        objects, rows = objects + len(work.changes.changed), rows + more
        if objects >= OBJECTS_A_BATCH or len(batch) >= TAILS_A_BATCH:
            yield batch
            batch, objects, rows = [], 0, 0
    if batch:
        yield batch


def _manifest_rows(work: TailWork, counts: Mapping[LoadKey, int], campaigns: Mapping[str, Campaign]) -> int:
    """Return how many transfers a manifest may create or change, besides those of changed objects."""
    return sum(
        campaigns[name].items_total or 0
        for name in work.campaigns & campaigns.keys()
        if name in work.dirty or not counts.get((work.name, name))
    )


def build_update(work: TailWork, fetched: FetchResult, rows: ProvisionedRows, problems: Problems) -> TailUpdate:
    """Return the update of a tail; problems of the fetched bytes are added to `problems` and to the update."""
    update = TailUpdate({name: LoadUpdate() for name in work.dirty if name in rows.campaigns})
    for key, etag in work.changes.deleted:
        if rows.has_campaign(key):
            _assign(update, key, ObjectDeleted(etag))
    for changed in work.changes.changed:
        parsed = fetched.by_key.get(changed.name)
        if parsed is None:
            continue
        if parsed.problem is not None and problems.add(parsed.problem):
            update.problems.append(parsed.problem)
        update.heard_at = max(update.heard_at or parsed.observation.at, parsed.observation.at)
        _assign(update, changed.key, parsed.observation)
    return update


def _assign(update: TailUpdate, key: StatusKey, observation: Observation | ObjectDeleted) -> None:
    match key.kind, observation:
        case "progress", ProgressObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).progress[key.content] = observation
        case "error", ErrorObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).errors[key.content] = observation
        case "campaign_error", ErrorObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).campaign_error = observation
        case "heartbeat", HeartbeatObserved() | ObjectRewritten() | ObjectDeleted():
            update.heartbeat = observation
