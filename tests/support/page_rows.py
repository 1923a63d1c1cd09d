"""Fleets for the page tests: rows as the poller writes them, in every state that pages show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from campaigns.models import Campaign, ContentItem, ManifestState
from fleet.choices import Status
from fleet.models import Load, Tail, Transfer
from fleet.stats.totals import recount
from ifeportal.models import Airline, Job

GB = 1_000_000_000
TITLES = (
    "The Long Way Up",
    "Slow Rivers",
    "Kitchen at Midnight",
    "A Field Guide to Clouds",
    "Harbour Lights",
    "Two Left Hands",
)


def now() -> datetime:
    """Return the present time in whole seconds, as in LastModified."""
    return datetime.now(UTC).replace(microsecond=0)


def mark_polled(airline: Airline, seconds: float = 1) -> Job:
    """Record that the airline's buckets were last read `seconds` ago."""
    at = now() - timedelta(seconds=seconds)
    return Job.objects.update_or_create(name=f"poll:{airline.name}", defaults={"due_at": at, "succeeded_at": at})[0]


def create_campaign(airline: Airline, name: str = "2026-12", items: int = 6, title: str = "December 2026") -> Campaign:
    """Create a campaign with a read manifest and items of 0.4 to 3 GB."""
    sizes = [400_000_000 + 377_000_000 * (number % 8) for number in range(items)]
    campaign = Campaign.objects.create(
        airline=airline,
        name=name,
        title=title,
        version=3,
        exhibition_starts=date(2026, 12, 1),
        exhibition_ends=date(2026, 12, 31),
        manifest_state=ManifestState.OK,
        manifest_as_of=now() - timedelta(days=2),
        items_total=items,
        bytes_total=sum(sizes),
    )
    ContentItem.objects.bulk_create(
        ContentItem(
            campaign=campaign,
            name=f"movie-{number + 1:03}",
            position=number,
            size=size,
            sha256="" if number % 7 == 6 else f"{number:064x}",
            title=TITLES[number % len(TITLES)],
            kind="movie",
        )
        for number, size in enumerate(sizes)
    )
    return campaign


def create_tail(airline: Airline, name: str, heard: timedelta = timedelta(seconds=8)) -> Tail:
    """Create an aircraft with one disk and a heartbeat."""
    return Tail.objects.create(
        airline=airline,
        name=name,
        heard_at=now() - heard,
        heartbeat_at=now() - heard,
        loader_version="0.1.0",
        loader_state="loading",
        rate_bps=11_200_000,
        stores=[{"path": "/var/content", "total": 512 * GB, "free": 187 * GB}],
    )


def create_load(tail: Tail, campaign: Campaign, story: str = "loading") -> Load:
    """Create a load; `story` is complete, loading, stalled, failed, full, pending or unknown."""
    items = list(campaign.items.order_by("position"))
    load = Load.objects.create(tail=tail, campaign=campaign)
    transfers = [_transfer(load, item, place, len(items), story) for place, item in enumerate(items)]
    Transfer.objects.bulk_create(transfers)
    _sum_up(load, transfers, story)
    return load


def _transfer(load: Load, item: ContentItem, place: int, count: int, story: str) -> Transfer:
    transfer = Transfer(load=load, content=item.name, listed=True, bytes_total=item.size)
    seen = now() - timedelta(seconds=5 + (load.pk * 7 + place) % 50)
    transfer.as_of = transfer.progress_at = seen
    half = count // 2
    if story == "complete" or (place < half and story not in ("pending", "unknown")):
        transfer.status, transfer.bytes_done = Status.COMPLETE, item.size
        transfer.finished_at = seen
    elif story in ("loading", "stalled") and place < half + 2:
        transfer.status = Status.LOADING
        transfer.stalled = story == "stalled"
        transfer.bytes_done = item.size * (20 + (load.pk * 13 + place * 29) % 70) // 100
        transfer.rate_bps = None if transfer.stalled else 2_000_000 + load.pk % 9 * 731_000
        transfer.started_at = seen - timedelta(minutes=4)
    elif story in ("failed", "full") and place == half:
        transfer.status, transfer.bytes_done = Status.FAILED, item.size * 61 // 100
        transfer.error_code = "HASH_MISMATCH" if story == "failed" else "NO_SPACE"
        transfer.error = (
            "SHA-256 is 5c1f…, the manifest says 9f86…" if story == "failed" else "needs 2.1 GB, 0.3 GB free"
        )
        transfer.error_at = seen
    elif story == "unknown":
        transfer.bytes_total, transfer.listed = None, False
        transfer.status, transfer.bytes_done = Status.LOADING, item.size // 3
    return transfer


def _sum_up(load: Load, transfers: list[Transfer], story: str) -> None:
    failed = [transfer for transfer in transfers if transfer.status == Status.FAILED]
    known = story != "unknown"
    load.status = {"stalled": Status.LOADING, "full": Status.FAILED, "unknown": Status.LOADING}.get(story) or Status(
        story
    )
    load.stalled = story == "stalled"
    load.bytes_done = sum(transfer.bytes_done for transfer in transfers)
    load.bytes_total = sum(transfer.bytes_total or 0 for transfer in transfers) if known else None
    load.items_total = len(transfers) if known else None
    load.items_done = sum(transfer.status == Status.COMPLETE for transfer in transfers)
    load.items_failed = len(failed)
    load.rate_bps = sum(transfer.rate_bps or 0 for transfer in transfers) or None
    load.as_of = max((transfer.as_of for transfer in transfers if transfer.as_of), default=None)
    if failed:
        load.error, load.error_code, load.error_content = failed[0].error, failed[0].error_code, failed[0].content
    load.save()


STORIES = (
    "loading",
    "complete",
    "loading",
    "failed",
    "complete",
    "pending",
    "complete",
    "stalled",
    "loading",
    "full",
    "complete",
)


def create_fleet(airline: Airline, tails: int, items: int = 6) -> Campaign:
    """Create a campaign on `tails` tails in different states; the buckets were read just now."""
    campaign = create_campaign(airline, items=items)
    for number in range(tails):
        name = f"VP-A{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}" + (
            str(number // 676) if number >= 676 else ""
        )
        tail = create_tail(airline, name, heard=timedelta(seconds=3 + number * 37 % 4000))
        create_load(tail, campaign, STORIES[number % len(STORIES)])
    recount(airline.pk)
    mark_polled(airline)
    return campaign
