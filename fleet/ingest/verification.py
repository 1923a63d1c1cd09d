"""Write the verification level of complete loads. The rule is in `fleet.state.verification`."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from campaigns.models import ContentItem
from fleet.choices import Status
from fleet.feed import load_change, publish_totals
from fleet.ingest.rows import lock_tails
from fleet.models import Load
from fleet.state.verification import heartbeat_entry, verification_level
from ifeportal.bulk import update, where_fk_in, where_pk_in
from ifeportal.models import Airline


def update_verification(
    *, tails: Collection[int] = (), loads: Collection[int] = (), campaigns: Collection[int] = ()
) -> list[Load]:
    """Write the verification level of the complete loads among these tails, loads and campaigns (all by id).

    Return the loads that changed, for the caller to publish. Archived loads are left alone.
    """
    if not (tails or loads or campaigns):
        return []
    wanted = Q(where_fk_in(Load, "tail", tails)) | Q(campaign__in=campaigns)
    wanted |= Q(where_pk_in(Load, loads))
    unhashed = ContentItem.objects.filter(campaign=OuterRef("campaign"), listed=True, sha256="")
    rows = (
        Load.objects.filter(wanted, status=Status.COMPLETE, archived_at=None)
        .select_related("tail__airline", "campaign")
        .annotate(hashed=~Exists(unhashed))
        .order_by()
    )
    changed = []
    for row in rows:
        level = verification_level(
            hashed=getattr(row, "hashed"),  # noqa: B009  (an annotation)
            held=heartbeat_entry(row.tail.held, row.campaign.name),
            items=row.items_total,
            signed=row.campaign.signed,
            policy=row.tail.signatures,
        ).value
        if level != row.proof:
            row.proof = level
            changed.append(row)
    update(Load, ["proof"], [(row.pk, row.proof) for row in changed])
    return changed


def update_campaign_verification(airline: Airline, campaigns: Collection[int]) -> None:
    """Write and publish the verification level of the complete loads of these changed campaigns (by id)."""
    concerned = Load.objects.filter(campaign__in=campaigns, status=Status.COMPLETE, archived_at=None).order_by()
    tails = set(concerned.values_list("tail", flat=True)) if campaigns else set()
    if not tails:
        return
    with transaction.atomic():
        lock_tails(airline, tails)
        verified = update_verification(campaigns=campaigns)
        changed = {row.campaign_id for row in verified}
        publish_totals([airline.pk] if changed else (), changed, rows=[*map(load_change, verified)])
