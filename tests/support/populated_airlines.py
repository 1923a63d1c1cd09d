"""Airlines with one row of every kind, distinguishable by names and ids; and all routes of the portal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from campaigns.library.models import LibraryItem
from campaigns.models import Campaign, ContentItem, Draft, DraftItem, ManifestState
from campaigns.uploads.models import Upload
from fleet.attention import keeping
from fleet.choices import State, Status
from fleet.models import (
    Acknowledgement,
    Anomaly,
    Event,
    Load,
    ProgressSample,
    Tail,
    ThroughputInterval,
    Transfer,
    Usage,
)
from fleet.stats.totals import recount
from ifeportal.access import Role
from ifeportal.live.feed import FeedChange, publish
from ifeportal.models import Airline, AuditEntry, Membership, User
from ifeportal.operations.models import Operation
from tests.support.operation_rows import create_operation


@dataclass(frozen=True)
class PopulatedAirline:
    """The rows of one airline. `marks` are texts that no page of another airline contains: its names and ids."""

    airline: Airline
    campaign: Campaign
    item: ContentItem
    draft: Draft
    draft_item: DraftItem
    tail: Tail
    load: Load
    transfer: Transfer
    anomaly: Anomaly
    event: Event
    acknowledgement: Acknowledgement
    moved: ThroughputInterval
    entry: AuditEntry
    usage: Usage
    operation: Operation
    upload: Upload
    library_item: LibraryItem
    marks: tuple[str, ...]


def populate_airline(airline: Airline, *, members: Mapping[User, Role], first_id: int) -> PopulatedAirline:
    """Create one row of every kind for a new airline. Ids start at `first_id`, which is long enough not to appear by
    chance.
    """
    word, ids, now = airline.name.lower(), count(first_id), timezone.now()
    airline.pk = next(ids)
    airline.save(force_insert=True)
    for user, role in members.items():
        Membership.objects.create(user=user, airline=airline, role=role)
    campaign = Campaign.objects.create(
        pk=next(ids),
        airline=airline,
        name=f"{word}-cycle",
        title=f"{word} in December",
        manifest_state=ManifestState.OK,
        items_total=1,
        bytes_total=1000,
    )
    item = ContentItem.objects.create(pk=next(ids), campaign=campaign, name=f"{word}-film", size=1000)
    draft = Draft.objects.create(pk=next(ids), airline=airline, name=campaign.name, title=campaign.title)
    draft_item = DraftItem.objects.create(pk=next(ids), draft=draft, name=item.name, included=True, size=1000, etag="e")
    tail = Tail.objects.create(pk=next(ids), airline=airline, name=f"N-{airline.name}-1", heard_at=now)
    figures = {"status": Status.LOADING, "bytes_done": 400, "bytes_total": 1000, "as_of": now, "started_at": now}
    load = Load.objects.create(pk=next(ids), tail=tail, campaign=campaign, items_total=1, **figures)
    transfer = Transfer.objects.create(
        pk=next(ids), load=load, content=item.name, listed=True, error=f"NETWORK: {word}-trouble", **figures
    )
    recount(airline.pk)
    ProgressSample.objects.create(pk=next(ids), load=load, at=now, bytes_done=400)
    anomaly = Anomaly.objects.create(
        pk=next(ids),
        airline=airline,
        bucket="status",
        key=f"{airline.name}/{word}-riddle",
        key_hash=f"{first_id:064x}",
        problem="BAD_NAME",
        first_seen=now,
        last_seen=now,
    )
    common = {"load": load, "at": now, "state": State.LOADING}
    note = {"note": f"{word} is on it", "who": f"{word}-person"}
    event = Event.objects.create(pk=next(ids), **common, text=f"{word} began", bytes_done=400)
    acknowledgement = Acknowledgement.objects.create(pk=next(ids), **common, **note)
    moved = ThroughputInterval.objects.create(pk=next(ids), airline=airline, at=now, bytes=400)
    entry = AuditEntry.objects.create(
        pk=next(ids), at=now, airline=airline, whose=airline.name, action="x", target=f"{word}-thing", via="page"
    )
    usage = Usage.objects.create(pk=next(ids), airline=airline, day=now.date(), list_requests=1)
    operation = create_operation(airline, pk=next(ids), title=f"{word}-work")
    clip = f"{word}-clip.mp4"
    upload = Upload.objects.create(
        operation=operation, status="failed", name=clip, item=clip, size=5, part_size=2**24, parts_total=1
    )
    library_item = LibraryItem.objects.create(
        pk=next(ids), airline=airline, name=f"{word}-reel", size=5, etag="e", sha256="b" * 64, added_at=now
    )
    with transaction.atomic():
        publish([FeedChange("load", load.pk, airline.pk, tail.name, campaign.name, {"id": load.pk, "tail": tail.name})])
    keeping.recount(Airline.objects.filter(pk=airline.pk))
    marks = (airline.name, word, str(first_id)[:12])
    return PopulatedAirline(
        airline,
        campaign,
        item,
        draft,
        draft_item,
        tail,
        load,
        transfer,
        anomaly,
        event,
        acknowledgement,
        moved,
        entry,
        usage,
        operation,
        upload,
        library_item,
        marks,
    )


def portal_routes(
    patterns: Sequence[URLPattern | URLResolver] | None = None, space: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield every route of the portal: its name with the name space, and its pattern."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from portal_routes(pattern.url_patterns, inner)
        else:
            yield f"{space}{pattern.name or ''}", str(pattern.pattern)
