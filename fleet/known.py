"""What the rows of an airline say, read in a constant number of queries, for a listing to be held against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.db.models import F

from campaigns.models import Campaign
from fleet.anomalies import Open, open_rows
from fleet.models import Load, Tail, Transfer
from fleet.reconcile import OLDER, Known, Problem, Version
from ifeportal.models import Airline
from loader.contract import ContractError, campaign_error_key, error_key, heartbeat_key, progress_key

Place = tuple[str, str]  # tail, campaign
CHUNK: Final = 5_000
PROGRESS: Final = progress_key("a", "a", "a", "a").rpartition("/a")[2]
ERROR: Final = error_key("a", "a", "a", "a").rpartition("/a")[2]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the rows say: `known` for the survey, the open `anomalies` of the status bucket, and `dirty` loads.

    A load, as (tail, campaign), is dirty while its transfers have not been held against the newest manifest.
    """

    known: Known
    anomalies: dict[tuple[str, str], Open]
    dirty: frozenset[Place]


def standing(airline: Airline) -> Standing:
    """What the rows of `airline` say, in five queries."""
    anomalies = open_rows(airline, "status")
    older = [row for row in anomalies.values() if row.code == OLDER]
    settled = {row.key: Problem(row.key, row.code, row.detail, row.etag) for row in older}
    tails = Tail.objects.filter(airline=airline).values_list("pk", "name", "heartbeat_etag", "heartbeat_at")
    campaigns = dict(Campaign.objects.filter(airline=airline).values_list("pk", "name"))
    versions = {heartbeat_key(airline.name, name): (etag, at) for _, name, etag, at in tails if etag and at}
    tail_names = {pk: name for pk, name, *_ in tails}
    loads, dirty = _loads(airline, versions, tail_names, campaigns)
    known = Known(
        airline=airline.name,
        versions=versions,
        tails=frozenset(tail_names.values()),
        campaigns=frozenset(campaigns.values()),
        rows=_transfers(airline, versions, loads),
        settled=settled,
    )
    return Standing(known, anomalies, dirty)


def _loads(
    airline: Airline, versions: dict[str, Version], tails: dict[int, str], campaigns: dict[int, str]
) -> tuple[dict[int, Place], frozenset[Place]]:
    """Tail and campaign of each load by its id, and those of the dirty ones."""
    loads: dict[int, Place] = {}
    dirty: set[Place] = set()
    rows = Load.objects.filter(tail__airline=airline).annotate(newest=F("campaign__manifest_etag"))
    fields = rows.values_list("pk", "tail_id", "campaign_id", "error_etag", "error_at", "manifest_etag", "newest")
    for pk, tail, campaign, etag, at, manifest, newest in fields:
        if tail in tails and campaign in campaigns:
            place = loads[pk] = tails[tail], campaigns[campaign]
            if manifest != newest:
                dirty.add(place)
            if etag and at:
                versions[campaign_error_key(airline.name, *place)] = etag, at
    return loads, frozenset(dirty)


def _transfers(airline: Airline, versions: dict[str, Version], loads: dict[int, Place]) -> Counter[Place]:
    """How many transfers each load has. Their keys are put together by hand: checking 100,000 names takes seconds."""
    counts: Counter[Place] = Counter()
    heads: dict[int, str | None] = {pk: _head(airline.name, *place) for pk, place in loads.items()}
    rows = Transfer.objects.filter(load__tail__airline=airline)
    fields = rows.values_list("load_id", "content", "progress_etag", "progress_at", "error_etag", "error_at")
    for pk, content, progress, progress_at, error, error_at in fields.iterator(CHUNK):
        head = heads.get(pk)
        if head is None:
            continue
        counts[loads[pk]] += 1
        if progress and progress_at:
            versions[f"{head}{content}{PROGRESS}"] = progress, progress_at
        if error and error_at:
            versions[f"{head}{content}{ERROR}"] = error, error_at
    return counts


@lru_cache(maxsize=65_536)
def _head(airline: str, tail: str, campaign: str) -> str | None:
    """Where the objects of a load lie; None if its name was made by hand and no object can have it."""
    try:
        return progress_key(airline, tail, campaign, "a").removesuffix(f"a{PROGRESS}")
    except ContractError:
        return None
