"""How much of what a load claims to hold is proven: claim and proof are told apart.

That every byte has come is what a complete load *claims*. The proof is as good as what its loader checked: `size`
where the manifest has no SHA-256 for some item; `hash` where it has one for each and the loader's heartbeat says that
it holds the campaign verified; `signed` where moreover the manifest is signed and the loader takes none that is not.
May touch loads; the caller holds the transaction and the locks of the tails, and publishes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q

from campaigns.models import ContentItem
from fleet.choices import Proof, Status
from fleet.models import Load
from ifeportal.bulk import among, update

ENFORCE: Final = "enforce"


def proof(*, hashed: bool, held: Mapping[str, Any] | None, items: int | None, signed: bool, policy: str) -> Proof:
    """What is proven of a complete load. Pure.

    `hashed`: the manifest has a SHA-256 for every item. `held` is what the loader's heartbeat says of the campaign, of
    which it must hold all `items`; `policy` is that on signatures.
    """
    if not hashed:
        return Proof.SIZE
    number = held.get("items") if held else None
    whole = not isinstance(number, int) or items is None or number >= items
    if not (held and held.get("verified") is True and whole):
        return Proof.NONE
    return Proof.SIGNED if signed and policy == ENFORCE else Proof.HASH


def prove(*, tails: Collection[int] = (), loads: Collection[int] = (), campaigns: Collection[int] = ()) -> list[Load]:
    """Write what is proven now of the complete loads of these tails and campaigns, and of these loads (all by id).

    Those that are not as they were, as they are to be published. Loads that are archived rest.
    """
    if not (tails or loads or campaigns):
        return []
    theirs = Q(among(Load, ["tail_id"], ((pk,) for pk in tails))) | Q(campaign__in=campaigns)
    theirs |= Q(among(Load, ["id"], ((pk,) for pk in loads)))
    unhashed = ContentItem.objects.filter(campaign=OuterRef("campaign"), listed=True, sha256="")
    rows = (
        Load.objects.filter(theirs, status=Status.COMPLETE, archived_at=None)
        .select_related("tail__airline", "campaign")
        .annotate(hashed=~Exists(unhashed))
        .order_by()
    )
    changed = []
    for row in rows:
        found = proof(
            hashed=getattr(row, "hashed"),  # noqa: B009  (an annotation)
            held=held_of(row.tail.held, row.campaign.name),
            items=row.items_total,
            signed=row.campaign.signed,
            policy=row.tail.signatures,
        ).value
        if found != row.proof:
            row.proof = found
            changed.append(row)
    update(Load, ["proof"], [(row.pk, row.proof) for row in changed])
    return changed


def held_of(held: object, campaign: str) -> Mapping[str, Any] | None:
    """What a heartbeat says of a campaign, whatever else it may say."""
    entries = held if isinstance(held, list) else []
    return next((each for each in entries if isinstance(each, dict) and each.get("campaign") == campaign), None)
